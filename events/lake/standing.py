"""How the lake stands, from its table of segments alone."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from django.db import connection

# Plan: all live segments, some dozens for each project; the partial index of unsealed batches.
TOTALS: Final = """
SELECT count(*) FILTER (WHERE retired_at IS NULL AND project_id IS NULL),
    count(*) FILTER (WHERE retired_at IS NULL AND project_id IS NOT NULL),
    count(*) FILTER (WHERE retired_at IS NOT NULL),
    coalesce(sum(rows) FILTER (WHERE retired_at IS NULL), 0)::bigint,
    coalesce(sum(bytes) FILTER (WHERE retired_at IS NULL), 0)::bigint
FROM events_segment
"""
UNSEALED: Final = """
SELECT coalesce(sum(stored), 0)::bigint, coalesce(clock_timestamp() - min(stored_at), interval '0')
FROM events_batch WHERE seal IS NULL
"""
PROJECTS: Final = """
SELECT project_id, sum(rows)::bigint, sum(own)::bigint, sum(own_rows)::bigint, sum(own_bytes)::bigint,
    min(first_day), max(last_day)
FROM (
    SELECT project_id, rows, 1 AS own, rows AS own_rows, bytes AS own_bytes, first_day, last_day
    FROM events_segment WHERE retired_at IS NULL AND project_id IS NOT NULL
    UNION ALL
    SELECT r.key::bigint, r.value::bigint, 0, 0, 0, first_day, last_day
    FROM events_segment, jsonb_each_text(project_rows) AS r WHERE retired_at IS NULL AND project_id IS NULL
) AS parts (project_id, rows, own, own_rows, own_bytes, first_day, last_day)
GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class ProjectPart:
    """`own`: files of this project alone. The days are those of all files that hold rows of it."""

    project_id: int
    rows: int
    own: int
    own_rows: int
    own_bytes: int
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class Standing:
    """`lag`: the age of the oldest stored event that is not sealed. Counts of files, rows and bytes are of live ones."""

    lag: timedelta
    unsealed: int
    shared: int
    own: int
    retired: int
    rows: int
    bytes: int
    projects: list[ProjectPart]


def standing() -> Standing:
    with connection.cursor() as cursor:
        cursor.execute(UNSEALED)
        unsealed, lag = cursor.fetchone()
        cursor.execute(TOTALS)
        shared, own, retired, rows, size = cursor.fetchone()
        cursor.execute(PROJECTS)
        projects = [ProjectPart(*row) for row in cursor.fetchall()]
    return Standing(lag, unsealed, shared, own, retired, rows, size, projects)
