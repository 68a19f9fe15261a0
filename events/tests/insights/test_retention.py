"""Retention against plain Python over the same events."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from events.insights.ask import ask
from events.insights.errors import BadQuestion
from events.insights.kinds import KINDS
from events.tests.insights import reference
from events.tests.insights.attempted import files_of
from events.tests.insights.reference import Event, bucket, grouped, holds
from events.tests.insights.seeded import Seeded

NOW = datetime(2026, 11, 6, 9, 30, 20, tzinfo=UTC)
AUTUMN = {"from": "2026-10-01", "until": "2026-11-04"}
LARGE = {"property": "amount", "op": ">", "value": 2}
VIEW, PAID = {"name": "page_view"}, {"name": "order_paid", "where": LARGE}
SIGNED_UP = {"name": ["signup", "Zürich 'q\" %"]}
Triangle = dict[tuple[int, int], set[str]]
pytestmark = pytest.mark.usefixtures("seeded_questions")


@pytest.fixture(scope="module")
def seeded_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any], list[Event]]:
    """The reference's events, half of those of October and November of persons who first come then, one after the other."""
    chance = random.Random(9)
    events = []
    for event in reference.events():
        newcomers = int((event.occurred_at - datetime(2026, 10, 1, tzinfo=UTC)) / timedelta(hours=5))
        if newcomers > 0 and chance.random() < 0.5:
            event = replace(event, user_id=f"new{chance.randrange(newcomers)}")
        events.append(event)
    return files_of(events, tmp_path_factory.mktemp("returning"))


@pytest.fixture
def retention(seeded: Seeded) -> Callable[..., dict[str, Any]]:
    shared = {"period": AUTUMN, "time_zone": "Europe/Berlin"}
    return lambda now=NOW, **question: ask(seeded.project, KINDS["retention"], shared | question, now=now)


def triangle(
    events: list[Event], answer: dict[str, Any], start: dict[str, Any], comes_back: dict[str, Any]
) -> Triangle:
    """Who is in each cell: (cohort, periods after it)."""
    zone, interval = ZoneInfo(answer["period"]["time_zone"]), answer["period"]["interval"]
    since, until = (datetime.fromisoformat(answer["period"][end]) for end in ("from", "until"))
    keys = [bucket(datetime.fromisoformat(time), zone, interval) for time in answer["times"]]
    assert len(keys) == len(set(keys))
    found: Triangle = {}
    for person, own in grouped(events, lambda event: event.person).items():
        if person is None:
            continue
        starts = [event.occurred_at for event in own if meets(event, start, zone)]
        if answer["mode"] == "first_time":
            starts = sorted(starts)[:1]
        cohorts = {keys.index(bucket(at, zone, interval)) for at in starts if since <= at < until}
        returns = {
            keys.index(bucket(event.occurred_at, zone, interval))
            for event in own if since <= event.occurred_at < until and meets(event, comes_back, zone)
        }  # fmt: skip
        for cohort in cohorts:
            for place in {cohort} | {place for place in returns if place > cohort}:
                found.setdefault((cohort, place - cohort), set()).add(person)
    return found


def meets(event: Event, asked: dict[str, Any], zone: ZoneInfo) -> bool:
    name = asked.get("name")
    names = [name] if isinstance(name, str) else name
    return (names is None or event.name in names) and (
        "where" not in asked or holds(event, asked["where"], zone)
    )


def assert_equal(answer: dict[str, Any], wanted: Triangle) -> None:
    number = len(answer["times"])
    assert [cohort["time"] for cohort in answer["cohorts"]] == list(answer["times"])
    for place, cohort in enumerate(answer["cohorts"]):
        counts = [len(wanted.get((place, later), ())) for later in range(number - place)]
        assert (cohort["persons"], cohort["counts"]) == (counts[0], counts)
        assert cohort["shares"] == [count / counts[0] if counts[0] else None for count in counts]


@pytest.mark.parametrize("zone", reference.ZONES)
@pytest.mark.parametrize("mode", ["first_time", "recurring"])
@pytest.mark.parametrize(
    ("interval", "since", "until"),
    [
        ("day", "2026-10-23", "2026-11-03"),
        ("day", "2026-10-01T13:30:00", "2026-11-04T01:15:00.000001"),
        ("week", "2026-03-01", "2026-04-12"),
        ("week", "2026-08-26", "2026-11-06"),
        ("month", "2026-01-31", "2026-12-02"),
    ],
)
def test_every_cell_in_every_zone(
    seeded: Seeded, retention: Callable[..., Any], interval: str, since: str, until: str, mode: str, zone: str
) -> None:
    asked = {"start": VIEW, "return": PAID, "mode": mode, "interval": interval, "time_zone": zone}
    answer = retention(**asked, period={"from": since, "until": until})
    wanted = triangle(seeded.events, answer, VIEW, PAID)
    assert any(later for _, later in wanted)
    assert_equal(answer, wanted)


