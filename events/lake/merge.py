"""Merge: live segments replaced by fewer and better ones that hold the same rows, one step at a time.

Rows are written without the lake's lock, so that sealing goes on meanwhile; only the exchange takes it. Whatever was
replaced by somebody else in between (an erasure) makes the step void, and its files orphans.
"""

import contextlib
import errno
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import duckdb
from django.db import connection, transaction
from django.utils import timezone

from events.lake import duck, plan, properties
from events.lake.duck import FULL
from events.lake.layout import (
    COLUMNS,
    ROW_GROUP_BYTES,
    ROW_GROUP_ROWS,
    day_path,
    fresh_path,
    lake_dir,
    month_path,
)
from events.lake.plan import Step
from events.lake.publish import LOCK, WORK_SECONDS, Draft, SegmentGone, new_token, publish, write
from events.lake.runs import IN_ORDER, SIZE, Rows, in_files, in_order
from events.models import Segment
from projects.models import Project

log = logging.getLogger(__name__)

MERGE_SECONDS: Final = 600  # a million rows of 75 properties take some 200
SECONDS: Final = MERGE_SECONDS - 20
# Sorting takes more of large rows than of those of 400 bytes. The last is for what none of these is enough for.
MEMORY_BY_ROW_BYTES: Final = ((duck.LARGE_ROW_BYTES, duck.MEMORY), (1 << 62, "128MB"), (1 << 62, "1GB"))
LEAST_GROUP_ROWS: Final = 2_048  # what DuckDB works on at once
NARROW: Final = 20  # columns of properties that need no smaller row groups
OWN_ORDER: Final = ("name", "occurred_at", "id")
SHARED_ORDER: Final = ("project_id", *OWN_ORDER)
ENOUGH_SIZE: Final = (
    16 << 20
)  # by SIZE: with as much a project's day leaves the shared files, however few its rows
# By name all files' statistics are read first: by those a sort packs what it holds, and spills half as much.
READ: Final = "read_parquet(?, union_by_name = true)"
AT_ONCE: Final = 8  # projects' days that are each looked for in all files; of more, all rows are sorted first
DAY_US: Final = 86_400_000_000
EPOCH: Final = date(1970, 1, 1)
PLANNED: Final = (
    "project_id",
    "path",
    "level",
    "first_day",
    "last_day",
    "rows",
    "bytes",
    "created_at",
)  # what plan.py reads


@dataclass(frozen=True, slots=True)
class Merged:
    """What one step did. `projects`: whose files are others now."""

    kind: str
    retired: int
    made: int
    rows: int
    projects: frozenset[int]


class StepFailed(Exception):
    """A step that cannot be carried out. `ids`: its segments, all as they were."""

    def __init__(self, ids: frozenset[int], reason: str) -> None:
        super().__init__(reason)
        self.ids = ids


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows of a project's UTC day, and their bytes by SIZE."""

    project_id: int
    day: date
    rows: int
    size: int


def merge(
    *,
    now: datetime | None = None,
    without: frozenset[int] = frozenset(),
    reached: Callable[[str], object] = str,
) -> Merged | None:
    """Carries out the most urgent step; None where nothing is due or another process merges.

    Durable on return: the new files and the exchange. A crash before leaves files that nobody lists.
    Raises StepFailed where its files cannot be read or written, OSError, and what the database raises.
    """
    with _merging() as is_free:
        now = now or timezone.now()
        step = plan.next_step(_live(), now, without=without) if is_free else None
        if step is None:
            return None
        try:
            drafts = _write(step)
        except duckdb.Error as error:
            if _is_gone(step):
                return None
            if isinstance(error, duckdb.IOException) and FULL.search(str(error)):
                raise OSError(errno.ENOSPC, str(error)) from error
            raise StepFailed(step.ids, f"{step.kind} of {len(step.ids)} segments: {error}") from error
        reached("written")
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [LOCK])
        projects = _projects(step)
        try:
            with transaction.atomic():
                publish(drafts, retire=sorted(step.ids))
        except SegmentGone:
            _discard(drafts)
            return None
        reached("published")
    reached("committed")
    return Merged(step.kind, len(step.ids), len(drafts), sum(draft.rows for draft in drafts), projects)


def is_due(*, without: frozenset[int] = frozenset()) -> bool:
    """Says whether `merge` would find anything to do."""
    return plan.next_step(_live(), timezone.now(), without=without) is not None


