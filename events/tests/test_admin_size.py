"""Many events in the admin: lists, filters and searches by index, in pages; what no index answers says so in time."""

import re
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from bench import many
from events import admin_lists
from events.models import Event
from events.tests.conftest import yesterday
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

EVENTS = "/admin/events/event/"
ROWS = 1_000_000  # `make bench BENCH=admin` does the same with 5 million


@pytest.fixture
def browser(client: Client, make_user: Callable[..., User]) -> Client:
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def shop(make_project: Callable[..., Any]) -> Project:
    return make_project().project


def ids(response: Any) -> list[int]:
    return [event.pk for event in response.context["cl"].result_list]


def quickest(browser: Client, path: str) -> tuple[float, Any]:
    """The best of three, until it is quick: other things run on this machine."""
    best = 9.0
    for _ in range(3):
        begin = time.perf_counter()
        response = browser.get(path)
        best = min(best, time.perf_counter() - begin)
        if best < 1.0:
            break
    return best, response


def test_a_million_events_are_listed_filtered_and_found_within_a_second(
    browser: Client, shop: Project, make_project: Callable[..., Any]
) -> None:
    projects = [shop.pk, make_project().project.pk]
    for number in range(2):
        many.fill_day(yesterday() + timedelta(days=number), projects, ROWS // 2, first=1 + number * ROWS // 2)
    some = Event.objects.get(client_event_id="evt-500000")
    day, hour = f"{yesterday()}+00:00:00%2B00:00", f"{yesterday()}+01:00:00%2B00:00"
    browser.get(EVENTS)  # whatever is loaded once
    for query, found in [
        ("", 50), (f"before={some.pk}", 50), ("name=page_view_3", 50), ("name=rare", 10), ("name=none", 0),
        (f"project__id__exact={shop.pk}", 50), (f"q={some.event_id}", 1), ("q=evt-5", 1), ("q=u-7", 20),
        (f"received_at__gte={day}&received_at__lt={hour}", 50),
        (f"project__id__exact={shop.pk}&occurred_at__gte={day}&occurred_at__lt={hour}", 50),
        (f"project__id__exact={shop.pk}&name=rare&occurred_at__gte={day}&occurred_at__lt={hour}", 0),
    ]:  # fmt: skip
        seconds, response = quickest(browser, f"{EVENTS}?{query}")
        assert seconds < 1.0, query
        assert (len(ids(response)), response.context["cl"].too_slow) == (found, False), query


def test_what_takes_too_long_is_given_up_and_says_what_to_narrow(
    browser: Client, shop: Project, monkeypatch: Any
) -> None:
    monkeypatch.setattr(admin_lists, "LIST_SECONDS", "0.3")
    with closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE events_event IN ACCESS EXCLUSIVE MODE")
        response = browser.get(f"{EVENTS}?occurred_at__gte=2001-01-01+00:00:00%2B00:00")
    html = response.content.decode()
    assert response.status_code == 200
    assert response.context["cl"].too_slow
    assert "longer than two seconds" in html
    assert "add a project" in html
    assert "Nothing matches" not in html
    assert 'id="changelist-filter"' in html  # to narrow it right there


def test_events_of_a_time_within_a_project_are_paged_by_that_time(browser: Client, shop: Project) -> None:
    start = datetime.now(UTC) - timedelta(hours=1)
    made = []
    for n in range(120):
        at = start + timedelta(seconds=n * 7 % 40)  # three events of each time, in no order of ids
        event = Event(project=shop, name="a", properties={}, context={}, batch_id=1, occurred_at=at)
        event.event_id = f"0190a7c8-1234-7abc-8def-{n:012d}"
        event.received_at = event.stored_at = start
        event.save()
        made.append(event)
    query = (
        f"?project__id__exact={shop.pk}&occurred_at__gte={start.date() - timedelta(days=2)}+00:00:00%2B00:00"
    )
    found: list[int] = []
    while query:
        response = browser.get(EVENTS + query)
        found += ids(response)
        older = re.search(r'<a href="([^"]+)">Older', response.content.decode())
        query = older[1].replace("&amp;", "&") if older else ""
    assert found == [event.pk for event in sorted(made, key=lambda e: (e.occurred_at, e.pk), reverse=True)]


@pytest.mark.parametrize(
    "before", ["5", "x~5", "2026-01-01~5", "2026-01-01T00:00:00+00:00~x", "2026-13-01T00:00:00+00:00~5", "~"]
)
def test_a_page_by_time_that_cannot_be_is_the_first(browser: Client, shop: Project, before: str) -> None:
    response = browser.get(
        EVENTS,
        {"project__id__exact": shop.pk, "occurred_at__gte": "2026-01-01 00:00:00+00:00", "before": before},
    )
    assert response.status_code == 200
    assert response.context["cl"].newest_url is None
