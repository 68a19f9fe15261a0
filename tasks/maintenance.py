"""Upkeep, on the default worker."""

import logging

from events import buffer, deadletter, deletion, partitions
from eventsite.celery import app
from eventsite.valkey import sync_client

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
    return {"deleted": deletion.delete_some(sync_client())}


@app.task(name="tasks.maintenance.expire_dead_letters")
def expire_dead_letters() -> dict[str, int]:
    return {"expired": deadletter.expire()}
