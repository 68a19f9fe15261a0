"""Overview, events, a person and a trace over events that were stored and sealed for real."""

import html
import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import redis
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from events.catalogue.places import MAX_NAMES, MAX_PROJECT_PROPERTIES
from events.catalogue_models import CatalogueName, CatalogueProperty
from events.drain import drain
from events.insights import wire
from events.models import DeadLetter
from events.tests.conftest import queue
from events.tests.pages.conftest import Shop, browser
from events.views import overview_parts
from events.views.asking import tried
from events.views.conditions import FIELDS
from eventsite.state import places

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]
PARTS = ("stats", "chart", "top", "slowest", "failures")
NASTY = {
    "a.b": "dot",
    "c:d": 1.5,
    "@at": True,
    "{x": "brace",
    "back\\slash": "b",
    "deep": {"er": [{"n": 7}]},
    "q": '"<b>',
}
MORE = {"HX-Request": "true", "HX-Target": "more"}
SUGGESTED_SECONDS = 0.5  # 50 ms on an idle machine
SECONDS = 1.5  # of the server for a page of a few events; 20 ms of it on an idle machine


@pytest.fixture
def store(
    shop: Shop, valkey: redis.Redis, seal_all: Callable[[], int]
) -> Callable[[list[dict[str, Any]]], None]:
    cache.clear()

    def store(events: list[dict[str, Any]]) -> None:
        queue(valkey, events, project_id=shop.project.pk)
        drain(valkey, 0)
        seal_all()

    return store


@pytest.fixture
def stored(shop: Shop, store: Callable[[list[dict[str, Any]]], None], questions: object) -> Shop:
    """40 events: 20 views, 15 requests of which 3 failed, 4 of a person with two long silences, a nasty one."""
    views = [
        event(number, "view", user_id=f"u{number % 5}", plan="pro" if number % 2 else "free")
        for number in range(20)
    ]
    requests = [
        event(
            20 + number,
            "request",
            duration_ms=10 * (number + 1),
            route=f"/r{number % 3}",
            status=500 if number < 3 else 200,
        )
        for number in range(15)
    ]
    ada = [event(minutes, "step", user_id="ada") for minutes in (1, 2, 45, 300)]
    store([*views, *requests, *ada, event(3, "<nasty> & ünïcode", id="sent-1", user_id="مرحبا", **NASTY)])
    return shop


def event(
    minutes: float, name: str, *, user_id: str | None = None, id: str | None = None, **properties: Any
) -> dict[str, Any]:
    at = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    known = {"user_id": user_id, "id": id}
    return {"name": name, "occurred_at": at, "properties": properties} | {
        key: value for key, value in known.items() if value
    }


def text(client: Client, path: str) -> str:
    """A page as a reader sees it: without tags, entities and runs of spaces."""
    answer = client.get(path)
    assert answer.status_code == 200, answer
    shown = re.sub(r"<script.*?</script>|<[^>]+>", " ", answer.content.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(shown))


def links(client: Client, path: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'href="([^"]+)"', client.get(path).content.decode())]


# --- overview -------------------------------------------------------------------------------------------------------


def test_the_overview_says_what_came_without_javascript(stored: Shop) -> None:
    client = browser(stored.owner)
    shown = text(client, stored.path("overview?whole=1"))
    assert "Events 40" in shown
    assert "Persons 7" in shown
    assert "Error rate 7.50 %" in shown  # 3 of 40
    assert re.search(r"Latency p95 14\d ms", shown)
    assert "Slowest duration_ms by route" in shown
    assert re.search(r"view 20 5 .*request 15 0", shown)
    assert "Nothing is buried" in shown
    whole = client.get(stored.path("overview?whole=1")).content.decode()
    assert 'hx-trigger="load"' not in whole
    assert whole.count('data-chart="chart-data"') == 1


