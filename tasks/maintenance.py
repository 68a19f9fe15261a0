"""Upkeep, on the default worker."""

import logging

from events import buffer, deadletter, deletion, partitions
from events.plan import tally as plan_tally
from eventsite.celery import app
from eventsite.valkey import sync_client

LAKE_SECONDS = 110  # a message that nobody acknowledges comes again after 120

log = logging.getLogger(__name__)


@app.task(name="tasks.maintenance.ensure_partitions")
def ensure_partitions() -> dict[str, object]:
    ensured = partitions.ensure()
    held = f"the default partition held {ensured.in_default} rows: partitions were not made in time"
    if ensured.in_default:
        log.error(held)
    buffer.set_alarm(sync_client(), "partitions", held if ensured.in_default else "")
    return {"created": ensured.created, "in_default": ensured.in_default}


@app.task(name="tasks.maintenance.delete_project_data")
def delete_project_data() -> dict[str, int]:
    deleted = deletion.delete_some(sync_client())
    if left := deletion.left_in_lake():
        erase_deleted_projects.apply_async((left,), expires=30)
    return {"deleted": deleted}


@app.task(name="tasks.maintenance.erase_deleted_projects", time_limit=LAKE_SECONDS)
def erase_deleted_projects(project_ids: list[int]) -> dict[str, list[int]]:
    from events.lake import erase  # with it comes DuckDB, which only the lake's worker needs

    return {"gone": sorted(erase.erase_projects(project_ids))}


@app.task(name="tasks.maintenance.drop_old_rows", time_limit=LAKE_SECONDS)
def drop_old_rows() -> dict[str, object]:
    from events.lake import retention

    dropped = retention.drop_old()
    lasting = [f"the rows of {day} stay: {why}" for day, why in dropped.kept.items() if why != retention.BUSY]
    buffer.set_alarm(sync_client(), "retention", "; ".join(lasting))
    return {
        "days": [str(day) for day in dropped.days],
        "kept": {str(day): why for day, why in dropped.kept.items()},
        "segments": dropped.segments,
        "batches": dropped.batches,
    }


@app.task(name="tasks.maintenance.expire_dead_letters")
def expire_dead_letters() -> dict[str, int]:
    return {"expired": deadletter.expire(), "plan_violations": plan_tally.expire()}