@contextlib.contextmanager
def _merging() -> Iterator[bool]:
    """A transaction that fences this process if it freezes; one of all processes merges at a time."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"SET LOCAL idle_in_transaction_session_timeout = '{MERGE_SECONDS}s';"
            f"SET LOCAL lock_timeout = '{WORK_SECONDS}s'; SET LOCAL synchronous_commit = on;"
            "SELECT pg_try_advisory_xact_lock(%s, 1)",
            [LOCK],
        )
        yield bool(cursor.fetchone()[0])


def _live() -> list[Segment]:
    return list(Segment.objects.filter(retired_at=None).only(*PLANNED).order_by("id"))


def _is_gone(step: Step) -> bool:
    return Segment.objects.filter(id__in=step.ids, retired_at=None).count() < len(step.ids)


def _projects(step: Step) -> frozenset[int]:
    rows = Segment.objects.filter(id__in=step.ids).values_list("project_id", "project_rows")
    return frozenset(
        int(key) for project_id, shared in rows for key in ([project_id] if shared is None else shared)
    )


def _discard(drafts: list[Draft]) -> None:
    for draft in drafts:
        (lake_dir() / draft.path).unlink(missing_ok=True)


def _write(step: Step) -> list[Draft]:
    """With as little memory as its rows need."""
    with duck.connect() as reader, duck.at_most(reader, SECONDS), duck.in_turn():
        groups = _groups(reader, step)
    large = [group.size // group.rows for group in groups if group.size >= duck.LARGE_BYTES]
    row_bytes = max(large, default=0)
    for memory in [bound for least, bound in MEMORY_BY_ROW_BYTES if row_bytes < least][:-1]:
        try:
            return _write_with(step, groups, memory)
        except duckdb.OutOfMemoryException:
            log.warning("%s of %s segments: tried again with more memory", step.kind, len(step.ids))
    return _write_with(step, groups, MEMORY_BY_ROW_BYTES[-1][1])


def _files(step: Step) -> list[str]:
    return [str(lake_dir() / segment.path) for segment in step.segments]


def _groups(reader: duckdb.DuckDBPyConnection, step: Step) -> list[_Group]:
    """What the step's files hold, the largest first; without projects that are no more."""
    found = reader.execute(
        f"SELECT project_id, epoch_us(occurred_at) // {DAY_US}, count(*), sum({SIZE})"
        f" FROM {READ} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
        [_files(step)],
    ).fetchall()
    known = set(Project.objects.filter(pk__in={row[0] for row in found}).values_list("pk", flat=True))
    return [
        _Group(project_id, EPOCH + timedelta(days=day), rows, int(size))
        for project_id, day, rows, size in found
        if project_id in known
    ]


def _total(groups: Sequence[_Group]) -> tuple[int, int]:
    """Rows and bytes of all of them."""
    return sum(group.rows for group in groups), sum(group.size for group in groups)


def _write_with(step: Step, groups: list[_Group], memory: str) -> list[Draft]:
    """Writes a step's files; where that fails, none is left."""
    drafts: list[Draft] = []
    try:
        with duck.connect(memory=memory) as writer, duck.at_most(writer, SECONDS):
            work = _Work(writer, step, groups, drafts, is_large=memory != duck.MEMORY)
            if step.kind in ("shared", "close"):
                work.part()
            else:
                work.join()
    except BaseException:
        _discard(drafts)
        raise
    return drafts