def test_a_project_without_durations_has_an_overview_all_the_same(
    shop: Shop, store: Callable[[list[dict[str, Any]]], None], questions: object
) -> None:
    store([event(1, "view", plan="pro")])
    assert "Latency – no property like duration_ms" in text(
        browser(shop.owner), shop.path("overview?whole=1")
    )


def test_the_strip_chooses_what_is_drawn(stored: Shop) -> None:
    client = browser(stored.owner, htmx="part-chart")
    titles = {
        "persons": "Persons",
        "errors": "Error rate",
        "latency": "duration_ms",
        "nonsense": "Events by name",
    }
    for measure, title in titles.items():
        shown = text(client, stored.path(f"overview/chart?measure={measure}"))
        assert shown.strip().startswith(title)
    assert "status ≥ 500" in text(client, stored.path("overview/chart?measure=errors"))


def test_the_bucket_that_is_not_over_is_said_to_be_so(stored: Shop) -> None:
    client = browser(stored.owner, htmx="part")
    past = "from=2026-01-05T08:00Z&until=2026-01-05T10:00Z"
    for below in ("overview/chart", "overview/chart?measure=errors", "events/part/histogram"):
        shown, page = text(client, stored.path(below)), client.get(stored.path(below)).content.decode()
        assert shown.count("so far") == 1, below
        assert '"open": true' in page
        assert re.search(r"as of (now|\d+ s ago)", shown), below
        mark = "&" if "?" in below else "?"
        assert "so far" not in text(client, stored.path(f"{below}{mark}{past}"))


def test_every_row_is_a_filter(stored: Shop) -> None:
    client = browser(stored.owner, htmx="part")
    name = next(link for link in links(client, stored.path("overview/top")) if "request" in link)
    assert urlsplit(name).path == stored.path("overview")
    query = urlsplit(name).query
    assert dict(parse_qsl(query)) == {"f": "@name:eq:request"}
    assert "Events 15" in text(client, stored.path(f"overview/stats?{query}"))
    slow = next(link for link in links(client, stored.path("overview/slowest")) if "r2" in link)
    assert "Events 5" in text(client, stored.path(f"overview/stats?{urlsplit(slow).query}"))
    errors = next(
        link for link in links(client, stored.path("overview/chart?measure=errors")) if "f=" in link
    )
    assert "Events 3" in text(client, stored.path(f"overview/stats?{urlsplit(errors).query}"))


def test_the_rule_of_errors_and_the_duration_are_the_addresss_to_say(stored: Shop) -> None:
    client = browser(stored.owner, htmx="part")
    assert "Error rate 37.50 %" in text(client, stored.path("overview/stats?error=@name:eq:request"))
    assert "Error rate 12.50 %" in text(
        client,
        stored.path("overview/stats?error=@name:eq:step&error=@name:contains:nasty"),
    )
    assert "duration_ms by name" not in text(client, stored.path("overview/slowest?latency=status"))


def test_a_part_that_fails_leaves_the_page(shop: Shop, store: Callable[[list[dict[str, Any]]], None]) -> None:
    """The process that answers questions is not there: PostgreSQL's part of it all goes on."""
    store([event(1, "view")])
    client = browser(shop.owner, htmx="part")
    for part in ("stats", "chart", "top"):
        shown = text(client, shop.path(f"overview/{part}"))
        assert "Questions cannot be answered at the moment" in shown
        assert "Retry" in shown
    assert "Nothing is buried" in text(client, shop.path("overview/failures"))
    assert "view" in text(client, shop.path("events/part/rows"))
    assert client.get(shop.path("events/suggestions?what=plan")).content.strip() == b""


