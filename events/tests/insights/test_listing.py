"""Events in pages: every one once and in order, whichever engine has it, while others arrive and days are dropped."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import connection

from events import partitions, times
from events.drain import drain
from events.insights import listing
from events.insights.ask import ask
from events.insights.errors import BadQuestion
from events.insights.listing import KIND
from events.tests.conftest import queue
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables", "questions")]
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
OLD_DAYS = 6


@pytest.fixture(autouse=True)
def old_days(tables: None) -> Iterator[None]:
    """Partitions for some days past, as a stack has that runs for longer."""
    before = partitions.leaves()
    partitions.ensure((TODAY - timedelta(days=OLD_DAYS - 1)).date())
    yield
    for name in partitions.leaves() - before:
        drop(name)


@pytest.fixture
def shop(make_project: Callable[..., Any]) -> Project:
    made: Project = make_project().project
    return made


@pytest.fixture
def store(shop: Project, valkey: redis.Redis) -> Callable[..., None]:
    def store(events: list[dict[str, Any]], *, days_ago: float = 0, project_id: int | None = None) -> None:
        received_at = datetime.now(UTC) - timedelta(days=days_ago)
        queue(valkey, events, received_at=received_at, project_id=project_id or shop.pk)
        drain(valkey, 0)

    return store


@pytest.fixture(params=["at once", "in stretches"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the lake is read: of many events the latest days first."""
    if request.param == "in stretches":
        monkeypatch.setattr(listing, "MANY", 0)
        monkeypatch.setattr(listing, "STRETCHES", (0.05, 0.3, 0.6))


