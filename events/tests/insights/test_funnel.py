"""Funnels against every attempt tried in plain Python."""

import json
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from events.insights.ask import ask
from events.insights.errors import BadQuestion
from events.insights.kinds import KINDS
from events.tests.insights.attempted import Attempt, Step, best_attempts, seeded_files
from events.tests.insights.reference import Event, holds
from events.tests.insights.seeded import Seeded
from projects.models import Membership

__all__ = ["seeded_files"]
NOW = datetime(2026, 10, 30, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
PERIOD = {"from": "2026-10-23", "until": "2026-10-28"}
PRO = {"property": "plan", "op": "=", "value": "pro"}
LARGE = {"property": "amount", "op": ">", "value": 4}
A, B, C, D, ANY = {"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}, {"name": None}
FUNNELS = {
    "a b": [A, B],
    "a b c": [A, B, C],
    "a a b": [A, A, B],
    "a b a b a": [A, B, A, B, A],
    "filters": [A | {"where": PRO}, B | {"where": LARGE}, C | {"where": {"not": PRO}}],
    "filters that overlap": [A, A | {"where": PRO}, {"name": ["a", "b"], "where": LARGE}, {"name": ["b", "c"]}],
    "any event": [D, ANY, ANY, {"name": ["a", "Zürich 'q\" %"]}],
    "nobody did": [A, {"name": "never sent"}, B],
    "eight": [A, B, C, A, B, C, D, A],
}  # fmt: skip
MANY = [
    A,
    {"where": LARGE},
    {"name": ["a", "b"]},
    {"where": {"not": PRO}},
    {"name": ["b", "c", "d"]},
    {"where": PRO},
    ANY,
    B,
]
OVERLAPPING = {
    "five": MANY[:5],
    "six": MANY[2:],
    "seven, some equal": [*MANY[:4], A, MANY[1], A],
    "eight": MANY,
    "eight, equal ones among them": [*MANY[:6], MANY[5], MANY[1]],
    "eight equal ones": [A] * 8,
    "of two sorts and one apart": [A, A | {"where": PRO}, {"name": ["b", "c"]}, C, B | {"where": LARGE}, D],
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("seeded_questions")


@pytest.fixture
def funnel(seeded: Seeded) -> Callable[..., dict[str, Any]]:
    shared = {"period": PERIOD, "time_zone": "Europe/Berlin"}
    return lambda **question: ask(seeded.project, KINDS["funnel"], shared | question, now=NOW)


def step_of(asked: dict[str, Any]) -> Step:
    name = asked.get("name")
    names = [name] if isinstance(name, str) else name
    return lambda event: (
        (names is None or event.name in names)
        and ("where" not in asked or holds(event, asked["where"], BERLIN))
    )


def expected(
    events: list[Event], answer: dict[str, Any], steps: list[dict[str, Any]]
) -> dict[str, tuple[Attempt, Event]]:
    period = answer["period"]
    return best_attempts(
        events, [step_of(step) for step in steps], answer["order"], timedelta(seconds=answer["window_seconds"]),
        datetime.fromisoformat(period["from"]), datetime.fromisoformat(period["until"]),
    )  # fmt: skip


def figures(attempts: list[Attempt], number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for place in range(number):
        own = [one for one in attempts if len(one) > place]
        before = found[-1]["persons"] if found else len(own)
        first = found[0]["persons"] if found else len(own)
        found.append(
            {
                "persons": len(own),
                "dropped": before - len(own),
                "from_first": len(own) / first if first else None,
                "from_previous": len(own) / before if before else None,
                "median_seconds_from_previous": seconds(own, place, place - 1) if place else None,
                "median_seconds_from_first": seconds(own, place, 0) if place else None,
            }
        )
    return found


def near(steps: list[dict[str, Any]]) -> list[Any]:
    return [pytest.approx(step) for step in steps]


def seconds(attempts: list[Attempt], step: int, since: int) -> float | None:
    return median((one[step] - one[since]).total_seconds() for one in attempts) if attempts else None


def figures_of(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in step.items() if name not in ("label", "name")} for step in shown]


def everybody(funnel: Callable[..., Any], **question: Any) -> dict[str, Attempt]:
    rows = funnel(**question, persons={"step": 1, "limit": 1_000})["persons"]
    return {row["person"]: [datetime.fromisoformat(at) for at in row["reached_at"]] for row in rows}


@pytest.mark.parametrize("window", [3 * 3_600, 12 * 3_600 - 1, 604_800])
@pytest.mark.parametrize("order", ["ordered", "strict", "any"])
@pytest.mark.parametrize("steps", FUNNELS.values(), ids=FUNNELS.keys())
def test_the_best_attempt_of_every_person(
    seeded: Seeded, funnel: Callable[..., Any], steps: list[dict[str, Any]], order: str, window: int
) -> None:
    answer = funnel(steps=steps, order=order, window=window)
    best = expected(seeded.events, answer, steps)
    attempts = [attempt for attempt, _ in best.values()]
    assert figures_of(answer["steps"]) == near(figures(attempts, len(steps)))
    assert everybody(funnel, steps=steps, order=order, window=window) == {
        person: attempt for person, (attempt, _) in best.items()
    }


@pytest.mark.parametrize("window", [12 * 3_600, 604_800])
@pytest.mark.parametrize("steps", OVERLAPPING.values(), ids=OVERLAPPING.keys())
def test_in_any_order_an_event_that_meets_several_steps_counts_for_one(
    seeded: Seeded, funnel: Callable[..., Any], steps: list[dict[str, Any]], window: int
) -> None:
    asked = {"steps": steps, "order": "any", "window": window}
    answer = funnel(**asked)
    best = expected(seeded.events, answer, steps)
    attempts = [attempt for attempt, _ in best.values()]
    assert figures_of(answer["steps"]) == near(figures(attempts, len(steps)))
    assert everybody(funnel, **asked) == {person: attempt for person, (attempt, _) in best.items()}
    assert window < 604_800 or answer["steps"][-1]["persons"] > 0


@pytest.mark.parametrize("order", ["ordered", "strict", "any"])
@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize("by", [{"property": "plan"}, {"field": "user_id"}, {"property": "none has it"}])
def test_groups_by_the_event_that_the_attempt_begins_with(
    seeded: Seeded, funnel: Callable[..., Any], by: dict[str, str], limit: int, order: str
) -> None:
    steps = [A, {"name": ["a", "b"], "where": {"not": PRO}}, A]
    answer = funnel(steps=steps, order=order, window={"last": "1d"}, breakdown=by | {"limit": limit})
    best = expected(seeded.events, answer, steps)
    groups: dict[Any, list[Attempt]] = defaultdict(list)
    for attempt, event in best.values():
        groups[event.text([by["property"]]) if "property" in by else event.user_id].append(attempt)
    order_of = sorted(groups, key=lambda group: (-len(groups[group]), group is None, group or ""))
    rest = [attempt for group in order_of[limit:] for attempt in groups[group]]
    shown = [(group, False, groups[group]) for group in order_of[:limit]] + (
        [(None, True, rest)] if rest else []
    )
    assert [(part["group"], part["is_other"]) for part in answer["groups"]] == [part[:2] for part in shown]
    for part, (_, _, attempts) in zip(answer["groups"], shown, strict=True):
        assert figures_of(part["steps"]) == near(figures(attempts, 3))
    assert figures_of(answer["steps"]) == near(figures([one for one, _ in best.values()], 3))


@pytest.mark.parametrize("order", ["ordered", "strict", "any"])
def test_a_filter_of_the_question_is_of_all_events(
    seeded: Seeded, funnel: Callable[..., Any], order: str
) -> None:
    """What it leaves out does not lie in between either."""
    answer = funnel(steps=[A, B, C], order=order, window={"last": "48h"}, where=LARGE)
    chosen = [event for event in seeded.events if holds(event, LARGE, BERLIN)]
    attempts = [attempt for attempt, _ in expected(chosen, answer, [A, B, C]).values()]
    assert figures_of(answer["steps"]) == near(figures(attempts, 3))
    assert answer["steps"][2]["persons"] > 0


STATES = [(1, "converted"), (2, "converted"), (3, "converted"), (2, "dropped"), (3, "dropped")]


@pytest.mark.parametrize(("step", "state"), STATES)
def test_persons_of_a_step_page_by_page(
    seeded: Seeded, funnel: Callable[..., Any], step: int, state: str
) -> None:
    steps, found, after = [A, B, C], [], None
    while True:
        page = {"step": step, "state": state, "limit": 15, "after": after}
        answer = funnel(steps=steps, window={"last": "12h"}, persons=page)
        found += answer["persons"]
        after = answer["next"]
        if after is None:
            break
        assert len(answer["persons"]) == 15
    best = expected(seeded.events, answer, steps)
    wanted = {
        person for person, (attempt, _) in best.items()
        if (len(attempt) >= step if state == "converted" else len(attempt) == step - 1)
    }  # fmt: skip
    assert len(wanted) > 15
    assert len(found) == len(wanted)
    assert {row["person"] for row in found} == wanted


def test_steps_may_follow_after_the_period_but_none_begins_then(
    seeded: Seeded, funnel: Callable[..., Any]
) -> None:
    period = {"from": "2026-10-24T00:00:00+00:00", "until": "2026-10-24T03:00:00+00:00"}
    answer = funnel(steps=[A, B], window={"last": "2d"}, period=period)
    best = expected(seeded.events, answer, [A, B])
    assert figures_of(answer["steps"]) == near(figures([one for one, _ in best.values()], 2))
    assert any(one[-1] > datetime.fromisoformat(period["until"]) for one, _ in best.values())


def test_the_defaults_are_in_order_and_within_a_week(funnel: Callable[..., Any]) -> None:
    answer = funnel(steps=[A | {"label": "first"}, ANY], period={"last": "7d"})
    assert (answer["order"], answer["window_seconds"]) == ("ordered", 604_800)
    assert [step["label"] for step in answer["steps"]] == ["first", "any event"]
    assert answer["period"] == {
        "from": "2026-10-24T00:00:00+02:00", "until": "2026-10-31T00:00:00+01:00", "time_zone": "Europe/Berlin",
    }  # fmt: skip


@pytest.mark.parametrize("order", ["ordered", "strict", "any"])
def test_a_time_without_events_has_nobody(funnel: Callable[..., Any], order: str) -> None:
    asked = {"steps": [A, B], "order": order, "period": {"from": "2025-01-01", "until": "2025-01-03"}}
    answer = funnel(**asked, breakdown={"property": "plan"})
    assert figures_of(answer["steps"]) == figures([], 2)
    assert answer["groups"] == []
    assert funnel(**asked, persons={"step": 2})["persons"] == []


AB = {"steps": [A, B]}
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "steps"),
    ({"steps": [A]}, "steps"),
    ({"steps": [A] * 9}, "steps"),
    ({"steps": [A, {"names": "b"}]}, "steps[1].names"),
    ({"steps": [A, {"name": 7}]}, "steps[1].name"),
    ({"steps": [A, B | {"where": {"op": "=", "value": 1}}]}, "steps[1].where"),
    ({"steps": [A, B | {"where": {"and": [PRO, {"property": "x", "op": "in", "value": 1}]}}]}, "steps[1].where.and[1].value"),
    (AB | {"where": {"field": "occurred_at", "op": "=", "value": "soon"}}, "where.value"),
    (AB | {"window": 0}, "window"),
    (AB | {"window": -5}, "window"),
    (AB | {"window": 1.5}, "window"),
    (AB | {"window": 400 * 86_400}, "window"),
    (AB | {"window": {"last": "0d"}}, "window.last"),
    (AB | {"window": {"last": "2m"}}, "window.last"),
    (AB | {"window": {"last": "367d"}}, "window.last"),
    (AB | {"window": {}}, "window.last"),
    (AB | {"order": "loose"}, "order"),
    (AB | {"interval": "day"}, "interval"),
    (AB | {"breakdown": {}}, "breakdown"),
    (AB | {"breakdown": {"property": "plan", "field": "name"}}, "breakdown"),
    (AB | {"breakdown": {"property": "plan", "limit": 51}}, "breakdown.limit"),
    (AB | {"persons": {}}, "persons.step"),
    (AB | {"persons": {"step": 0}}, "persons.step"),
    (AB | {"persons": {"step": 3}}, "persons.step"),
    (AB | {"persons": {"step": 1, "state": "dropped"}}, "persons.step"),
    (AB | {"persons": {"step": 1, "state": "lost"}}, "persons.state"),
    (AB | {"persons": {"step": 1, "limit": 0}}, "persons.limit"),
    (AB | {"persons": {"step": 1, "after": "x"}}, "persons.after"),
    (AB | {"time_zone": "Berlin"}, "time_zone"),
    (AB | {"period": {"last": "0d"}}, "period.last"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "field"), BAD)
def test_what_is_wrong_is_named(funnel: Callable[..., Any], asked: dict[str, Any], field: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        funnel(**asked)
    assert refused.value.field == field


@pytest.mark.parametrize("example", KINDS["funnel"].examples.values(), ids=KINDS["funnel"].examples.keys())
def test_every_example_of_the_documentation_is_answered(seeded: Seeded, example: dict[str, Any]) -> None:
    answer = ask(seeded.project, KINDS["funnel"], example, now=NOW)
    assert answer["order"] == example.get("order", "ordered")


def test_over_http_a_member_asks_either_way_and_an_outsider_finds_nothing(
    seeded: Seeded, login: Callable[..., Any], make_user: Callable[..., Any]
) -> None:
    member, address = make_user("bob"), f"/api/projects/{seeded.project.pk}/insights/funnel/"
    Membership.objects.create(project=seeded.project, user=member, role="member")
    steps, client = [A, B | {"where": LARGE}], login(member)
    posted = client.post(address, {"steps": steps, "period": PERIOD})
    got = client.get(address, {"steps": json.dumps(steps), "period": json.dumps(PERIOD)})
    assert (posted.status_code, got.status_code) == (200, 200)
    assert posted.json()["steps"] == got.json()["steps"]
    assert posted.json()["steps"][1]["persons"] > 0
    refused = client.post(address, {"steps": [A]})
    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["steps"])
    assert login(make_user("eve")).post(address, {"steps": steps}).status_code == 404
