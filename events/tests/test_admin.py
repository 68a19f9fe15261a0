"""Events, dead letters and failed drain runs in the admin: found, readable, read-only, and never counted."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from events.admin import PAGE_ROWS
from events.models import Batch, DeadLetter, DrainFailure, Event, Ledger
from projects.models import Project

EVENTS = "/admin/events/event/"
DEAD = "/admin/events/deadletter/"
FAILED = "/admin/events/drainfailure/"
LISTS = [EVENTS, DEAD, FAILED, "/admin/events/ledger/", "/admin/events/batch/"]
NOW = datetime.now(UTC)
SENT_ID = UUID("0190a7c8-1234-7abc-8def-0123456789ab")


@pytest.fixture
def browser(client: Client, make_user: Callable[..., User]) -> Client:
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def shop(make_project: Callable[..., Any]) -> Project:
    return make_project(name="Web shop").project


def make_event(project: Project, **fields: Any) -> Event:
    times = {"occurred_at": NOW, "received_at": NOW, "stored_at": NOW}
    usual = {"event_id": uuid4(), "name": "page_view", "properties": {}, "context": {}, "batch_id": 1}
    return Event.objects.create(project=project, **(times | usual | fields))


def make_dead_letter(project: Project | None, **fields: Any) -> DeadLetter:
    usual = {
        "name": "order_paid",
        "payload": b'{"name":"order_paid"}',
        "code": "data_error",
        "sqlstate": "23514",
    }
    usual |= {
        "error": 'breaks "no_debt" DETAIL: Failing row contains (1, ...)',
        "stage": "store",
        "attempts": 1,
    }
    return DeadLetter.objects.create(project=project, event_id=SENT_ID, received_at=NOW, **(usual | fields))


def make_failure(**fields: Any) -> DrainFailure:
    usual = {
        "slot": 1,
        "first_at": NOW,
        "last_at": NOW,
        "attempts": 4,
        "sqlstate": "57P01",
        "error": "shutting down",
    }
    return DrainFailure.objects.create(**(usual | fields))


def shown(browser: Client, path: str) -> list[Any]:
    changelist: ChangeList = browser.get(path).context["cl"]
    return list(changelist.result_list)


def html_of(browser: Client, path: str) -> str:
    response = browser.get(path)
    assert response.status_code == 200
    return response.content.decode()


# --- events -----------------------------------------------------------------------------------------------------


def test_the_list_shows_what_an_event_was_whose_and_when(browser: Client, shop: Project) -> None:
    at = datetime(2026, 3, 29, 10, 11, 12, tzinfo=UTC)
    event = make_event(
        shop, name="order_paid", user_id="u-1", occurred_at=at, received_at=at + timedelta(seconds=1)
    )
    html = html_of(browser, EVENTS)
    for text in (
        "order_paid",
        "Web shop",
        "u-1",
        str(event.event_id),
        "2026-03-29 10:11:12 UTC",
        "10:11:13 UTC",
    ):
        assert text in html


@pytest.mark.parametrize(
    "query",
    ["project__id__exact={shop}", "name=order_paid", "received_at__gte={today}", "occurred_at__gte={today}"],
)
def test_events_are_filtered_by_project_name_and_date(
    browser: Client, shop: Project, make_project: Callable[..., Any], query: str
) -> None:
    wanted = make_event(shop, name="order_paid")
    long_ago = NOW - timedelta(days=3)
    make_event(make_project(name="Other").project, name="signup", occurred_at=long_ago, received_at=long_ago)
    path = f"{EVENTS}?{query}".format(shop=shop.pk, today=f"{NOW.date()}+00:00:00%2B00:00")
    assert shown(browser, path) == [wanted]


def test_the_name_filter_offers_the_names_there_are(browser: Client, shop: Project) -> None:
    make_event(shop, name="signup")
    make_event(shop, name="a&b <i>")
    html = html_of(browser, EVENTS)
    assert "?name=signup" in html
    assert "a&amp;b &lt;i&gt;" in html


@pytest.mark.parametrize("term", [str(SENT_ID), str(SENT_ID).upper(), SENT_ID.hex, " order-1 ", "u-1"])
def test_search_finds_an_event_by_its_id_in_any_form_and_by_user(
    browser: Client, shop: Project, term: str
) -> None:
    wanted = make_event(shop, event_id=SENT_ID, client_event_id="order-1", user_id="u-1")
    make_event(shop, client_event_id="order-11", user_id="u-11")
    assert [event.event_id for event in shown(browser, f"{EVENTS}?q={term}")] == [wanted.event_id]


def test_search_asks_indexes_and_reads_no_table(browser: Client, shop: Project) -> None:
    with CaptureQueriesContext(connection) as queries:
        browser.get(f"{EVENTS}?q={SENT_ID}")
    statement = next(query["sql"] for query in queries if '"client_event_id" =' in query["sql"])
    with connection.cursor() as cursor:
        # The tests' tables are so small that a scan is cheaper; what matters is whether indexes could answer.
        cursor.execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_nestloop = off; EXPLAIN "
            + statement.split(" ORDER BY ")[0]
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "BitmapOr" in plan
    assert not re.search(r"Seq Scan on events_event", plan)


def test_json_is_indented_and_escaped(browser: Client, shop: Project) -> None:
    event = make_event(shop, properties={"a": [1, "<script>alert(1)</script>"]}, context={"city": "Köln"})
    html = html_of(browser, f"{EVENTS}{event.pk}/change/")
    assert "<script>alert" not in html
    assert "{\n  &quot;a&quot;: [\n    1,\n    &quot;&lt;script&gt;alert(1)&lt;/script&gt;&quot;" in html
    assert "Köln" in html


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rb'{"a":"\ud800\u0000"}', r"{&quot;a&quot;:&quot;\ud800\u0000&quot;}"),
        (b'{"a":1e400}', "1e400"),
        (b"\xff<", r"\xff&lt;"),
    ],
)
def test_the_exact_bytes_are_shown_as_they_came(
    browser: Client, shop: Project, raw: bytes, text: str
) -> None:
    event = make_event(shop, raw=raw)
    assert text in html_of(browser, f"{EVENTS}{event.pk}/change/")


@pytest.mark.parametrize("query", ["", "?name=page_view", "?q=u-1", "?_facets=True", "?before=999999"])
def test_nothing_is_counted_and_no_large_column_is_read_for_a_list(
    browser: Client, shop: Project, query: str
) -> None:
    make_event(shop, user_id="u-1")
    with CaptureQueriesContext(connection) as queries:
        assert len(shown(browser, EVENTS + query)) == 1
    statements = [query["sql"] for query in queries if "events_event" in query["sql"]]
    assert statements
    assert not any(
        re.search(r'count\(|"properties"|"context"|"raw"', sql, re.IGNORECASE) for sql in statements
    )


def test_pages_lead_to_older_events_and_back_to_the_newest(browser: Client, shop: Project) -> None:
    ids = [make_event(shop, name="page_view").pk for _ in range(PAGE_ROWS + 2)][::-1]
    page = browser.get(f"{EVENTS}?name=page_view")
    older = re.search(r'<a href="([^"]+)">Older', page.content.decode())
    assert older is not None
    last = browser.get(EVENTS + older[1].replace("&amp;", "&"))
    assert [event.pk for response in (page, last) for event in response.context["cl"].result_list] == ids
    html = last.content.decode()
    assert "Older" not in html
    assert '<a href="?name=page_view">« Newest' in html


@pytest.mark.parametrize("before", ["x", "-1", "1e9", "9" * 40, ""])
def test_a_page_that_cannot_be_is_the_first(browser: Client, shop: Project, before: str) -> None:
    event = make_event(shop)
    assert [found.pk for found in shown(browser, f"{EVENTS}?before={before}")] == [event.pk]


@pytest.mark.parametrize(("query", "text"), [("", "Nothing here yet."), ("?q=x", "Nothing matches.")])
@pytest.mark.parametrize("path", [EVENTS, DEAD])
def test_an_empty_list_says_so(browser: Client, path: str, query: str, text: str) -> None:
    assert text in html_of(browser, path + query)


# --- dead letters and failed runs ---------------------------------------------------------------------------------


def test_a_dead_letter_shows_its_cause_and_its_payload(browser: Client, shop: Project) -> None:
    letter = make_dead_letter(shop, payload=b'{"name":"<b>","n":1.10}')
    row, page = html_of(browser, DEAD), html_of(browser, f"{DEAD}{letter.pk}/change/")
    assert "breaks &quot;no_debt&quot;" in row
    assert "Failing row" not in row
    assert "Failing row" in page
    assert "{\n  &quot;name&quot;: &quot;&lt;b&gt;&quot;,\n  &quot;n&quot;: 1.10\n}" in page


def test_a_dead_letter_that_is_no_json_and_has_no_project_is_shown_too(browser: Client) -> None:
    letter = make_dead_letter(None, payload=b"\x00{bad\xff", name="")
    assert r"{bad\xff" in html_of(browser, f"{DEAD}{letter.pk}/change/")
    assert shown(browser, DEAD) == [letter]


@pytest.mark.parametrize(("term", "found"), [(str(SENT_ID), 1), ("no-uuid", 0)])
def test_search_finds_a_dead_letter_by_its_id(browser: Client, shop: Project, term: str, found: int) -> None:
    make_dead_letter(shop)
    assert len(shown(browser, f"{DEAD}?q={term}")) == found


@pytest.mark.parametrize(("state", "slot"), [("waiting", 1), ("healed", 2)])
def test_a_failed_run_waits_or_is_healed(browser: Client, state: str, slot: int) -> None:
    make_failure(slot=1)
    make_failure(slot=2, healed_at=NOW)
    assert [failure.slot for failure in shown(browser, f"{FAILED}?state={state}")] == [slot]
    html = html_of(browser, f"{FAILED}?state={state}")
    assert f'<td class="field-state">{state}</td>' in html
    assert "57P01" in html


# --- who, and what they may do ------------------------------------------------------------------------------------


@pytest.fixture
def one_of_each(shop: Project) -> dict[str, int]:
    counts = {"events": 1, "stored": 1, "duplicate": 0, "dead": 0}
    batch = Batch.objects.create(slot=0, attempts=1, days=[NOW.date()], **counts)
    ledger = Ledger.objects.create(
        project=shop, hour=NOW.replace(minute=0, second=0, microsecond=0), accepted=1
    )
    rows = [make_event(shop), make_dead_letter(shop), make_failure(), ledger, batch]
    return dict(zip(LISTS, [row.pk for row in rows], strict=True))


@pytest.mark.parametrize("path", LISTS)
def test_rows_are_looked_at_and_not_touched(browser: Client, one_of_each: dict[str, int], path: str) -> None:
    row = f"{path}{one_of_each[path]}/"
    page = html_of(browser, f"{row}change/")
    assert "<input" not in page.split('id="content"')[1].replace('<input type="hidden"', "")
    assert browser.post(f"{row}change/", {"name": "changed"}).status_code == 403
    assert browser.post(f"{row}delete/", {"post": "yes"}).status_code == 403
    assert browser.get(f"{path}add/").status_code == 403
    browser.post(path, {"action": "delete_selected", "_selected_action": [one_of_each[path]], "post": "yes"})
    assert len(shown(browser, path)) == 1


@pytest.mark.parametrize("path", LISTS)
def test_pages_carry_the_strict_policy_and_keep_to_it(
    browser: Client, one_of_each: dict[str, int], path: str
) -> None:
    for page in (path, f"{path}{one_of_each[path]}/change/"):
        response = browser.get(page)
        policy = response["Content-Security-Policy"]
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy.split("; "))
        assert not re.search(r"<style|<script>|\sstyle=|\son[a-z]+=", response.content.decode())


@pytest.mark.parametrize("who", ["anonymous", "member"])
@pytest.mark.parametrize("path", LISTS)
def test_outsiders_are_sent_to_the_login(
    client: Client, make_user: Callable[..., User], one_of_each: dict[str, int], path: str, who: str
) -> None:
    if who == "member":
        client.force_login(make_user("member"))
    for page in (path, f"{path}{one_of_each[path]}/change/"):
        response = client.get(page)
        assert (response.status_code, response["Location"]) == (302, f"/admin/login/?next={page}")


def test_staff_see_what_they_were_given(
    client: Client, make_user: Callable[..., User], one_of_each: dict[str, int]
) -> None:
    staff = make_user("staff", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_event"))
    client.force_login(staff)
    assert [client.get(path).status_code for path in LISTS] == [200, 403, 403, 403, 403]
