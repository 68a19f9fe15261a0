"""The data of deleted projects goes in small batches, so that nobody waits for it."""

import shutil
from datetime import timedelta
from typing import Final

import redis
from django.db import connection

from events import buffer
from events.lake.layout import lake_dir, manifest_path
from events.lake.scope import of_projects
from events.models import Event, Segment
from projects import services

CHUNK: Final = 5_000
CHUNKS_A_RUN: Final = 20
SILENCE: Final = timedelta(minutes=1)

# Plan: an index scan of (project_id, occurred_at) that stops after a chunk; rows are found by partition and place.
DELETE: Final = """
DELETE FROM {table} AS t USING (SELECT tableoid, ctid FROM {table} WHERE project_id = %s LIMIT %s) AS chosen
WHERE t.tableoid = chosen.tableoid AND t.ctid = chosen.ctid
"""
TABLES: Final = (
    "events_event", "events_deadletter", "events_replay", "events_auditentry", "events_ledger",
    "events_planversion", "events_planviolation",
    "events_catalogueproperty", "events_cataloguename", "events_catalogueproject",
)  # fmt: skip


def delete_some(client: redis.Redis) -> int:
    """Deletes up to a bounded number of rows of deleted projects, then those projects that have none left; returns rows.

    Each chunk commits on its own: a crash midway leaves less to do. A project goes last, once nothing of it can come
    any more, neither from the queue nor from a process that has just had its key, and once the lake has none of it either.
    """
    deleted, chunks = 0, CHUNKS_A_RUN
    queued = {project_id for project_id, _ in buffer.queued_counts(client)}
    silent = set(services.purgeable(deleted_for=SILENCE))
    for project_id in services.purgeable():
        rows_left = False
        for table in TABLES:
            count = CHUNK
            while count == CHUNK and chunks:
                chunks -= 1
                count = _delete_chunk(table, project_id)
                deleted += count
            rows_left = rows_left or count == CHUNK
        is_silent = project_id in silent and project_id not in queued
        if not rows_left and is_silent and not Segment.objects.filter(of_projects([project_id])).exists():
            shutil.rmtree((lake_dir() / manifest_path(project_id)).parent, ignore_errors=True)
            services.purge(project_id)
    return deleted


def left_in_lake() -> list[int]:
    """Returns deleted projects that have no row any more and are in live files yet: for `erase_projects`."""
    return [
        project_id
        for project_id in services.purgeable(deleted_for=SILENCE)
        if Segment.objects.filter(of_projects([project_id]), retired_at=None).exists()
        and not Event.objects.filter(project_id=project_id).exists()
    ]


def _delete_chunk(table: str, project_id: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(DELETE.format(table=table), [project_id, CHUNK])
        return int(cursor.rowcount)
