"""Sessions against plain Python over the same events."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import mean, median
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from events.insights.ask import ask
from events.insights.errors import BadQuestion
from events.insights.kinds import KINDS
from events.tests.insights import visits
from events.tests.insights.reference import Event, bucket, grouped, holds
from events.tests.insights.seeded import Seeded
from events.tests.insights.visits import DAY, GAP, seeded_files, sessions_of
from projects.models import Project

__all__ = ["seeded_files"]
NOW = datetime(2026, 10, 30, tzinfo=UTC)
PERIOD = {"from": "2026-10-24", "until": "2026-10-27"}
Sessions = list[list[Event]]
pytestmark = pytest.mark.usefixtures("seeded_questions")


@pytest.fixture
def sessions(seeded: Seeded) -> Callable[..., dict[str, Any]]:
    shared = {"period": PERIOD, "time_zone": "Europe/Berlin"}
    return lambda **question: ask(seeded.project, KINDS["sessions"], shared | question, now=NOW)


def ends(answer: dict[str, Any]) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(answer["period"]["from"]), datetime.fromisoformat(answer["period"]["until"])


def expected(
    events: list[Event], answer: dict[str, Any], by: str = "silence", gap: timedelta = GAP
) -> Sessions:
    """The sessions that begin in the period; of each what happened until a day after it."""
    since, until = ends(answer)
    seen = [event for event in events if event.occurred_at < until + DAY]
    return [one for one in sessions_of(seen, by, gap) if since <= one[0].occurred_at < until]


def figures(chosen: Sessions) -> dict[str, Any]:
    lengths = [(one[-1].occurred_at - one[0].occurred_at).total_seconds() for one in chosen]
    numbers = [len(one) for one in chosen]
    bounces = numbers.count(1)
    return {
        "sessions": len(chosen),
        "bounces": bounces,
        "bounce_rate": bounces / len(chosen) if chosen else None,
        "events": sum(numbers),
        "events_mean": mean(numbers) if chosen else None,
        "seconds_mean": mean(lengths) if chosen else None,
        "seconds_median": median(lengths) if chosen else None,
    }


def top(chosen: Sessions, place: int, limit: int) -> list[dict[str, Any]]:
    counted = Counter(one[place].name for one in chosen)
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:limit]
    return [{"name": name, "sessions": number} for name, number in ranked]


RULES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"gap_minutes": 60}, {"gap": timedelta(minutes=60)}),
    ({"gap_minutes": 1}, {"gap": timedelta(minutes=1)}),
    ({"by": "session_id"}, {"by": "session_id"}),
]


@pytest.mark.parametrize(("asked", "rule"), RULES)
@pytest.mark.parametrize("interval", ["hour", "day", "month"])
def test_every_figure_in_every_bucket(
    seeded: Seeded, sessions: Callable[..., Any], asked: dict[str, Any], rule: dict[str, Any], interval: str
) -> None:
    answer = sessions(interval=interval, top=4, **asked)
    chosen = expected(seeded.events, answer, **rule)
    assert answer["total"] == pytest.approx(figures(chosen))
    zone = ZoneInfo("Europe/Berlin")
    buckets = grouped(chosen, lambda one: bucket(one[0].occurred_at, zone, interval))  # type: ignore[arg-type, attr-defined]
    keys = [bucket(datetime.fromisoformat(start), zone, interval) for start in answer["times"]]
    assert set(buckets) <= set(keys)
    shown = [{name: values[place] for name, values in answer["series"].items()} for place in range(len(keys))]
    assert shown == [pytest.approx(figures(buckets.get(key, []))) for key in keys]  # type: ignore[arg-type]
    assert (answer["first"], answer["last"]) == (top(chosen, 0, 4), top(chosen, -1, 4))


@pytest.mark.parametrize("zone", ["UTC", "Australia/Lord_Howe", "America/New_York"])
def test_the_sessions_of_neighbouring_periods_add_up(
    seeded: Seeded, sessions: Callable[..., Any], zone: str
) -> None:
    middle = "2026-10-25T11:00:00.000001"
    parts = [
        {"from": "2026-10-24", "until": middle}, {"from": middle, "until": "2026-10-26"},
        {"from": "2026-10-24", "until": "2026-10-26"},
    ]  # fmt: skip
    one, other, whole = (
        sessions(period=part, time_zone=zone, interval=None)["total"]["sessions"] for part in parts
    )
    assert one + other == whole > 100


@pytest.mark.parametrize("by", ["silence", "session_id"])
def test_a_session_that_began_before_the_period_is_not_in_it(
    seeded: Seeded, sessions: Callable[..., Any], by: str
) -> None:
    """A silence of exactly half an hour joins; one µs more divides."""
    persons = [f"a{1_000 + number}" for number in range(3)]
    asked = {"where": {"field": "anonymous_id", "op": "in", "value": persons}, "interval": None}
    answer = sessions(**asked)
    assert [one[0].person for one in expected(seeded.events, answer) if one[0].anonymous_id in persons]
    own = [event for event in seeded.events if event.anonymous_id in persons]
    chosen = expected(own, sessions(by=by, **asked), by)
    assert sessions(by=by, **asked)["total"] == pytest.approx(figures(chosen))


def test_a_session_that_goes_on_after_the_period_is_counted_for_a_day_more(
    seeded: Seeded, sessions: Callable[..., Any]
) -> None:
    own = [event for event in seeded.events if event.anonymous_id == "a2000"]
    answer = sessions(where={"field": "anonymous_id", "op": "=", "value": "a2000"}, interval=None)
    # It began an hour and a half before the end: 90 + 1440 minutes, an event every 28.
    assert (answer["total"]["sessions"], answer["total"]["events"], len(own)) == (1, 55, 70)


@pytest.mark.parametrize("by", ["silence", "session_id"])
@pytest.mark.parametrize(
    ("breakdown", "key"),
    [
        ({"property": "plan", "limit": 2}, lambda event: event.text(["plan"])),
        ({"property": "plan"}, lambda event: event.text(["plan"])),
        ({"field": "name", "limit": 3}, lambda event: event.name),
        ({"field": "person", "limit": 3}, lambda event: event.person),
    ],
)
def test_groups_by_the_first_event(
    seeded: Seeded, sessions: Callable[..., Any], breakdown: dict[str, Any], key: Callable[[Event], Any], by: str
) -> None:  # fmt: skip
    answer = sessions(breakdown=breakdown, by=by, interval=None)
    groups = grouped(expected(seeded.events, answer, by), lambda one: key(one[0]))  # type: ignore[arg-type, index]
    ranked = sorted(groups, key=lambda group: (-len(groups[group]), group is None, group or ""))
    chosen = ranked[: breakdown.get("limit", 10)]
    rest = [one for group in ranked[len(chosen) :] for one in groups[group]]
    shown = [({"group": group, "is_other": False}, groups[group]) for group in chosen]
    shown += [({"group": None, "is_other": True}, rest)] if rest else []
    assert answer["groups"] == [pytest.approx(head | figures(own)) for head, own in shown]


@pytest.mark.parametrize(
    "asked",
    [
        {"name": "page_view"},
        {"name": ["page_view", "a"], "by": "session_id"},
        {"where": {"property": "plan", "op": "!=", "value": "free"}, "gap_minutes": 45},
    ],
)
def test_what_a_filter_leaves_out_is_in_no_session(
    seeded: Seeded, sessions: Callable[..., Any], asked: dict[str, Any]
) -> None:
    answer = sessions(interval=None, **asked)
    names = asked.get("name", visits.NAMES)
    own = [
        event
        for event in seeded.events
        if event.name in ([names] if isinstance(names, str) else names)
        and holds(event, asked.get("where", {"and": []}), ZoneInfo("UTC"))
    ]
    rule = {"by": asked.get("by", "silence"), "gap": timedelta(minutes=asked.get("gap_minutes", 30))}
    assert answer["total"] == pytest.approx(figures(expected(own, answer, **rule)))


def test_a_time_without_events_has_zeroes_and_nulls(sessions: Callable[..., Any]) -> None:
    answer = sessions(
        period={"from": "2026-01-01", "until": "2026-01-03"}, interval="day", breakdown={"property": "plan"}
    )
    assert (answer["total"], answer["groups"], answer["first"], answer["last"]) == (figures([]), [], [], [])
    assert answer["series"]["sessions"] == [0, 0]
    assert answer["series"]["seconds_mean"] == [None, None]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"by": "cookie"}, "by"),
        ({"gap_minutes": 0}, "gap_minutes"),
        ({"gap_minutes": 1_441}, "gap_minutes"),
        ({"by": "session_id", "gap_minutes": 5}, "gap_minutes"),
        ({"top": 51}, "top"),
        ({"breakdown": {}}, "breakdown"),
        ({"breakdown": {"field": "occurred_at"}}, "breakdown.field"),
        ({"where": {"property": "x", "op": "="}}, "where.value"),
        ({"interval": "minute", "period": {"last": "30d"}}, "interval"),
        ({"measure": {}}, "measure"),
    ],
)
def test_a_bad_question_is_refused_with_its_field(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        ask(Project(pk=1, time_zone="UTC"), KINDS["sessions"], asked)
    assert refused.value.field == field
