"""How a file becomes part of the lake, and stops being so: written aside, made durable, then listed in one transaction.

A crash before that transaction commits leaves an orphan file, which the sweep removes; after it, nothing to do.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

import duckdb
from django.db import connection, transaction
from django.utils import timezone

from events.lake.layout import ROW_GROUP_BYTES, ROW_GROUP_ROWS, lake_dir
from events.models import Segment

LOCK: Final = 0x45530004  # pg_advisory_xact_lock(class, 0): one writer of the lake at a time; 1: one merge, 2: one of manifests
WORK_SECONDS: Final = 120  # fences a writer that froze: its transaction ends, and what it wrote is an orphan
_MEASURE: Final = """
SELECT project_id, count(*), min(occurred_at), max(occurred_at), min(received_at), min(epoch_us(occurred_at)),
    max(epoch_us(occurred_at))
FROM read_parquet(?) GROUP BY 1 ORDER BY 1
"""


class SegmentGone(Exception):
    """A segment that was to be replaced is no longer live: somebody else replaced it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A durable file that is not listed yet. Fields as in the table of segments."""

    path: str
    project_id: int | None
    level: int
    first_day: date
    last_day: date
    first_at: datetime
    last_at: datetime
    first_received_at: datetime
    rows: int
    project_rows: dict[str, int] | None
    bytes: int
    columns: dict[str, dict[str, bool]] = field(default_factory=dict)
    is_complete: bool = False


@contextlib.contextmanager
def writing(*, wait: bool = False) -> Iterator[bool]:
    """A transaction that holds the lake's lock. Yields False where another writer has it; with `wait`, waits for it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"SET LOCAL idle_in_transaction_session_timeout = '{WORK_SECONDS}s';"
            f"SET LOCAL lock_timeout = '{WORK_SECONDS}s';"
            "SET LOCAL synchronous_commit = on"
        )
        if wait:
            cursor.execute("SELECT true FROM pg_advisory_xact_lock(%s, 0)", [LOCK])
        else:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s, 0)", [LOCK])
        yield bool(cursor.fetchone()[0])


def new_token() -> str:
    """A name for a file: sorts by time, is never used twice."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}"


def write(
    duck: duckdb.DuckDBPyConnection,
    select: str,
    parameters: Sequence[Any] = (),
    *,
    path: str,
    project_id: int | None,
    level: int,
    columns: dict[str, dict[str, bool]] | None = None,
    is_complete: bool = False,
    group_rows: int = ROW_GROUP_ROWS,
    group_bytes: int = ROW_GROUP_BYTES,
) -> Draft | None:
    """Writes what a SELECT returns, in its order, to a new segment; returns None where that is nothing.

    Durable on return, and not part of the lake before `publish`. Raises duckdb.Error and OSError; a part of a file is removed.
    """
    root = lake_dir()
    target, part = root / path, root / "tmp" / f"{uuid.uuid4().hex}.parquet"
    part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        duck.execute(
            f"COPY ({select}) TO '{_quoted(part)}'"
            " (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3,"
            f" ROW_GROUP_SIZE {group_rows}, ROW_GROUP_SIZE_BYTES {group_bytes})",
            list(parameters),
        )
        measured = duck.execute(_MEASURE, [str(part)]).fetchall()
        if not measured:
            part.unlink()
            return None
        _make_durable(part)
        part.chmod(0o444)
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        part.rename(target)
        _make_durable(target.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    ids, rows, first_at, last_at, first_received_at, first_us, last_us = zip(*measured, strict=True)
    shared = dict(zip(map(str, ids), rows, strict=True)) if project_id is None else None
    return Draft(
        path, project_id, level, _day(min(first_us)), _day(max(last_us)), min(first_at), max(last_at),
        min(first_received_at), sum(rows), shared, target.stat().st_size, columns or {}, is_complete,
    )  # fmt: skip


def publish(drafts: Sequence[Draft], *, retire: Sequence[int] = ()) -> list[Segment]:
    """Within `writing`: lists new segments in place of others, by id. Raises SegmentGone, and then nothing is changed."""
    if retire:
        retired = Segment.objects.filter(id__in=list(retire), retired_at=None).update(
            retired_at=timezone.now()
        )
        if retired != len(set(retire)):
            raise SegmentGone(f"{len(set(retire)) - retired} segments are no longer live")
    made = [
        Segment(**{name: getattr(draft, name) for name in draft.__dataclass_fields__}) for draft in drafts
    ]
    return Segment.objects.bulk_create(made)


def _day(us: int) -> date:
    return datetime.fromtimestamp(us // 1_000_000, UTC).date()


def _quoted(path: os.PathLike[str]) -> str:
    return str(path).replace("'", "''")


def _make_durable(path: os.PathLike[str]) -> None:
    """fsync of a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
