"""Paths against plain Python over the same events."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from events.insights.ask import ask
from events.insights.errors import BadQuestion
from events.insights.kinds import KINDS
from events.tests.insights.reference import Event, holds
from events.tests.insights.seeded import Seeded
from events.tests.insights.visits import DAY, seeded_files, sessions_of
from projects.models import Project

__all__ = ["seeded_files"]
NOW = datetime(2026, 10, 30, tzinfo=UTC)
SINCE, UNTIL = datetime(2026, 10, 23, 22, tzinfo=UTC), datetime(2026, 10, 26, 23, tzinfo=UTC)
OTHER, ENDED = "other", "ended"
pytestmark = pytest.mark.usefixtures("seeded_questions")


@pytest.fixture
def paths(seeded: Seeded) -> Callable[..., dict[str, Any]]:
    shared = {"period": {"from": "2026-10-24", "until": "2026-10-27"}, "time_zone": "Europe/Berlin"}
    return lambda **question: ask(seeded.project, KINDS["paths"], shared | question, now=NOW)


def sequences(
    events: list[Event], asked: dict[str, Any], is_meant: Callable[[Event], bool]
) -> list[list[str]]:
    """Of each event that is meant, the names of its steps."""
    direction, depth = asked.get("direction", "next"), asked.get("depth", 5)
    before, after = (DAY, timedelta(0)) if direction == "previous" else (timedelta(days=30), DAY)
    seen = [event for event in events if SINCE - before <= event.occurred_at < UNTIL + after]
    gap = timedelta(minutes=asked.get("gap_minutes", 30))
    found = []
    for session in sessions_of(seen, asked.get("by", "silence"), gap):
        steps = session
        if asked.get("collapse"):
            steps = [
                event
                for place, event in enumerate(session)
                if not place or session[place - 1].name != event.name
            ]
        for place, event in enumerate(steps):
            if is_meant(event) and SINCE <= event.occurred_at < UNTIL:
                way = steps[place + 1 :] if direction == "next" else steps[:place][::-1]
                found.append([step.name for step in way[:depth]])
    return found  # fmt: skip


def expected(ways: list[list[str]], depth: int, limit: int) -> list[dict[str, Any]]:
    """Each step's names and counts, and the links as the names (or what stands for them) at both ends."""
    names: list[list[str]] = []
    found = []
    for step in range(depth):
        counted = Counter(way[step] for way in ways if len(way) > step)
        ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:limit]
        names.append([name for name, _ in ranked])
        reached = [way for way in ways if len(way) >= step]

        def label(way: list[str], place: int) -> str:
            if place < 0:
                return OTHER
            if len(way) <= place:
                return ENDED
            return f"={way[place]}" if way[place] in names[place] else OTHER

        found.append(
            {
                "reached": len(reached),
                "events": [{"name": name, "count": number} for name, number in ranked],
                "other": sum(counted.values()) - sum(number for _, number in ranked),
                "ended": sum(len(way) == step for way in ways),
                "links": dict(Counter((label(way, step - 1), label(way, step)) for way in reached)),
            }
        )
    return found


def shown(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The same, of an answer."""

    def label(step: int, place: int | None) -> str:
        return OTHER if place is None else f"={answer['steps'][step]['events'][place]['name']}"

    return [
        step
        | {
            "links": {
                (
                    label(number - 1, link["from"]),
                    ENDED if link["ended"] else label(number, link["to"]),
                ): link["count"]
                for link in step["links"]
            }
        }
        for number, step in enumerate(answer["steps"])
    ]


ASKED: list[dict[str, Any]] = [
    {},
    {"depth": 1, "limit": 1},
    {"depth": 3, "limit": 20, "gap_minutes": 60},
    {"gap_minutes": 1},
    {"by": "session_id"},
    {"collapse": True},
    {"collapse": True, "gap_minutes": 4, "limit": 3},
    {"collapse": True, "by": "session_id"},
]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("direction", ["next", "previous"])
@pytest.mark.parametrize("name", ["page_view", "Zürich 'q\" %", ["a", "signup"]])
def test_every_step_and_every_link(
    seeded: Seeded, paths: Callable[..., Any], asked: dict[str, Any], direction: str, name: str | list[str]
) -> None:
    asked = asked | {"direction": direction}
    answer = paths(event={"name": name}, **asked)
    names = [name] if isinstance(name, str) else name
    ways = sequences(seeded.events, asked, lambda event: event.name in names)
    assert answer["count"] == len(ways) > 10
    assert shown(answer) == expected(ways, asked.get("depth", 5), asked.get("limit", 8))


@pytest.mark.parametrize("direction", ["next", "previous"])
def test_an_event_by_filter_among_events_by_filter(
    seeded: Seeded, paths: Callable[..., Any], direction: str
) -> None:
    among: dict[str, Any] = {"property": "plan", "op": "exists"}
    event: dict[str, Any] = {"property": "plan", "op": "=", "value": "pro"}
    asked = {"direction": direction, "limit": 2}
    answer = paths(where=among, name=["page_view", "order_paid", "b"], event={"where": event}, **asked)
    zone = ZoneInfo("UTC")
    own = [
        one
        for one in seeded.events
        if one.name in ("page_view", "order_paid", "b") and holds(one, among, zone)
    ]
    ways = sequences(own, asked, lambda one: holds(one, event, zone))
    assert answer["count"] == len(ways) > 10
    assert shown(answer) == expected(ways, 5, 2)


def test_an_event_that_never_was(paths: Callable[..., Any]) -> None:
    answer = paths(event={"name": "never sent"}, depth=2)
    empty = {"reached": 0, "events": [], "other": 0, "ended": 0, "links": []}
    assert (answer["count"], answer["steps"]) == (0, [empty, empty])


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "event"),
        ({"event": {}}, "event"),
        ({"event": "signup"}, "event"),
        ({"event": {"name": "a", "measure": 1}}, "event.measure"),
        ({"event": {"where": {"op": "="}}}, "event.where"),
        ({"event": {"name": "a"}, "where": {"op": "="}}, "where"),
        ({"event": {"name": ["a", "b"]}, "name": "a"}, "event.name"),
        ({"event": {"name": "a"}, "depth": 6}, "depth"),
        ({"event": {"name": "a"}, "depth": 0}, "depth"),
        ({"event": {"name": "a"}, "limit": 21}, "limit"),
        ({"event": {"name": "a"}, "direction": "both"}, "direction"),
        ({"event": {"name": "a"}, "by": "session_id", "gap_minutes": 30}, "gap_minutes"),
    ],
)
def test_a_bad_question_is_refused_with_its_field(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        ask(Project(pk=1, time_zone="UTC"), KINDS["paths"], asked)
    assert refused.value.field == field
