"""Persons and one person's timeline, against going through the events by hand."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from rest_framework.test import APIClient

from events.insights import people
from events.insights.ask import ask
from events.insights.errors import BadQuestion
from events.insights.timeline import KIND as TIMELINE
from events.tests.insights.reference import Event
from events.tests.insights.seeded import Seeded
from projects.models import Membership

pytestmark = pytest.mark.usefixtures("seeded_questions")
YEAR: dict[str, Any] = {"period": {"from": "2026-01-01", "until": "2027-01-01"}}
OCTOBER: dict[str, Any] = {
    "period": {"from": "2026-10-20", "until": "2026-10-28"},
    "time_zone": "Europe/Berlin",
}


def text(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def walk(seeded: Seeded, kind: Any, **question: Any) -> Iterator[dict[str, Any]]:
    after: dict[str, Any] = {}
    while True:
        page = ask(seeded.project, kind, question | after)
        yield page
        if page["next"] is None:
            return
        after = {"after": page["next"]}


def persons(events: list[Event]) -> list[dict[str, Any]]:
    by_person: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.person is not None:
            by_person[event.person].append(event)
    return [
        {
            "person": person,
            "has_user_id": any(
                event.user_id is not None
                for event in some
                if event.occurred_at == max(other.occurred_at for other in some)
            ),
            "events": len(some),
            "first_seen": text(min(event.occurred_at for event in some)),
            "last_seen": text(max(event.occurred_at for event in some)),
        }
        for person, some in by_person.items()
    ]


def in_october(event: Event) -> bool:
    return (
        datetime(2026, 10, 19, 22, tzinfo=UTC) <= event.occurred_at < datetime(2026, 10, 27, 23, tzinfo=UTC)
    )


CASES: list[tuple[dict[str, Any], Callable[[Event], bool]]] = [
    (YEAR, lambda event: True),
    (OCTOBER, in_october),
    (YEAR | {"name": ["order_paid", "signup"]}, lambda event: event.name in ("order_paid", "signup")),
    (
        YEAR | {"where": {"property": "plan", "op": "=", "value": "pro"}, "name": "page_view"},
        lambda event: event.name == "page_view" and event.text(["plan"]) == "pro",
    ),
    (YEAR | {"search": "u1"}, lambda event: (event.person or "").startswith("u1")),
    (YEAR | {"search": "nobody"}, lambda event: False),
]


@pytest.mark.parametrize("sort", ["last_seen", "first_seen", "events"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_every_person_is_told_once_and_in_order(seeded: Seeded, case: int, sort: str) -> None:
    question, matches = CASES[case]
    wanted = persons([event for event in seeded.events if matches(event)])
    pages = list(walk(seeded, people.KIND, **question, sort=sort, limit=37))
    told = [person for page in pages for person in page["persons"]]
    assert sorted(told, key=lambda one: one["person"]) == sorted(wanted, key=lambda one: one["person"])
    assert [one[sort] for one in told] == sorted((one[sort] for one in told), reverse=True)
    assert {page["total"] for page in pages} == {len(wanted)}
    assert all(len(page["persons"]) == 37 for page in pages[:-1])


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"after": "x"}, "after"), ({"after": "1.00"}, "after"), ({"after": "9" * 16 + ".0123456789abcdef"}, "after"),
        ({"limit": 0}, "limit"), ({"sort": "name"}, "sort"),
        ({"search": 7}, "search"), ({"person": "ada"}, "person"), ({"period": {"last": "7x"}}, "period.last"),
        ({"where": {"field": "name"}}, "where"),
    ],
)  # fmt: skip
def test_a_bad_question_about_persons_names_its_field(
    seeded: Seeded, question: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadQuestion) as refused:
        ask(seeded.project, people.KIND, question)
    assert refused.value.field == field


def sessions(events: list[Event], gap: timedelta) -> list[list[Event]]:
    """Newest first, and within each too."""
    found: list[list[Event]] = []
    for event in sorted(events, key=lambda event: (event.occurred_at, event.id)):
        if not found or event.occurred_at - found[-1][-1].occurred_at > gap:
            found.append([])
        found[-1].append(event)
    return [session[::-1] for session in found[::-1]]


def seconds(last: datetime, first: datetime) -> float:
    return (last - first) / timedelta(seconds=1)


@pytest.mark.parametrize("limit", [1, 7, 1_000])
@pytest.mark.parametrize(
    ("question", "gap"),
    [({}, 30), ({"gap_minutes": 1_440}, 1_440), ({"name": "page_view", "gap_minutes": 600}, 600)],
)
def test_a_timeline_is_every_event_of_a_person_by_session(
    seeded: Seeded, question: dict[str, Any], gap: int, limit: int
) -> None:
    person = "u7"
    events = [event for event in seeded.events if event.person == person]
    if "name" in question:
        events = [event for event in events if event.name == question["name"]]
    wanted = sessions(events, timedelta(minutes=gap))
    order = [event for session in wanted for event in session]
    told: list[dict[str, Any]] = []
    for page in walk(seeded, TIMELINE, person=person, limit=limit, **question):
        assert sum(len(session["events"]) for session in page["sessions"]) <= limit
        for index, session in enumerate(page["sessions"]):
            assert session["first_at"] == session["events"][-1]["occurred_at"]
            assert session["last_at"] == session["events"][0]["occurred_at"]
            if index or not session["continues_page_before"]:
                told.append(session)
                continue
            assert told[-1]["begins_on_next_page"]
            merged = told[-1]["events"] + session["events"]
            told[-1] = session | {"events": merged, "last_at": told[-1]["last_at"]}
    assert [[event["id"] for event in session["events"]] for session in told] == [
        [str(event.event_id) for event in session] for session in wanted
    ]
    gaps = [event["gap_seconds"] for session in told for event in session["events"]]
    assert gaps[-1] is None
    assert gaps[:-1] == pytest.approx(
        [seconds(later.occurred_at, earlier.occurred_at) for later, earlier in pairwise(order)]
    )
    assert [session["gap_seconds"] for session in told] == [
        session["events"][-1]["gap_seconds"] for session in told
    ]
    if limit == 1_000:
        assert [session["seconds"] for session in told] == pytest.approx(
            [seconds(session[0].occurred_at, session[-1].occurred_at) for session in wanted]
        )


def test_a_person_who_did_nothing_has_no_sessions(seeded: Seeded) -> None:
    page = ask(seeded.project, TIMELINE, {"person": "nobody"})
    assert (page["sessions"], page["next"]) == ([], None)


@pytest.mark.parametrize(
    ("question", "field"),
    [({}, "person"), ({"person": None}, "person"), ({"person": "a", "gap_minutes": 0}, "gap_minutes"),
     ({"person": "a", "after": "x"}, "after"), ({"person": "a", "by": "session_id"}, "by")],
)  # fmt: skip
def test_a_bad_question_about_a_timeline_names_its_field(
    seeded: Seeded, question: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadQuestion) as refused:
        ask(seeded.project, TIMELINE, question)
    assert refused.value.field == field


@pytest.mark.parametrize("kind", ["persons", "timeline"])
def test_owners_and_members_ask_and_outsiders_do_not(
    seeded: Seeded, login: Callable[..., APIClient], make_user: Callable[..., Any], kind: str
) -> None:
    address = f"/api/projects/{seeded.project.pk}/insights/{kind}/"
    question = YEAR | ({"person": "u7"} if kind == "timeline" else {})
    for role, status in (("owner", 200), ("member", 200), (None, 404)):
        user = make_user(f"{role}-{kind}")
        if role:
            Membership.objects.create(project=seeded.project, user=user, role=role)
        assert login(user).post(address, question, format="json").status_code == status
    assert APIClient().post(address, question, format="json").status_code == 401
