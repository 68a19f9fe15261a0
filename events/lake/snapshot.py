"""Which files a question reads: the live segments of a project, at one moment."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from django.db import connection

from events.lake.layout import lake_dir

# Plan: the partial index of live segments twice, some dozens of rows; the oldest unsealed batch by its partial index.
LIVE: Final = """
SELECT id, path, project_id IS NULL, columns, is_complete, first_day, last_day, bytes,
    CASE WHEN project_id IS NULL THEN (project_rows ->> %(key)s)::bigint ELSE rows END
FROM events_segment
WHERE retired_at IS NULL AND first_day <= %(last_day)s AND last_day >= %(first_day)s AND first_received_at < %(received_until)s
    AND (project_id = %(project)s OR (project_id IS NULL AND project_rows ? %(key)s))
ORDER BY first_day, id
"""
OLDEST_UNSEALED: Final = "SELECT min(stored_at), clock_timestamp() FROM events_batch WHERE seal IS NULL"
FAR: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A live file. `columns`: property -> {"s": bool, "n": bool}, which columns hold it; `is_complete`: no other occurs."""

    id: int
    path: Path
    is_shared: bool
    columns: dict[str, dict[str, bool]]
    is_complete: bool
    first_day: date
    last_day: date
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`as_of`: what was committed before is in these files; `token` changes whenever they do."""

    project_id: int
    files: tuple[SegmentFile, ...]
    as_of: datetime
    lag: timedelta

    @property
    def token(self) -> str:
        return ",".join(str(file.id) for file in self.files)

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)


def snapshot(
    project_id: int,
    *,
    since: datetime | None,
    until: datetime | None,
    received_before: datetime | None = None,
) -> Snapshot:
    """Returns the files that may hold events of [since, until), and how far they reach."""
    root = lake_dir()
    values: dict[str, Any] = {
        "project": project_id,
        "key": str(project_id),
        "first_day": since.astimezone(UTC).date() if since else date.min,
        "last_day": until.astimezone(UTC).date() if until else date.max,
        "received_until": received_before or FAR,
    }
    with connection.cursor() as cursor:
        # The batches first: one sealed in between is then counted as behind, never a gap as covered.
        cursor.execute(OLDEST_UNSEALED)
        oldest, now = cursor.fetchone()
        cursor.execute(LIVE, values)
        files = tuple(
            SegmentFile(row[0], root / row[1], row[2], msgspec.json.decode(row[3]), *row[4:])
            for row in cursor.fetchall()
        )
    return Snapshot(
        project_id, files, oldest or now, max(now - oldest, timedelta()) if oldest else timedelta()
    )


def lag() -> timedelta:
    """Age of the oldest batch that is not sealed."""
    with connection.cursor() as cursor:
        cursor.execute(OLDEST_UNSEALED)
        oldest, now = cursor.fetchone()
    return max(now - oldest, timedelta()) if oldest else timedelta()