def drop(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {name}")


def event(number: int, days_ago: float, **fields: Any) -> dict[str, Any]:
    at = times.text(TODAY - timedelta(days=days_ago) + timedelta(hours=1))
    return {"id": f"e{number}", "name": "a", "occurred_at": at, **fields}


def walk(project: Project, **question: Any) -> Iterator[dict[str, Any]]:
    """Page after page."""
    after = None
    while True:
        page = ask(project, KIND, {**question, **({"after": after} if after else {})})
        yield page
        if (after := page["next"]) is None:
            return


def sent_ids(page: dict[str, Any]) -> list[str]:
    return [shown["client_event_id"] for shown in page["events"]]


def test_every_event_is_told_once_while_days_are_dropped_and_others_arrive(
    shop: Project, store: Callable[..., None], seal_all: Callable[[], int], way: None
) -> None:
    wanted: list[tuple[str, int]] = []
    for days_ago in range(OLD_DAYS, -1, -1):
        # Late ones too, and several at the same microsecond.
        numbers = range(days_ago * 100, days_ago * 100 + 9)
        events = [event(number, min(days_ago + number % 3, OLD_DAYS)) for number in numbers]
        store(events, days_ago=days_ago)
        store([event(number, 2) for number in numbers], project_id=shop.pk + 1)
        wanted += [(sent["occurred_at"], int(sent["id"][1:])) for sent in events]
        seal_all()
    drop(partitions.name((TODAY - timedelta(days=OLD_DAYS)).date()))
    told, sources = [], []
    for number, page in enumerate(walk(shop, limit=5)):
        told += [(shown["occurred_at"], int(shown["client_event_id"][1:])) for shown in page["events"]]
        sources.append(page["source"])
        store([event(10_000 + number, -1, name="new")])
        if number in (1, 4):
            seal_all()
            drop(partitions.name((TODAY - timedelta(days=OLD_DAYS - number)).date()))
    assert sorted(told) == sorted(wanted)
    assert [at for at, _ in told] == sorted((at for at, _ in told), reverse=True)
    assert {"postgresql", "both"} <= set(sources)


PEOPLE = [{"user_id": "ada"}, {"user_id": "bob", "anonymous_id": "ada"}, {"anonymous_id": "ada"}, {}]
VALUES: list[Any] = [1, 2.5, "1", "pro", "Pro plan", None, True, {"city": "Köln"}, [], ""]
QUESTIONS: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = [
    ({}, lambda sent: True),
    ({"name": "b"}, lambda sent: sent["name"] == "b"),
    ({"name": ["b", "c", "c"]}, lambda sent: sent["name"] in "bc"),
    ({"person": "ada"}, lambda sent: (sent.get("user_id") or sent.get("anonymous_id")) == "ada"),
    (
        {"where": {"field": "user_id", "op": "!=", "value": "ada"}},
        lambda sent: sent.get("user_id") != "ada",
    ),
    (
        {"where": {"property": 'a "v".x', "op": ">=", "value": 1}},
        lambda sent: type(value(sent)) in (int, float) and value(sent) >= 1,
    ),
    (
        {"where": {"property": 'a "v".x', "op": "=", "value": "1"}},
        lambda sent: value(sent) in (1, "1") and value(sent) is not True,
    ),
    (
        {"where": {"not": {"property": 'a "v".x', "op": "exists"}}},
        lambda sent: value(sent) is None,
    ),
    (
        {"where": {"property": ['a "v".x', "city"], "op": "starts_with", "value": "Kö"}},
        lambda sent: isinstance(value(sent), dict),
    ),
    (
        {"name": "a", "where": {"or": [{"property": 'a "v".x', "op": "contains", "value": "ro"}]}},
        lambda sent: sent["name"] == "a" and isinstance(value(sent), str) and "ro" in value(sent),
    ),
    (
        {"period": {"from": times.text(TODAY - timedelta(days=3)), "until": times.text(TODAY - timedelta(days=2))}},
        lambda sent: sent["occurred_at"] < times.text(TODAY - timedelta(days=2)),
    ),
]  # fmt: skip


def value(sent: dict[str, Any]) -> Any:
    return sent["properties"].get('a "v".x')


def test_filters_mean_the_same_in_both_engines(
    shop: Project, store: Callable[..., None], seal_all: Callable[[], int]
) -> None:
    events = [
        event(
            number, 3 - number % 3, name="abc"[number % 3], **PEOPLE[number % 4],
            properties={'a "v".x': VALUES[number % 10]} if number % 7 else {},
        )
        for number in range(120)
    ]  # fmt: skip
    store(events)
    store([event(999, 1, properties={'a "v".x': 1})], project_id=shop.pk + 1)
    seal_all()
    lake = listing._cursor(listing.FIRST, of_lake=True)
    for question, matches in QUESTIONS:
        wanted = sorted(sent["id"] for sent in events if matches(sent))
        for start, source in (({}, "postgresql"), ({"after": lake}, "lake")):
            page = ask(shop, KIND, {**question, **start, "limit": 1_000})
            assert (sorted(sent_ids(page)), page["source"], page["next"]) == (wanted, source, None), question


def test_where_postgresql_is_slow_the_lake_answers(
    shop: Project, store: Callable[..., None], seal_all: Callable[[], int]
) -> None:
    store([event(number, 0) for number in range(5)])
    seal_all()
    locked, release = threading.Event(), threading.Event()

    def lock() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE events_event")
            locked.set()
            release.wait(20)
        connection.close()

    locker = threading.Thread(target=lock)
    locker.start()
    assert locked.wait(10)
    pages = walk(shop, limit=3)
    first = next(pages)
    release.set()
    locker.join()
    assert (first["source"], len(first["events"])) == ("lake", 3)
    second = next(pages)  # from the lake too, in no time
    assert (second["source"], len(second["events"]), second["next"]) == ("lake", 2, None)


def test_a_page_of_large_events_is_short(
    shop: Project, store: Callable[..., None], seal_all: Callable[[], int], way: None
) -> None:
    for number in range(11):
        store([event(number, 0, properties={"text": "x" * 900_000})])
    seal_all()
    for start in ("", listing._cursor(listing.FIRST, of_lake=True)):
        first = ask(shop, KIND, {"after": start} if start else {})
        rest = ask(shop, KIND, {"after": first["next"]})
        assert len(first["events"]) == 9
        assert sent_ids(first) + sent_ids(rest) == [f"e{number}" for number in range(10, -1, -1)]
        assert rest["next"] is None
        question = {"properties": False, "after": start} if start else {"properties": False}
        assert len(ask(shop, KIND, question)["events"]) == 11


NONE = [
    "x",
    "",
    "=",
    "é",
    "YTE3",
    "bDk5OTk5OTk5OTk5OTk5OTkuMQ",
    "YTE3Njk4NjA4MDAxMjM0NTYuOTk5OTk5OTk5OTk5OTk5OTk5OQ",
]


@pytest.mark.parametrize("after", NONE)
def test_a_cursor_that_is_none_is_refused(shop: Project, after: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        ask(shop, KIND, {"after": after})
    assert refused.value.field == "after"


def test_pages_of_the_lake_alone_are_those_of_one_look(
    shop: Project, store: Callable[..., None], seal_all: Callable[[], int], way: None
) -> None:
    wanted = []
    for days_ago in range(OLD_DAYS, -1, -1):
        sent = [event(10 * days_ago + n, days_ago - n / 1_000, name="ab"[n % 2]) for n in range(5)]
        store(sent, days_ago=days_ago)
        seal_all()
        wanted += [one["id"] for one in sent if one["name"] == "a"]
    for limit in (1, 3, 7, 100):
        after, told = listing._cursor(listing.FIRST, of_lake=True), []
        while after is not None:
            page = ask(shop, KIND, {"name": "a", "limit": limit, "after": after})
            told, after = told + sent_ids(page), page["next"]
        assert told == wanted[::-1]


def test_the_newest_page_reads_no_older_file(
    shop: Project, store: Callable[..., None], seal_all: Callable[[], int]
) -> None:
    store([event(1, OLD_DAYS)], days_ago=OLD_DAYS)
    seal_all()
    store([event(number, 0) for number in range(2, 6)])
    assert ask(shop, KIND, {"limit": 3})["rows_scanned"] == 0
