"""The data of deleted projects goes in small batches, so that nobody waits for it."""

from typing import Final

from django.db import connection

from projects import services

CHUNK: Final = 5_000
CHUNKS_A_RUN: Final = 20

# Plan: an index scan of (project_id, occurred_at) that stops after a chunk; rows are found by partition and place.
DELETE: Final = """
DELETE FROM {table} AS t USING (SELECT tableoid, ctid FROM {table} WHERE project_id = %s LIMIT %s) AS some
WHERE t.tableoid = some.tableoid AND t.ctid = some.ctid
"""
TABLES: Final = ("events_event", "events_deadletter", "events_ledger")


def delete_some() -> int:
    """Deletes up to a bounded number of rows of deleted projects, then those projects that have none left; returns rows.

    Each chunk commits on its own: a crash midway leaves less to do.
    """
    deleted, chunks = 0, CHUNKS_A_RUN
    for project_id in services.purgeable():
        left = False
        for table in TABLES:
            count = CHUNK
            while count == CHUNK and chunks:
                chunks -= 1
                with connection.cursor() as cursor:
                    cursor.execute(DELETE.format(table=table), [project_id, CHUNK])
                    count = cursor.rowcount
                deleted += count
            left = left or count == CHUNK
        if not left:
            services.purge(project_id)
    return deleted
