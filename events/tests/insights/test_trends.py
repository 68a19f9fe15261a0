"""Trends against plain Python over the same events."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from events.insights.ask import ask
from events.insights.kinds import KINDS
from events.tests.insights import reference
from events.tests.insights.reference import Event, between, bucket, grouped, measure
from events.tests.insights.seeded import Seeded

NOW = datetime(2026, 11, 6, 9, 30, 20, tzinfo=UTC)
EMPTY = {"count": 0, "persons": 0, "sum": 0}
pytestmark = pytest.mark.usefixtures("seeded_questions")


@pytest.fixture
def trends(seeded: Seeded) -> Callable[..., dict[str, Any]]:
    return lambda now=NOW, **question: ask(seeded.project, KINDS["trends"], question, now=now)


def ends(answer: dict[str, Any], part: str = "period") -> tuple[datetime, datetime]:
    return datetime.fromisoformat(answer[part]["from"]), datetime.fromisoformat(answer[part]["until"])


def expected(
    chosen: list[Event],
    answer: dict[str, Any],
    kind: str,
    path: list[str] | None = None,
    part: dict[str, Any] | None = None,
) -> list[Any]:
    """Of each bucket in the answer; checks on the way that no event falls outside of all of them."""
    zone, interval = ZoneInfo(answer["period"]["time_zone"]), answer["period"]["interval"]
    buckets = grouped(chosen, lambda event: bucket(event.occurred_at, zone, interval))
    keys = [bucket(datetime.fromisoformat(start), zone, interval) for start in (part or answer)["times"]]
    assert len(keys) == len(set(keys))
    assert set(buckets) <= set(keys)
    return [measure(buckets[key], kind, path) if key in buckets else EMPTY.get(kind) for key in keys]


MEASURES = (
    [("count", None), ("persons", None)]
    + [
        (kind, path)
        for kind in ("sum", "avg", "min", "max", "p50", "p90", "p95", "p99")
        for path in (["amount"],)
    ]
    + [("sum", ["plan"]), ("p50", [""]), ("avg", ["address", "geo", "lat"]), ("max", ["nobody has it"])]
)


@pytest.mark.parametrize(("kind", "path"), MEASURES)
def test_every_measure_by_day_and_over_all(
    seeded: Seeded, trends: Callable[..., Any], kind: str, path: list[str] | None
) -> None:
    asked: dict[str, Any] = {"kind": kind} | ({"property": path} if path else {})
    answer = trends(
        measure=asked, interval="day", totals=True, time_zone="Europe/Berlin",
        period={"from": "2026-10-01", "until": "2026-11-05"},
    )  # fmt: skip
    chosen = between(seeded.events, *ends(answer))
    series = answer["series"][0]
    assert series["values"] == pytest.approx(expected(chosen, answer, kind, path))
    assert series["total"] == pytest.approx(measure(chosen, kind, path))


@pytest.mark.parametrize("zone", reference.ZONES)
@pytest.mark.parametrize(
    ("interval", "since", "until"),
    [
        ("day", "2026-03-05", "2026-04-10"),
        ("day", "2026-10-01T13:30:00", "2026-11-04T01:15:00.000001"),
        ("week", "2026-03-01", "2026-11-10"),
        ("month", "2026-01-31", "2026-12-02"),
        ("hour", "2026-10-03", "2026-10-05"),
        ("hour", "2026-04-04", "2026-04-06"),
        ("hour", "2026-10-24", "2026-11-02"),
        ("hour", "2026-03-07", "2026-03-31"),
        ("minute", "2026-10-25T00:30:00+02:00", "2026-10-25T05:30:00+01:00"),
    ],
)
def test_every_bucket_in_every_zone(
    seeded: Seeded, trends: Callable[..., Any], zone: str, interval: str, since: str, until: str
) -> None:
    series = [
        {"measure": {"kind": "count"}},
        {"measure": {"kind": "persons"}, "name": ["page_view", "signup"]},
    ]
    answer = trends(series=series, interval=interval, time_zone=zone, period={"from": since, "until": until})
    chosen = between(seeded.events, *ends(answer))
    assert len(chosen) > 5
    named = [event for event in chosen if event.name in ("page_view", "signup")]
    assert answer["series"][0]["values"] == expected(chosen, answer, "count")
    assert answer["series"][1]["values"] == expected(named, answer, "persons")
    assert answer["series"][0]["total"] == len(chosen)


GROUPS: list[tuple[dict[str, Any], Callable[[Event], Any]]] = [
    ({"property": "plan"}, lambda event: event.text(["plan"])),
    ({"property": "a.b"}, lambda event: event.text(["a.b"])),
    ({"property": "qu\"o'te $.x[*]/~"}, lambda event: event.text(["qu\"o'te $.x[*]/~"])),
    ({"property": ["address", "city"]}, lambda event: event.text(["address", "city"])),
    ({"property": ["address", "1", "q"]}, lambda event: event.text(["address", "1", "q"])),
    ({"property": "имя"}, lambda event: event.text(["имя"])),
    ({"property": "Plan"}, lambda event: event.text(["Plan"])),
    ({"property": "nobody has it"}, lambda event: None),
    ({"field": "name"}, lambda event: event.name),
    ({"field": "person"}, lambda event: event.person),
]


@pytest.mark.parametrize(("by", "key"), GROUPS)
@pytest.mark.parametrize(
    ("kind", "path"), [("count", None), ("persons", None), ("p90", ["amount"]), ("sum", ["amount"])]
)
def test_groups_are_the_largest_by_the_measure_and_the_rest(
    seeded: Seeded, trends: Callable[..., Any], by: dict[str, Any], key: Callable[[Event], Any], kind: str,
    path: list[str] | None,
) -> None:  # fmt: skip
    answer = trends(
        measure={"kind": kind} | ({"property": path} if path else {}), breakdown=by | {"limit": 3}, interval=None,
        period={"from": "2026-10-01", "until": "2026-11-05"},
    )  # fmt: skip
    groups = grouped(between(seeded.events, *ends(answer)), key)
    top = reference.ranked(groups, 3, kind, path)
    shown = answer["series"][0]["groups"]
    assert [part["group"] for part in shown if not part["is_other"]] == top
    assert [part["total"] for part in shown if not part["is_other"]] == pytest.approx(
        [measure(groups[group], kind, path) for group in top],
    )
    rest = [event for group, own in groups.items() if group not in top for event in own]
    assert [part["total"] for part in shown if part["is_other"]] == pytest.approx(
        [measure(rest, kind, path)] if rest else [],
    )


@pytest.mark.parametrize("interval", ["day", "hour"])
def test_groups_by_bucket_of_two_series_with_their_ratio_and_the_period_before(
    seeded: Seeded, trends: Callable[..., Any], interval: str
) -> None:
    answer = trends(
        series=[{"measure": {"kind": "persons"}}, {"name": "order_paid"}],
        breakdown={"property": "plan", "limit": 2}, interval=interval, compare="previous", ratio=[1, 0],
        period={"from": "2026-10-24", "until": "2026-10-27"}, time_zone="Europe/Berlin",
    )  # fmt: skip
    since, until = ends(answer, "previous")
    assert (since.isoformat(), until.isoformat()) == (
        "2026-10-21T00:00:00+02:00",
        "2026-10-24T00:00:00+02:00",
    )
    now, before = (between(seeded.events, *ends(answer, part)) for part in ("period", "previous"))
    top = reference.ranked(grouped(now, lambda event: event.text(["plan"])), 2, "persons")
    for series, kind, names in zip(
        answer["series"], ("persons", "count"), (reference.NAMES, ["order_paid"]), strict=True
    ):
        assert [part["group"] for part in series["groups"]] == [*top, None]
        for part, is_own in zip(series["groups"], [*top, None], strict=True):
            for chosen, shown, place in ((now, part, answer), (before, part["previous"], answer["previous"])):
                own = [
                    event for event in chosen
                    if event.name in names
                    and (event.text(["plan"]) not in top if part["is_other"] else event.text(["plan"]) == is_own)
                ]  # fmt: skip
                assert shown["total"] == measure(own, kind)
                assert shown["values"] == expected(own, answer, kind, part=place)
    for place, part in enumerate(answer["ratio"]["groups"]):
        below, above = (series["groups"][place] for series in answer["series"])
        assert part["total"] == (above["total"] / below["total"] if below["total"] else None)
        assert part["previous"]["values"] == [
            one / other if other else None
            for one, other in zip(above["previous"]["values"], below["previous"]["values"], strict=True)
        ]


@pytest.mark.parametrize(
    ("last", "interval", "since", "until"),
    [
        ("7d", "day", "2026-10-31T00:00:00+01:00", "2026-11-07T00:00:00+01:00"),
        ("24h", "hour", "2026-11-05T11:00:00+01:00", "2026-11-06T11:00:00+01:00"),
        ("2w", "week", "2026-10-26T00:00:00+01:00", "2026-11-09T00:00:00+01:00"),
        ("2m", "month", "2026-10-01T00:00:00+02:00", "2026-12-01T00:00:00+01:00"),
        ("1m", "day", "2026-10-07T00:00:00+02:00", "2026-11-07T00:00:00+01:00"),
        ("90min", "minute", "2026-11-06T09:01:00+01:00", "2026-11-06T10:31:00+01:00"),
    ],
)
def test_the_last_days_are_whole_buckets_and_ask_the_same_a_second_later(
    seeded: Seeded, trends: Callable[..., Any], last: str, interval: str, since: str, until: str
) -> None:
    asked = {"period": {"last": last}, "interval": interval, "time_zone": "Europe/Berlin"}
    answer = trends(**asked)
    assert (answer["period"]["from"], answer["period"]["until"], answer["cached"]) == (since, until, False)
    chosen = between(seeded.events, *ends(answer))
    assert answer["series"][0]["values"] == expected(chosen, answer, "count")
    again = trends(now=NOW + timedelta(seconds=1), **asked)
    assert again["cached"]
    assert again["series"] == answer["series"]


def test_a_time_without_events_has_zeroes_and_nulls(trends: Callable[..., Any]) -> None:
    kinds = ["count", "persons", "sum", "avg", "min", "p99"]
    series = [
        {"measure": {"kind": kind} | ({"property": "amount"} if kind not in ("count", "persons") else {})}
        for kind in kinds
    ]
    asked = {"series": series, "period": {"from": "2025-01-01", "until": "2025-01-03"}, "totals": True}
    for names in (
        {},
        {"where": {"field": "name", "op": "=", "value": "never sent"}, "period": {"last": "30d"}},
    ):
        answer = trends(**asked | names, interval="day")
        for place, empty in enumerate([0, 0, 0, None, None, None]):
            assert set(answer["series"][place]["values"]) == {empty}
            assert answer["series"][place]["total"] == empty
    answer = trends(
        measure={"kind": "persons"}, breakdown={"property": "plan"}, period=asked["period"], interval="day"
    )
    assert answer["series"][0]["groups"] == []


def test_persons_by_more_buckets_than_an_integer_has_bits(seeded: Seeded, trends: Callable[..., Any]) -> None:
    answer = trends(
        measure={"kind": "persons"}, interval="hour", period={"from": "2026-10-24", "until": "2026-10-27"}
    )
    assert len(answer["times"]) == 72
    chosen = between(seeded.events, *ends(answer))
    assert answer["series"][0]["values"] == expected(chosen, answer, "persons")


def test_a_rest_of_nobody_is_shown_with_no_persons(seeded: Seeded, trends: Callable[..., Any]) -> None:
    answer = trends(
        measure={"kind": "persons"}, interval=None, period={"from": "2026-01-01", "until": "2027-01-01"},
        breakdown={"field": "user_id", "limit": 1}, where={"field": "person", "op": "exists", "value": False},
    )  # fmt: skip
    assert [(part["group"], part["is_other"], part["total"]) for part in answer["series"][0]["groups"]] == [
        (None, False, 0)
    ]
    answer = trends(
        measure={"kind": "persons"}, interval=None, period={"from": "2026-01-01", "until": "2027-01-01"},
        breakdown={"field": "name", "limit": 1}, where={"field": "person", "op": "exists", "value": False},
    )  # fmt: skip
    assert [(part["is_other"], part["total"]) for part in answer["series"][0]["groups"]] == [
        (False, 0),
        (True, 0),
    ]


def test_the_stranger_in_the_shared_file_is_never_counted(seeded: Seeded, trends: Callable[..., Any]) -> None:
    answer = trends(period={"from": "2026-01-01", "until": "2027-01-01"}, interval=None)
    assert answer["series"][0]["total"] == len(seeded.events)
    assert answer["rows_scanned"] == len(seeded.events)
    assert answer["lag_seconds"] == 0