@contextmanager
def always_busy() -> Iterator[list[wire.Request]]:
    """In place of the process that answers questions: one that never has time. Gives what it was asked."""
    asked: list[wire.Request] = []
    path = places(settings.VAR_DIR).question_socket
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)

    class Busy(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(wire.receive_request(self.request))
            wire.send_reply(self.request, wire.Reply(wire.BUSY))

    with socketserver.UnixStreamServer(str(path), Busy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()
            path.unlink()


def test_a_part_that_is_busy_is_asked_for_once_more_and_then_says_so(
    shop: Shop, store: Callable[[list[dict[str, Any]]], None]
) -> None:
    store([event(1, "view")])
    client = browser(shop.owner, htmx="part")
    with always_busy() as asked:
        first = client.get(shop.path("overview/top?period=7d")).content.decode()
        (again,) = re.findall(r'hx-get="([^"]+)" hx-trigger="load delay:1s" hx-target="#part-top"', first)
        assert html.unescape(again) == shop.path("overview/top?period=7d&again=1")
        second = client.get(html.unescape(again)).content.decode()
        assert "Too many questions" in second
        assert "Retry" in second
        assert "load" not in second
        assert len(asked) == 2
        whole = browser(shop.owner).get(shop.path("overview?whole=1")).content.decode()
        assert whole.count("Too many questions") == 3  # slowest knows no duration, failures are PostgreSQL's
        assert 'hx-trigger="load' not in whole
        assert len(asked) == 2 + 2 * 3


def test_a_part_that_loses_its_connection_leaves_a_new_one_to_the_next() -> None:
    def die() -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return {}

    assert tried(die)["failure"].title == "The database does not answer."
    assert tried(lambda: {"letters": DeadLetter.objects.count()}) == {"letters": 0}


def test_failures_that_wait_are_told_by_their_cause(stored: Shop) -> None:
    now = datetime.now(UTC)
    DeadLetter.objects.create(
        project=stored.project, payload=b"{}", code="data_error", error="out of range", stage="store", attempts=1,
        received_at=now, fingerprint="f", state="waiting", field="properties.amount",
    )  # fmt: skip
    client = browser(stored.owner, htmx="part")
    shown = text(client, stored.path("overview/failures"))
    assert "1 wait" in shown
    assert "properties.amount" in shown
    (group,) = {link for link in links(client, stored.path("overview/failures")) if "fingerprint" in link}
    assert "out of range" in text(client, group)
    letter = next(link for link in links(client, group) if re.search(r"/failures/\d+$", link))
    assert group in links(browser(stored.owner), letter)
    DeadLetter.objects.update(state="discarded")
    back = next(link for link in links(browser(stored.owner), letter) if "fingerprint" in link)
    assert "out of range" in text(client, back)


# --- events ---------------------------------------------------------------------------------------------------------


def test_events_are_found_filtered_paged_and_exported(
    stored: Shop, store: Callable[[list[dict[str, Any]]], None]
) -> None:
    store([event(60 + number, "older", n=number) for number in range(60)])
    client = browser(stored.owner)
    first = text(client, stored.path("events?whole=1"))
    assert first.count(" older ") + first.count(" view ") + first.count(" request ") > 40
    more = next(link for link in links(client, stored.path("events?whole=1")) if "after=" in link)
    assert "To the latest" in text(client, more)
    rows = client.get(
        stored.path(f"events/part/rows?{urlsplit(more).query}"),
        headers={"HX-Request": "true", "HX-Target": "more"},
    )
    assert rows.content.decode().strip().startswith("<tr>")
    pro = stored.path("events?whole=1&f=plan:eq:pro&f=@name:ne:older")
    assert "plan = pro" in text(client, pro)
    assert text(client, pro).count(" view ") == 10
    export = next(link for link in links(client, pro) if "format=ndjson" in link)
    lines = b"".join(client.get(export).streaming_content).splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 10
    assert "Table" in text(client, stored.path("events/part/histogram"))
    assert "No event matches" in text(client, stored.path("events?whole=1&f=@name:eq:none"))


def test_a_filter_is_added_by_a_form(stored: Shop) -> None:
    client = browser(stored.owner)
    sent = client.get(stored.path("events?what=name&op=eq&value=view&f=plan:eq:pro&period=7d&after=x"))
    assert (sent.status_code, dict_of(sent["Location"])) == (
        302,
        {"f": ["plan:eq:pro", "@name:eq:view"], "period": ["7d"]},
    )
    options = client.get(stored.path("events/suggestions")).content.decode()
    assert '"@person"' in options
    assert "duration_ms" in options
    values = client.get(stored.path("events/suggestions?what=plan")).content.decode()
    assert re.findall(r'value="(\w+)"', values) == ["free", "pro"]


def test_suggestions_are_the_catalogues(stored: Shop) -> None:
    client = browser(stored.owner)

    def options(query: str = "") -> list[str]:
        found = client.get(stored.path(f"events/suggestions?{query}")).content.decode()
        return [html.unescape(option) for option in re.findall(r'value="([^"]*)"', found)]

    assert options("what=@name") == ["view", "request", "step", "<nasty> & ünïcode"]
    assert options("f=@name:eq:view")[len(FIELDS) :] == ["plan"]
    assert options("what=status&f=@name:eq:request") == ["200", "500"]
    assert options("what=a%5C.b") == ["dot"]
    assert options("what=@person") == ["ada", "u0", "u1", "u2", "u3", "u4", "مرحبا"]  # the lake's
    assert options("what=deep.er") == ['[{"n":7}]']
    assert options("what=@occurred_at") == options("what=none") == []


def test_suggestions_of_a_full_catalogue_are_there_at_once(shop: Shop) -> None:
    cache.clear()
    fill_catalogue(shop.project.pk)
    client = browser(shop.owner)
    for query in ("", "f=@name:eq:name_7", "what=@name", "what=key_8"):
        client.get(shop.path("events/suggestions"))
        cache.clear()
        begin = time.perf_counter()
        assert b"option" in client.get(shop.path(f"events/suggestions?{query}")).content
        took = time.perf_counter() - begin
        print(f"{query or 'paths'}: {took * 1000:.0f} ms")
        assert took < SUGGESTED_SECONDS, query


def fill_catalogue(project_id: int) -> None:
    """As much as it holds: 500 names, 20,000 properties with 40 values each."""
    now = datetime.now(UTC)
    seen = {"first_at": now, "last_at": now, "first_received_at": now, "last_received_at": now}
    named = CatalogueName.objects.bulk_create(
        CatalogueName(project_id=project_id, name=f"name_{n}", events=n, sampled=n, days={}, **seen)
        for n in range(MAX_NAMES)
    )
    values = {f"value {n} of forty": n for n in range(40)}
    CatalogueProperty.objects.bulk_create(
        CatalogueProperty(
            project_id=project_id, of_name=named[n % MAX_NAMES], key=f"key_{n}" if n % 2 else f"key_{n // MAX_NAMES}",
            events=n, types={"string": [n, 0, 1], "number": [1, 0, 1]}, from_sampled=0, to_sampled=n, sketch=b"x" * 3_000,
            values=values, has_all_values=False, example="x", **seen,
        )
        for n in range(MAX_PROJECT_PROPERTIES)
    )  # fmt: skip


def dict_of(address: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(urlsplit(address).query):
        found.setdefault(name, []).append(value)
    return found


def test_an_address_that_is_not_right_asks_nothing_and_says_why(shop: Shop) -> None:
    client = browser(shop.owner)
    for query in (
        "f=plan:eqq:x",
        "from=soon",
        "period=7y",
        "tz=Mars/Olympus",
        "from=2026-02-01&until=2026-01-01",
    ):
        for below in ("overview", "events"):
            assert "Nothing was asked" in text(client, shop.path(f"{below}?{query}"))
            assert 'hx-trigger="load"' not in client.get(shop.path(f"{below}?{query}")).content.decode()
        assert "Nothing was asked" in text(client, shop.path(f"overview/stats?{query}"))


def test_one_event_is_shown_whole_and_each_of_its_links_finds_it(stored: Shop) -> None:
    client = browser(stored.owner)
    rows = stored.path("events?whole=1&f=@name:contains:nasty")
    one = next(link for link in links(client, rows) if re.search(r"/events/[0-9a-f]{8}-", link))
    shown = text(client, one)
    assert "<nasty> & ünïcode" in shown
    assert "sent-1" in shown
    assert '"\\"<b>"' in shown
    filters = [
        link for link in links(client, one) if "f=" in link and urlsplit(link).path == stored.path("events")
    ]
    by_leaf = [link for link in filters if len(dict_of(link)["f"]) == 2]  # beside the one that is set
    assert len(by_leaf) == len(NASTY) + 2  # name, user_id
    for link in by_leaf:
        found = text(client, f"{link}&whole=1")
        assert "1 events" in found, link
    assert client.get(stored.path("events/00000000-0000-7000-8000-000000000000")).status_code == 404
    assert browser(stored.outsider).get(one).status_code == 404


def test_live_listens_to_what_it_can_and_says_what_it_cannot(stored: Shop) -> None:
    query = "live=1&f=@name:in:a,b&f=plan:eq:pro&f=@person:eq:ada&f=n:gt:5"
    page = browser(stored.owner).get(stored.path(f"events?{query}")).content.decode()
    address = html.unescape(re.findall(r'data-live="([^"]+)"', page)[0])
    assert parse_qsl(urlsplit(address).query) == [
        ("name", "a"), ("name", "b"), ("property.plan", "pro"), ("person", "ada"),
    ]  # fmt: skip
    assert "Not applied: n &gt; 5" in page
    assert 'hx-trigger="load"' not in page


# --- a person, a trace ----------------------------------------------------------------------------------------------


def test_a_person_is_a_timeline_with_its_silences(stored: Shop) -> None:
    client = browser(stored.owner)
    shown = text(client, stored.path("events/person?who=ada"))
    assert shown.count(" step ") == 4
    assert "43 min of silence" in shown
    assert "4 h of silence" in shown
    assert "4 in all" in text(client, stored.path("events/person/names?who=ada"))
    assert "4 in all" in text(client, stored.path("events/person?who=ada&whole=1"))
    assert "Nobody by this id" in text(client, stored.path("events/person?who=nobody"))
    assert "مرحبا" in text(client, stored.path("events/person?who=مرحبا"))


def test_a_trace_tells_the_way_or_that_it_was_never_seen(stored: Shop, valkey: redis.Redis) -> None:
    client = browser(stored.owner)
    shown = text(client, stored.path("events/trace?id=sent-1"))
    assert "It is stored." in shown
    assert re.search(r"Accepted: .*?(ms|s) Stored: .*?(ms|s|µs) Its batch was committed", shown)
    assert "Never seen here." in text(client, stored.path("events/trace?id=sent-2"))
    queue(valkey, [{"name": "waiting", "id": "sent-3"}], project_id=stored.project.pk)
    assert "It waits in the queue." in text(client, stored.path("events/trace?id=sent-3"))
    assert "Never seen here." in text(client, stored.path("events/trace?id=%00"))


# --- cost -----------------------------------------------------------------------------------------------------------


COSTS = {
    "overview": 12, "events": 12, "events?live=1": 12, "events/trace?id=sent-1": 16, "events/person?who=ada": 18,
    "events/part/histogram": 12, "events/part/rows": 14, **{f"overview/{part}": 16 for part in PARTS},
}  # fmt: skip


def test_a_page_asks_little_and_is_there_soon(stored: Shop) -> None:
    client = browser(stored.owner)
    for below, most in COSTS.items():
        client.get(stored.path(below))
        begin = time.perf_counter()
        with CaptureQueriesContext(connection) as asked:
            assert client.get(stored.path(below)).status_code == 200
        assert len(asked) <= most, (below, [query["sql"][:100] for query in asked])
        assert time.perf_counter() - begin < SECONDS, below


def test_the_parts_are_those_that_are_tested() -> None:
    assert tuple(overview_parts.PARTS) == PARTS
