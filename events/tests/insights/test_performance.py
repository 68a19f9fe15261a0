"""Performance against plain Python over the same events."""

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from events.insights.ask import ask
from events.insights.errors import BadQuestion
from events.insights.kinds import KINDS
from events.tests.insights import reference
from events.tests.insights.reference import Event, between, bucket, grouped, holds, percentile
from events.tests.insights.seeded import Seeded
from projects.models import Project

NOW = datetime(2026, 11, 6, 9, 30, 20, tzinfo=UTC)
OCTOBER = {"from": "2026-10-01", "until": "2026-11-05"}
UTC_ZONE = ZoneInfo("UTC")
BOUNDS = [float(f"{digits}e{power}") for power in range(-6, 13) for digits in (1, 1.78, 3.16, 5.62)][:73]
pytestmark = pytest.mark.usefixtures("seeded_questions")


@pytest.fixture
def performance(seeded: Seeded) -> Callable[..., dict[str, Any]]:
    shared = {"property": "amount", "period": OCTOBER}
    return lambda **question: ask(seeded.project, KINDS["performance"], shared | question, now=NOW)


def ends(part: dict[str, Any]) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(part["from"]), datetime.fromisoformat(part["until"])


def numbers(chosen: list[Event], path: list[str] | None = None) -> list[float]:
    return [value for event in chosen if (value := event.number(path or ["amount"])) is not None]


def figures(chosen: list[Event], asked: dict[str, Any]) -> dict[str, Any]:
    values = numbers(chosen)
    found: dict[str, Any] = {"count": len(chosen), "measured": len(values)}
    found |= {f"p{share}": percentile(values, share / 100) for share in (50, 90, 95, 99)}
    if "errors" in asked:
        errors = sum(holds(event, asked["errors"], UTC_ZONE) for event in chosen)
        found |= {"errors": errors, "error_rate": errors / len(chosen) if chosen else None}
    if "apdex" in asked:
        threshold = asked["apdex"]["threshold"]
        satisfied = sum(value <= threshold for value in values)
        tolerated = sum(threshold < value <= 4 * threshold for value in values)
        found |= {
            "apdex": (satisfied + tolerated / 2) / len(values) if values else None,
            "satisfied": satisfied,
            "tolerated": tolerated,
            "frustrated": len(values) - satisfied - tolerated,
        }
    return found


def by_bucket(chosen: list[Event], answer: dict[str, Any], times: list[str]) -> list[list[Event]]:
    zone, interval = ZoneInfo(answer["period"]["time_zone"]), answer["period"]["interval"]
    buckets = grouped(chosen, lambda event: bucket(event.occurred_at, zone, interval))
    keys = [bucket(datetime.fromisoformat(start), zone, interval) for start in times]
    assert set(buckets) <= set(keys)
    return [buckets.get(key, []) for key in keys]


ERRORS = {
    "or": [{"property": "plan", "op": "=", "value": "pro"}, {"property": "amount", "op": ">", "value": 400}]
}


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"errors": ERRORS},
        {"apdex": {"threshold": 2}},  # 2 and 7 are among the values, 2 is satisfied
        {"apdex": {"threshold": 1.75}, "errors": {"property": "nobody has it", "op": "exists"}},  # 7 is tolerated
        {"apdex": {"threshold": 1e12}},
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("interval", "zone", "period"),
    [
        ("day", "Europe/Berlin", {"from": "2026-10-20", "until": "2026-11-05"}),
        ("hour", "Australia/Lord_Howe", {"from": "2026-10-02T13:30:00", "until": "2026-10-05"}),
        ("hour", "Europe/Berlin", {"from": "2026-10-24", "until": "2026-10-27"}),
    ],
)
def test_every_figure_in_every_bucket_and_of_the_period_before(
    seeded: Seeded, performance: Callable[..., Any], asked: dict[str, Any], interval: str, zone: str,
    period: dict[str, str],
) -> None:  # fmt: skip
    answer = performance(interval=interval, time_zone=zone, period=period, compare="previous", **asked)
    for ends_of, part in ((answer["period"], answer), (answer["previous"], answer["previous"])):
        chosen = between(seeded.events, *ends(ends_of))
        assert len(chosen) > 5
        assert part["total"] == pytest.approx(figures(chosen, asked))
        for place, own in enumerate(by_bucket(chosen, answer, part["times"])):
            shown = {name: values[place] for name, values in part["series"].items()}
            assert shown == pytest.approx(figures(own, asked))


@pytest.mark.parametrize("interval", ["day", "hour", None])
def test_the_heat_map_has_every_number_once(
    seeded: Seeded, performance: Callable[..., Any], interval: str | None
) -> None:
    period = {"from": "2026-10-23T22:00:00", "until": "2026-10-27"}
    answer = performance(heatmap=True, interval=interval, period=period, time_zone="Europe/Berlin")
    chosen = between(seeded.events, *ends(answer["period"]))
    cells = by_bucket(chosen, answer, answer["times"]) if interval else [chosen]
    found = answer["heatmap"]
    values = [numbers(own) for own in cells]
    assert found["negative"] == [sum(value < 0 for value in own) for own in values]
    assert found["zero"] == [own.count(0) for own in values]
    rows = [[bisect_right(BOUNDS, value) for value in own if value > 0] for own in values]
    filled = [row for own in rows for row in own]
    assert [row["from"] for row in found["rows"]] == BOUNDS[min(filled) - 1 : max(filled)]
    assert [row["until"] for row in found["rows"]] == BOUNDS[min(filled) : max(filled) + 1]
    assert [row["counts"] for row in found["rows"]] == [
        [own.count(row) for own in rows] for row in range(min(filled), max(filled) + 1)
    ]