@pytest.mark.parametrize("mode", ["first_time", "recurring"])
@pytest.mark.parametrize(
    ("zone", "interval", "since", "until"),
    [
        ("Asia/Beirut", "day", "2026-03-26", "2026-04-01"),  # the 29th, a Sunday, begins at one o'clock
        ("Asia/Beirut", "week", "2026-03-16", "2026-04-06"),
        ("America/Santiago", "day", "2026-04-03", "2026-04-08"),  # the 4th has its last hour twice
        ("Africa/Cairo", "week", "2026-10-19", "2026-11-09"),  # the last hour of the 29th is there twice
        ("Pacific/Kiritimati", "month", "2026-03-01", "2026-11-01"),  # 14 hours ahead
    ],
)
def test_days_without_a_midnight_or_with_two(
    seeded: Seeded, retention: Callable[..., Any], zone: str, interval: str, since: str, until: str, mode: str
) -> None:
    answer = retention(mode=mode, interval=interval, time_zone=zone, period={"from": since, "until": until})
    wanted = triangle(seeded.events, answer, {}, {})
    assert any(later for _, later in wanted)
    assert_equal(answer, wanted)


def test_weeks_begin_on_monday_at_midnight_in_the_time_zone_asked_for(retention: Callable[..., Any]) -> None:
    answer = retention(interval="week", period={"from": "2026-10-21", "until": "2026-11-04"})
    assert list(answer["times"]) == [
        "2026-10-19T00:00:00+02:00", "2026-10-26T00:00:00+01:00", "2026-11-02T00:00:00+01:00",
    ]  # fmt: skip


EVENTS = [
    ({}, {}),
    (PAID, {}),
    ({}, PAID),
    (VIEW, VIEW),
    ({"where": LARGE}, SIGNED_UP),
    ({"name": "never sent"}, {}),
]


@pytest.mark.parametrize("mode", ["first_time", "recurring"])
@pytest.mark.parametrize(("start", "comes_back"), EVENTS)
def test_every_sort_of_start_and_return(
    seeded: Seeded,
    retention: Callable[..., Any],
    start: dict[str, Any],
    comes_back: dict[str, Any],
    mode: str,
) -> None:
    answer = retention(**{"start": start, "return": comes_back, "mode": mode, "interval": "week"})
    assert_equal(answer, triangle(seeded.events, answer, start, comes_back))


@pytest.mark.parametrize("mode", ["first_time", "recurring"])
def test_a_filter_of_the_question_is_of_both(
    seeded: Seeded, retention: Callable[..., Any], mode: str
) -> None:
    where = {"property": "plan", "op": "in", "value": ["free", "pro"]}
    answer = retention(**{"start": VIEW, "return": VIEW, "mode": mode, "where": where})
    chosen = [event for event in seeded.events if holds(event, where, ZoneInfo("Europe/Berlin"))]
    assert_equal(answer, triangle(chosen, answer, VIEW, VIEW))


def test_who_started_before_the_period_is_no_newcomer(seeded: Seeded, retention: Callable[..., Any]) -> None:
    new, active = (
        sum(cohort["persons"] for cohort in retention(mode=mode, interval="month")["cohorts"])
        for mode in ("first_time", "recurring")
    )
    assert 0 < new < active / 2


@pytest.mark.parametrize("mode", ["first_time", "recurring"])
def test_sixty_three_periods_are_the_most(seeded: Seeded, retention: Callable[..., Any], mode: str) -> None:
    period = {"from": "2026-09-03", "until": "2026-11-05"}
    answer = retention(period=period, mode=mode)
    assert len(answer["times"]) == 63
    assert_equal(answer, triangle(seeded.events, answer, {}, {}))
    last = {"persons": {"cohort": 62, "period": 0, "limit": 1_000}}
    assert len(retention(period=period, mode=mode, **last)["persons"]) == answer["cohorts"][62]["persons"]
    with pytest.raises(BadQuestion, match="64 periods, and 63 are the most") as refused:
        retention(period=period | {"from": "2026-09-02"}, mode=mode)
    assert refused.value.field == "interval"