@dataclass(slots=True)
class _Work:
    """One step's work; `drafts` grows file by file."""

    writer: duckdb.DuckDBPyConnection
    step: Step
    groups: list[_Group]
    drafts: list[Draft]
    is_large: bool  # rows, on average
    level: int = 0
    files: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.level = min(max(segment.level for segment in self.step.segments) + 1, plan.SETTLED - 1)
        self.files = _files(self.step)

    def join(self) -> None:
        """One project's files to one, of a day or of a month."""
        first = min(self.step.segments, key=lambda segment: segment.first_day)
        if first.project_id is None or not self.groups:
            return
        place = month_path if self.step.kind == "month" else day_path
        source = f"SELECT {', '.join(COLUMNS)} FROM {READ}"
        path = place(first.project_id, first.first_day, new_token())
        self._own(self._rows(source, [self.files], OWN_ORDER, self.groups), first.project_id, path)

    def part(self) -> None:
        """Shared files: what is enough for files of their own to those, the rest to one or two shared ones."""
        moving = self._moving(self.groups)
        if len(moving) > AT_ONCE:
            with in_files(self._together(moving)) as files:
                for group in moving:
                    self._move(group, files, IN_ORDER)
        else:
            for group in moving:
                self._move(group, self.files, OWN_ORDER)
        staying = [group for group in self.groups if group not in moving]
        settled = [group for group in staying if self._is_settled(group)]
        self._shared([group for group in staying if group not in settled], self.level)
        self._shared(settled, plan.SETTLED)

    def _move(self, group: _Group, files: list[str], key: Sequence[str]) -> None:
        source = (
            f"SELECT {', '.join(COLUMNS)} FROM {READ}"
            " WHERE project_id = ? AND occurred_at >= ? AND occurred_at < ?"
        )
        midnight = datetime(group.day.year, group.day.month, group.day.day, tzinfo=UTC)
        values = [files, group.project_id, midnight, midnight + timedelta(days=1)]
        path = day_path(group.project_id, group.day, new_token())
        self._own(self._rows(source, values, key, [group]), group.project_id, path)

    def _moving(self, groups: list[_Group]) -> list[_Group]:
        enough = [group for group in groups if group.rows >= plan.DAY_ROWS or group.size >= ENOUGH_SIZE]
        if self.step.kind == "close":
            closed = [group for group in groups if self._is_closed(group)]
            if len(closed) > plan.GROUPS:
                closed = [group for group in closed if group.rows >= plan.QUIET_ROWS]
            enough += [group for group in closed if group not in enough]
        return enough[: plan.GROUPS]

    def _is_closed(self, group: _Group) -> bool:
        return group.day <= self.step.closed_until

    def _is_settled(self, group: _Group) -> bool:
        if all(segment.level >= plan.SETTLED for segment in self.step.segments):
            return True
        return self.step.kind == "close" and self._is_closed(group) and group.rows < plan.QUIET_ROWS

    def _own(self, of: Rows, project_id: int, path: str) -> None:
        with self._turn():
            chosen = properties.choose(self.writer, of.source, of.values, rows=of.rows, size=of.size)
        wanted, extra, pointers = properties.select(chosen)
        names = ", ".join(COLUMNS)
        # Sorted before the properties are taken out: they would all have to pass through the sort.
        with in_order(of) as (sorted_rows, ordered):
            self._add(
                f"SELECT {names}{wanted} FROM (SELECT *{extra} FROM ({sorted_rows}))", [*pointers, *ordered], path=path,
                project_id=project_id, level=self.level, columns=chosen.columns, is_complete=chosen.is_complete,
                group_rows=_group_rows(wanted.count(",")),
            )  # fmt: skip

    def _rows(self, source: str, values: list[Any], key: Sequence[str], groups: list[_Group]) -> Rows:
        rows, size = _total(groups)
        return Rows(self.writer, source, values, key, rows, size, self._turn)

    def _together(self, groups: list[_Group]) -> Rows:
        """Of several projects, in the order of shared files."""
        source = (
            f"SELECT {', '.join(f'e.{name}' for name in COLUMNS)} FROM {READ} AS e"
            " SEMI JOIN (SELECT unnest(?::bigint[]) AS project_id, unnest(?::bigint[]) AS day) AS g"
            f" ON e.project_id = g.project_id AND epoch_us(e.occurred_at) // {DAY_US} = g.day"
        )
        days = [(group.day - EPOCH).days for group in groups]
        values = [self.files, [group.project_id for group in groups], days]
        return self._rows(source, values, SHARED_ORDER, groups)

    def _shared(self, groups: list[_Group], level: int) -> None:
        if not groups:
            return
        with in_order(self._together(groups)) as (rows, ordered):
            self._add(rows, ordered, path=fresh_path(new_token()), project_id=None, level=level)

    def _add(self, sql: str, values: list[Any], **place: Any) -> None:
        group_bytes = duck.LARGE_BYTES if self.is_large else ROW_GROUP_BYTES
        with self._turn():
            draft = write(self.writer, sql, values, group_bytes=group_bytes, **place)
        if draft:
            self.drafts.append(draft)

    def _turn(self) -> AbstractContextManager[None]:
        return duck.in_turn() if self.is_large else contextlib.nullcontext()


def _group_rows(columns: int) -> int:
    """A row group is held in memory, every column of it: 150 columns of 30,720 rows took 500 MB."""
    fitting = ROW_GROUP_ROWS * NARROW // max(columns, NARROW)
    return max(LEAST_GROUP_ROWS, fitting - fitting % LEAST_GROUP_ROWS)
