"""Upkeep, on the default worker."""

import logging

from events import deletion, partitions
from eventsite.celery import app
from eventsite.valkey import sync_client

log = logging.getLogger(__name__)


@app.task(name="tasks.maintenance.ensure_partitions")
def ensure_partitions() -> dict[str, object]:
    ensured = partitions.ensure()
    if ensured.in_default:
        log.error("the default partition held %s rows: partitions were not made in time", ensured.in_default)
    return {"created": ensured.created, "in_default": ensured.in_default}


@app.task(name="tasks.maintenance.delete_project_data")
def delete_project_data() -> dict[str, int]:
    return {"deleted": deletion.delete_some(sync_client())}