def test_the_heat_map_of_no_numbers_has_no_rows(performance: Callable[..., Any]) -> None:
    answer = performance(
        property="nobody has it", heatmap=True, interval=None, breakdown={"property": "plan"}
    )
    assert answer["heatmap"] == {"negative": [0], "zero": [0], "rows": []}
    assert answer["total"]["p95"] is None
    assert answer["slowest"] == []


GROUPS: list[tuple[dict[str, Any], Callable[[Event], Any]]] = [
    ({"property": "plan", "limit": 3}, lambda event: event.text(["plan"])),
    ({"property": ["address", "city"]}, lambda event: event.text(["address", "city"])),
    ({"field": "person", "limit": 5, "min_count": 15}, lambda event: event.person),
    ({"field": "session_id", "min_count": 4}, lambda event: event.session_id),
    ({"field": "person", "limit": 50, "min_count": 3}, lambda event: event.person),
    ({"field": "name", "min_count": 1_000_000}, lambda event: event.name),
]


@pytest.mark.parametrize(("breakdown", "key"), GROUPS)
def test_the_slowest_groups_and_those_that_became_slower(
    seeded: Seeded, performance: Callable[..., Any], breakdown: dict[str, Any], key: Callable[[Event], Any]
) -> None:
    # It begins with an event, which is of this period and not of the one before.
    first = next(
        event.occurred_at
        for event in sorted(seeded.events, key=lambda event: event.occurred_at)
        if event.occurred_at >= datetime(2026, 10, 20, tzinfo=UTC) and event.value(["amount"]) == 1_000_000
    )
    period = {"from": first.isoformat(), "until": "2026-11-05"}
    answer = performance(
        breakdown=breakdown, compare="previous", interval=None, period=period, name=reference.NAMES[:3],
    )  # fmt: skip
    least, limit = breakdown.get("min_count", 20), breakdown.get("limit", 10)
    named = {event.id for event in seeded.events if event.name in reference.NAMES[:3]}
    now, before = (
        {
            group: values
            for group, own in grouped(
                [event for event in between(seeded.events, *ends(answer[part])) if event.id in named], key
            ).items()
            if len(values := numbers(own)) >= least
        }
        for part in ("period", "previous")
    )
    p95 = {group: percentile(values, 0.95) or 0.0 for group, values in now.items()}
    earlier = {group: percentile(values, 0.95) or 0.0 for group, values in before.items()}
    slowest = sorted(now, key=lambda group: (-p95[group], group is None, group or ""))[:limit]
    assert answer["slowest"] == [
        pytest.approx(
            {"group": group, "measured": len(now[group]), "p50": percentile(now[group], 0.5), "p95": p95[group]}
        )
        for group in slowest
    ]  # fmt: skip
    rises = {group: p95[group] - earlier[group] for group in now if group in before}
    worse = [group for group, rise in rises.items() if rise > 0]
    worse = sorted(worse, key=lambda group: (-rises[group], group is None, group or ""))[:limit]
    assert [found["group"] for found in answer["regressions"]] == worse
    assert len(worse) > 2 or least > 3
    for found in answer["regressions"]:
        group = found["group"]
        assert (found["p95"], found["previous"]["p95"]) == pytest.approx((p95[group], earlier[group]))
        assert (found["measured"], found["previous"]["measured"]) == (len(now[group]), len(before[group]))
        assert found["rise"] == pytest.approx(rises[group])
        assert found["factor"] == (pytest.approx(p95[group] / earlier[group]) if earlier[group] > 0 else None)


def test_the_question_s_filter_and_names_leave_events_out(
    seeded: Seeded, performance: Callable[..., Any]
) -> None:
    where = {"field": "user_id", "op": "exists"}
    asked = {"errors": ERRORS, "apdex": {"threshold": 100}}
    answer = performance(name="order_paid", where=where, interval=None, **asked)
    chosen = [
        event for event in between(seeded.events, *ends(answer["period"]))
        if event.name == "order_paid" and event.user_id is not None
    ]  # fmt: skip
    assert answer["total"] == pytest.approx(figures(chosen, asked))
    assert (answer["times"], answer["series"]) == (None, None)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "property"),
        ({"property": 7}, "property"),
        ({"property": []}, "property"),
        ({"property": "x", "apdex": {}}, "apdex.threshold"),
        ({"property": "x", "apdex": {"threshold": 0}}, "apdex.threshold"),
        ({"property": "x", "apdex": {"threshold": -1}}, "apdex.threshold"),
        ({"property": "x", "apdex": {"threshold": 2e12}}, "apdex.threshold"),
        ({"property": "x", "apdex": {"threshold": "2"}}, "apdex.threshold"),
        ({"property": "x", "errors": {"op": "="}}, "errors"),
        ({"property": "x", "where": {"op": "="}}, "where"),
        ({"property": "x", "breakdown": {"limit": 3}}, "breakdown"),
        ({"property": "x", "breakdown": {"property": "x", "field": "name"}}, "breakdown"),
        ({"property": "x", "breakdown": {"property": "x", "min_count": 0}}, "breakdown.min_count"),
        ({"property": "x", "compare": "next"}, "compare"),
        ({"property": "x", "heatmap": "yes"}, "heatmap"),
        ({"property": "x", "interval": "minute", "period": {"last": "7d"}}, "interval"),
        (
            {"property": "x", "compare": "previous", "period": {"from": "1970-02-01", "until": "1999-01-01"}},
            "compare",
        ),
    ],
)
def test_a_bad_question_is_refused_with_its_field(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        ask(Project(pk=1, time_zone="UTC"), KINDS["performance"], asked)
    assert refused.value.field == field
