"""Which step comes next. Pure cases: segments that no file stands behind, and a clock."""

from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from events.lake import plan
from events.lake.plan import next_step
from events.models import Segment

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TODAY, YESTERDAY = date(2026, 3, 10), date(2026, 3, 9)
IDS = count(1)


def shared(
    rows: int, *, day: date = TODAY, age: timedelta = timedelta(), level: int = 0, row_bytes: int = 50
) -> Segment:
    return Segment(
        id=next(IDS), path="fresh/x.parquet", level=level, first_day=day, last_day=TODAY, rows=rows, bytes=rows * row_bytes,
        created_at=NOW - age,
    )  # fmt: skip


def own(
    rows: int, *, day: date = TODAY, project: int = 1, month: bool = False, until: date | None = None
) -> Segment:
    place = f"month={day:%Y-%m}" if month else f"day={day}"
    return Segment(
        id=next(IDS), path=f"lake/project={project}/{place}/x.parquet", project_id=project, level=1, first_day=day,
        last_day=until or day, rows=rows, bytes=rows * 50, created_at=NOW,
    )  # fmt: skip


def days(*numbers: int, month: int = 2, **fields: Any) -> list[Segment]:
    return [own(fields.get("rows", 5_000), day=date(2026, month, number)) for number in numbers]


LATE = timedelta(hours=2)
CASES = {
    "nothing": ([], None, 0),
    "seven small ones wait": ([shared(10) for _ in range(7)], None, 0),
    "eight of a size": ([shared(10) for _ in range(8)] + [shared(10_000)], "shared", 8),
    "eight of different sizes wait": (
        [shared(rows, level=1) for rows in (10, 10_000, 50_000, 300_000) * 2], None, 0,
    ),
    "much that is fresh": ([shared(50_000) for _ in range(4)] + [shared(25_000) for _ in range(8)], "shared", 12),
    "enough for a file, a minute ago": ([shared(8_000, age=timedelta(minutes=2)), shared(12_000)], "shared", 2),
    "enough for a file, just now": ([shared(8_000), shared(12_000)], None, 0),
    "too little for a file, a minute ago": ([shared(8_000, age=timedelta(minutes=2)), shared(11_999)], None, 0),
    "one file with enough, a minute ago": ([shared(20_000, age=timedelta(minutes=2))], "shared", 1),
    "few but large rows, a minute ago": ([shared(800, age=timedelta(minutes=2), row_bytes=12_000)], "shared", 1),
    "few but large rows, just now": ([shared(800, row_bytes=12_000)], None, 0),
    "large rows, no more than fits one file": ([shared(3_000, row_bytes=10_000) for _ in range(8)], "shared", 3),
    "no more than fits one file": ([shared(200_000) for _ in range(9)], "shared", 5),
    "two that fit no file wait": ([shared(600_000, level=1) for _ in range(9)], None, 0),
    "a closed day that was sealed just now": ([shared(10, day=YESTERDAY)], None, 0),
    "a closed day": ([shared(10, day=YESTERDAY, age=LATE)], "close", 1),
    "a day that is not closed": ([shared(10, age=LATE)], None, 0),
    "a closed day that is settled": ([shared(10, day=YESTERDAY, age=LATE, level=plan.SETTLED)], None, 0),
    "settled ones of one month": (
        [shared(10, day=date(2026, 2, n + 1), age=LATE, level=plan.SETTLED) for n in range(8)], "shared", 8,
    ),
    "settled ones of many months": (
        [shared(10, day=date(2025, n + 1, 1), age=LATE, level=plan.SETTLED) for n in range(8)], None, 0,
    ),
    "seven of an open day": ([own(20_000) for _ in range(7)], None, 0),
    "eight of an open day": ([own(20_000) for _ in range(8)], "day", 8),
    "eight of other projects": ([own(20_000, project=n) for n in range(8)], None, 0),
    "large ones of an open day": ([own(300_000) for _ in range(9)], None, 0),
    "two of a closed day": ([own(5_000, day=YESTERDAY), own(20_000, day=YESTERDAY)], "day", 2),
    "a late event beside much": ([own(1, day=YESTERDAY), own(900_000, day=YESTERDAY)], None, 0),
    "late events": ([own(1, day=YESTERDAY) for _ in range(2)] + [own(900_000, day=YESTERDAY)], "day", 2),
    "a large closed day stays in several": ([own(700_000, day=YESTERDAY) for _ in range(3)], None, 0),
    "days of a month that is over": (days(1, 2, 20), "month", 3),
    "one day of it": (days(1), None, 0),
    "large days of it": (days(1, 2, 3, rows=300_000), None, 0),
    "seven days of this month": (days(1, 2, 3, 4, 5, 6, month=3), None, 0),
    "days closed for less than three days": (days(7, 8, month=3), None, 0),
    "a month and a day that came late": ([own(4_000, day=date(2026, 2, 1), month=True), *days(5)], "month", 2),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_step_that_is_due(case: str) -> None:
    live, kind, number = CASES[case]
    step = next_step(live, NOW)
    assert (step and step.kind, len(step.segments) if step else 0) == (kind, number)


def test_a_day_is_closed_two_hours_after_its_end() -> None:
    live = [shared(10, day=YESTERDAY, age=timedelta(days=1))]
    assert next_step(live, datetime(2026, 3, 10, 1, 59, tzinfo=UTC)) is None
    step = next_step(live, datetime(2026, 3, 10, 2, 0, tzinfo=UTC))
    assert step is not None
    assert step.closed_until == YESTERDAY


def test_what_is_left_alone_is_not_chosen() -> None:
    live = [shared(10) for _ in range(9)]
    step = next_step(live, NOW, without={live[0].pk})
    assert step is not None
    assert live[0].pk not in step.ids


@pytest.mark.parametrize(
    ("seal_rows", "most_files", "most_writes"), [(1, 40, 6), (200, 40, 5), (20_000, 40, 4)]
)
def test_a_day_of_sealing_keeps_files_few_and_rows_unmoved(
    seal_rows: int, most_files: int, most_writes: float
) -> None:
    """A project whose rows are too few for a day of its own, or are many: how many files, how often a row is written."""
    live: list[Segment] = []
    written = sealed = most = 0
    for _ in range(4_000):
        live.append(shared(seal_rows))
        sealed += seal_rows
        while step := next_step(live, NOW):
            rows = sum(segment.rows for segment in step.segments)
            live = [segment for segment in live if segment.pk not in step.ids]
            # As merge does: a project's day leaves the shared ones when it has enough rows.
            moves = step.kind != "shared" or rows >= plan.DAY_ROWS
            live.append(own(rows) if moves else shared(rows, level=1))
            # Files of a few kilobytes are rewritten often and cost nothing; counted is what weighs.
            written += rows if rows > plan.SIZES[0] else 0
        most = max(most, len([segment for segment in live if segment.rows < plan.SIZES[-1]]))
    assert most <= most_files
    assert written / sealed <= most_writes
