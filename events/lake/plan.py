"""What to merge next. Pure: from the live segments and the time, no file is looked at.

Shared segments are merged by size until a project has enough rows of a day for a file of its own; when the day is over,
the rest moves too. A row is written three or four times in all, and a question opens some dozens of files.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from events.models import Segment

FAN_IN: Final = 8  # files of a size, before they become one
SIZES: Final = (4_096, 32_768, 262_144)  # rows at which a size ends: eight of one make one of the next
FRESH_ROWS: Final = 400_000  # under load: no need to wait for eight of a size
FILE_ROWS: Final = 1_000_000  # no file grows beyond by merging: ten seconds of work with few properties
FILE_BYTES: Final = 96 << 20  # the same of large rows, which take longer each
FILES: Final = 200  # read by one step
DAY_ROWS: Final = 20_000  # rows of a project's day that get a file of their own at once
DAY_BYTES: Final = 4 << 20  # of large rows, as they lie in files
QUIET_ROWS: Final = 1_000  # fewer of a closed day stay shared where too many projects have so few
GROUPS: Final = 200  # files written by one step
SETTLED: Final = 100  # level of a shared segment of closed days that none of its rows will leave
CLOSED_AFTER: Final = timedelta(hours=2)  # a UTC day is over by then, but for events that are late
MONTH_AFTER: Final = timedelta(days=3)
SETTLES: Final = timedelta(minutes=1)  # so long may enough rows for a file of their own lie without columns
REST: Final = timedelta(hours=1)  # age of a shared segment whose rows of closed days move


@dataclass(frozen=True, slots=True)
class Step:
    """Segments to be replaced by others that hold the same rows. `kind`: shared, close, day or month."""

    kind: str
    segments: tuple[Segment, ...]
    closed_until: date  # the last day that is closed

    @property
    def ids(self) -> frozenset[int]:
        return frozenset(segment.pk for segment in self.segments)


def next_step(live: Iterable[Segment], now: datetime, *, without: Collection[int] = ()) -> Step | None:
    """Returns the most urgent step, if any is due. `without`: segments that are left alone for now."""
    candidates = [segment for segment in live if segment.pk not in without]
    shared = [segment for segment in candidates if segment.project_id is None]
    own = [segment for segment in candidates if segment.project_id is not None]
    closed = (now - CLOSED_AFTER).date() - timedelta(days=1)
    for kind, chosen in (
        ("shared", _shared(shared, now - SETTLES)),
        ("close", _close(shared, closed, now - REST)),
        ("day", _day(own, closed)),
        ("month", _month(own, (now - MONTH_AFTER).date())),
    ):
        if chosen:
            return Step(kind, tuple(chosen), closed)
    return None


def _shared(shared: Sequence[Segment], made_before: datetime) -> list[Segment]:
    fresh = [segment for segment in shared if segment.level == 0]
    rows, size = sum(segment.rows for segment in fresh), sum(segment.bytes for segment in fresh)
    waited = any(segment.created_at < made_before for segment in fresh)
    if rows >= FRESH_ROWS or (waited and (rows >= DAY_ROWS or size >= DAY_BYTES)):
        return _fitting(fresh) or fresh[:1]
    # Of settled ones only neighbours in time: a question of one month is to open few.
    groups = _grouped(
        shared, lambda s: (_size(s), _first_of_month(s.first_day) if s.level >= SETTLED else None)
    )
    return next((chosen for group in groups if len(group) >= FAN_IN and (chosen := _fitting(group))), [])


def _close(shared: Sequence[Segment], closed: date, made_before: datetime) -> list[Segment]:
    due = [
        segment
        for segment in shared
        if segment.level < SETTLED and segment.first_day <= closed and segment.created_at < made_before
    ]
    return _fitting(due) or due[:1]


def _day(own: Sequence[Segment], closed: date) -> list[Segment]:
    for group in _grouped(own, lambda s: None if _is_month(s) else (s.project_id, s.first_day)):
        if group[0].first_day <= closed:
            chosen = _growing(group)
        else:
            sizes = _grouped(group, _size)
            chosen = next((_fitting(size) for size in sizes if _may_grow(size) and len(size) >= FAN_IN), [])
        if chosen:
            return chosen
    return []


def _month(own: Sequence[Segment], closed_since: date) -> list[Segment]:
    """Small files of days long closed; while the month lasts eight at a time, then all that is left of it."""
    small = [segment for segment in own if segment.last_day < closed_since and segment.rows < SIZES[-1]]
    for group in _grouped(small, lambda s: (s.project_id, _first_of_month(s.first_day))):
        is_over = _first_of_month(group[0].first_day) < _first_of_month(closed_since)
        chosen = _growing(group) if is_over else _fitting(group) if len(group) >= FAN_IN else []
        if chosen:
            return chosen
    return []


def _fitting(segments: Iterable[Segment]) -> list[Segment]:
    """The smallest, as many as make one file; none where that is not two."""
    chosen: list[Segment] = []
    rows = size = 0
    for segment in sorted(segments, key=lambda s: (s.rows, s.pk))[:FILES]:
        rows += segment.rows
        size += segment.bytes
        if rows > FILE_ROWS or size > FILE_BYTES:
            break
        chosen.append(segment)
    return chosen if len(chosen) > 1 else []


def _growing(segments: Iterable[Segment]) -> list[Segment]:
    """The smallest, each at most four times those before together: a late event does not make a large file be written anew."""
    chosen: list[Segment] = []
    rows = 0
    for segment in _fitting(segments):
        if chosen and segment.rows > max(4 * rows, SIZES[0]):
            break
        chosen.append(segment)
        rows += segment.rows
    return chosen if len(chosen) > 1 else []


def _grouped(segments: Iterable[Segment], key: Callable[[Segment], Hashable]) -> list[list[Segment]]:
    """By key, in its order of appearance; None is left out."""
    groups: dict[Hashable, list[Segment]] = defaultdict(list)
    for segment in segments:
        if (found := key(segment)) is not None:
            groups[found].append(segment)
    return list(groups.values())


def _size(segment: Segment) -> int:
    return bisect_right(SIZES, segment.rows)


def _may_grow(segments: Sequence[Segment]) -> bool:
    return _size(segments[0]) < len(SIZES)


def _is_month(segment: Segment) -> bool:
    return "/month=" in segment.path


def _first_of_month(day: date) -> date:
    return day.replace(day=1)
