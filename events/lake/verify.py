"""Verify: the lake equals the table, and each file is what its row says."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import duckdb
from django.db import connection, transaction

from events.lake import duck, sums
from events.lake.layout import lake_dir, retired_path
from events.lake.scope import Scope, living, scope
from events.lake.sums import Compared
from events.models import Segment

TRIES: Final = 3
MISSING: Final = "is missing"
# DuckDB reads two columns of each row group.
MEASURE: Final = """
SELECT project_id, count(*), min(epoch_us(occurred_at)), max(epoch_us(occurred_at))
FROM read_parquet(?, hive_partitioning = false) GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """`is_readable`: its rows can be had from it, only its row in the table of segments tells otherwise."""

    segment: Segment
    what: str
    is_readable: bool

    def __str__(self) -> str:
        return f"{self.segment.path}: {self.what}"


@dataclass(slots=True)
class Verified:
    """`files` were read, `days` of a project compared, of which the table holds `rows`. `compared`: those that differ."""

    scope: Scope
    files: int = 0
    days: int = 0
    rows: int = 0
    compared: list[Compared] = field(default_factory=list)
    broken: list[BrokenFile] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        return not self.different and not self.broken

    @property
    def different(self) -> list[Compared]:
        return [compared for compared in self.compared if not compared.is_equal]


class LakeChanged(Exception):
    """Files that were to be read were replaced meanwhile, and again at every other try."""


def verify(*, project_id: int | None = None, day: date | None = None, keep_equal: bool = False) -> Verified:
    """Compares count and checksum of every project and UTC day that both hold; reads every file that may hold them.

    With `keep_equal`, `compared` holds all of them. It sees one moment and holds nobody up: it needs no lock, and finds
    replaced files where they lie for a quarter of an hour. Raises LakeChanged.
    """
    for _ in range(TRIES):
        verified = _verify(project_id, day, keep_equal)
        missing = {broken.segment.pk for broken in verified.broken if not broken.is_readable}
        are_live = Segment.objects.filter(pk__in=missing, retired_at=None).count() == len(missing)
        if are_live and scope(day=day).received_since == verified.scope.received_since:
            return verified
    raise LakeChanged(f"files were replaced while they were read, {TRIES} times")


def problem(reader: duckdb.DuckDBPyConnection, segment: Segment, path: Path) -> BrokenFile | None:
    """Reads a segment's file and says what of its row is not so."""
    try:
        found = reader.execute(MEASURE, [str(path)]).fetchall()
    except duckdb.Error as error:
        what = _cause(error) if path.exists() else MISSING
        return BrokenFile(segment, what, is_readable=False)
    rows = {project_id: count for project_id, count, _, _ in found}
    first, last = (
        (_day(us) for us in (min(row[2] for row in found), max(row[3] for row in found)))
        if found
        else (None, None)
    )
    if sum(rows.values()) != segment.rows:
        what = f"has {sum(rows.values())} rows instead of {segment.rows}"
    elif (
        segment.project_id is None
        and {str(key): count for key, count in rows.items()} != segment.project_rows
    ):
        what = "has other rows of a project than listed"
    elif segment.project_id is not None and set(rows) != {segment.project_id}:
        what = "has rows of other projects"
    elif (first, last) != (segment.first_day, segment.last_day) or not _lies_right(segment):
        what = f"has rows from {first} to {last}"
    else:
        return None
    return BrokenFile(segment, what, is_readable=True)


def _verify(project_id: int | None, day: date | None, keep_equal: bool) -> Verified:
    with transaction.atomic(), duck.connect() as reader:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        within = scope(project_id=project_id, day=day)
        verified = Verified(within)
        sums.clear(reader)
        for segment in Segment.objects.filter(within.in_segments(), retired_at=None).order_by("id"):
            verified.files += 1
            path = _found(segment)
            broken = problem(reader, segment, path)
            if broken is None or broken.is_readable:
                try:
                    sums.add_file(reader, path, within)
                except duckdb.Error as error:
                    broken = BrokenFile(segment, _cause(error), is_readable=False)
            if broken:
                verified.broken.append(broken)
        alive = living()
        for compared in sums.compare(reader, within):
            if compared.project_id not in alive:
                continue
            verified.days += 1
            verified.rows += compared.table_rows
            if keep_equal or not compared.is_equal:
                verified.compared.append(compared)
    return verified


def _found(segment: Segment) -> Path:
    """Where its file lies, also when it was replaced since."""
    path, retired = (lake_dir() / name for name in (segment.path, retired_path(segment.path)))
    return path if path.exists() or not retired.exists() else retired


def _lies_right(segment: Segment) -> bool:
    """A project's file lies in the folder of its project and of its day or month."""
    if segment.project_id is None:
        return True
    first, last = segment.first_day, segment.last_day
    folders = {
        f"day={first}" if first == last else "",
        f"month={first:%Y-%m}" if f"{first:%Y-%m}" == f"{last:%Y-%m}" else "",
    }
    _, project, folder, _ = segment.path.split("/")
    return project == f"project={segment.project_id}" and folder in folders


def _cause(error: duckdb.Error) -> str:
    return "cannot be read: " + " ".join(str(error).split())[:200]


def _day(us: int) -> date:
    return datetime.fromtimestamp(us // 1_000_000, UTC).date()