@pytest.mark.parametrize(("cohort", "later"), [(0, 0), (0, 3), (2, 1), (4, 0)])
@pytest.mark.parametrize("mode", ["first_time", "recurring"])
def test_persons_of_a_cell_page_by_page(
    seeded: Seeded, retention: Callable[..., Any], mode: str, cohort: int, later: int
) -> None:
    asked = {"start": VIEW, "return": PAID, "mode": mode, "interval": "week"}
    found: list[dict[str, Any]] = []
    after = None
    while True:
        page = {"cohort": cohort, "period": later, "limit": 20, "after": after}
        answer = retention(**asked, persons=page)
        found, after = found + answer["persons"], answer["next"]
        if after is None:
            break
        assert len(answer["persons"]) == 20
    wanted = triangle(seeded.events, answer, VIEW, PAID)
    assert len(found) == len({row["person"] for row in found})
    assert {row["person"] for row in found} == wanted[cohort, later]
    for row in found:
        cells = [
            place for (own, place), persons in wanted.items() if own == cohort and row["person"] in persons
        ]
        assert row["returned"] == sorted(set(cells) - {0})


@pytest.mark.parametrize(
    ("interval", "period", "now", "complete"),
    [
        ("day", {"from": "2026-10-23", "until": "2026-10-26"}, NOW, [True, True, True]),
        ("day", {"from": "2026-10-23T00:00:01", "until": "2026-10-25T23:59:59"}, NOW, [False, True, False]),
        ("day", {"last": "3d"}, NOW, [True, True, False]),
        ("day", {"last": "2d"}, datetime(2026, 10, 25, 23, tzinfo=UTC), [True, False]),
        ("week", {"last": "2w"}, datetime(2026, 10, 25, 22, 59, tzinfo=UTC), [True, False]),
        ("week", {"from": "2026-10-20", "until": "2026-11-02"}, NOW, [False, True]),
        ("month", {"from": "2026-10-01", "until": "2027-01-01"}, NOW, [True, False, False]),
    ],
)
def test_a_period_that_is_not_whole_or_not_over_is_marked(
    retention: Callable[..., Any], interval: str, period: dict[str, str], now: datetime, complete: list[bool]
) -> None:
    assert retention(now=now, interval=interval, period=period)["complete"] == complete


def test_a_time_without_events_has_nobody(retention: Callable[..., Any]) -> None:
    answer = retention(period={"from": "2025-01-01", "until": "2025-01-03"})
    assert [cohort["counts"] for cohort in answer["cohorts"]] == [[0, 0], [0]]
    assert [cohort["shares"] for cohort in answer["cohorts"]] == [[None, None], [None]]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"interval": "hour"}, "interval"),
    ({"interval": None}, "interval"),
    ({"period": {"from": "2020-01-01", "until": "2026-01-01"}}, "interval"),
    ({"mode": "first"}, "mode"),
    ({"start": "signup"}, "start"),
    ({"start": {"names": "signup"}}, "start.names"),
    ({"start": {"where": {"op": "="}}}, "start.where"),
    ({"return": {"where": {"not": {"property": "x", "op": "="}}}}, "return.where.not.value"),
    ({"return_": {}}, "return_"),
    ({"where": {"field": "event_id", "op": "=", "value": "x"}}, "where.value"),
    ({"breakdown": {"property": "plan"}}, "breakdown"),
    ({"persons": {"cohort": 0}}, "persons.period"),
    ({"persons": {"cohort": 34, "period": 0}}, "persons.cohort"),
    ({"persons": {"cohort": 30, "period": 4}}, "persons.period"),
    ({"persons": {"cohort": -1, "period": 0}}, "persons.cohort"),
    ({"persons": {"cohort": 0, "period": 0, "after": "0123456789ABCDEF"}}, "persons.after"),
    ({"persons": {"cohort": 0, "period": 0, "limit": 1_001}}, "persons.limit"),
]


@pytest.mark.parametrize(("asked", "field"), BAD)
def test_what_is_wrong_is_named(retention: Callable[..., Any], asked: dict[str, Any], field: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        retention(**asked)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "example", KINDS["retention"].examples.values(), ids=KINDS["retention"].examples.keys()
)
def test_every_example_of_the_documentation_is_answered(seeded: Seeded, example: dict[str, Any]) -> None:
    assert ask(seeded.project, KINDS["retention"], example, now=NOW)["times"]
