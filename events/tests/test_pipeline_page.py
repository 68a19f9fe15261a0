"""The pipeline's page in the admin: what it shows, and the orders given there: confirmed, logged, for superusers."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from events import buffer
from events.models import Ledger
from events.tests.conftest import queue
from events.tests.test_operate import lines_of
from eventsite.pytest_services import Services

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

PAGE = "/admin/events/pipeline/"


@pytest.fixture
def browser(client: Client, make_user: Callable[..., User]) -> Client:
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    return client


def html(browser: Client, data: dict[str, str] | None = None) -> str:
    response = browser.post(PAGE, data, follow=True) if data else browser.get(PAGE)
    assert response.status_code == 200
    return response.content.decode()


def confirm(browser: Client, **order: str) -> str:
    """Gives an order and says yes; returns the page after it."""
    page = html(browser, order)
    assert "Yes, " + order["order"] in page
    sent = dict(
        re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.partition('id="content"')[2])
    )
    return html(browser, {name: value for name, value in sent.items() if name != "csrfmiddlewaretoken"})


def test_the_page_shows_how_it_stands_and_the_ledger_in_words(browser: Client, valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}] * 3)
    page = html(browser)
    assert "3 events" in page
    assert "3 accepted = 0 stored + 0 duplicate + 0 dead + 0 discarded + 3 queued: balanced" in page
    Ledger.objects.create(
        project_id=7, hour=datetime.now(UTC) - timedelta(hours=2), accepted=5, stored=4, rejected={}
    )
    assert "off by +1" in html(browser)


def test_the_page_says_how_to_go_on_after_the_breaker_stopped(browser: Client, valkey: redis.Redis) -> None:
    buffer.pause(valkey, "600 of the last 1000 events failed as data, in 2 projects")
    page = html(browser)
    assert "Draining is paused: 600 of the last 1000" in page
    assert "resume and bury" in page


def test_an_order_is_carried_out_when_it_is_confirmed_and_logged(
    browser: Client, valkey: redis.Redis
) -> None:
    html(browser, {"order": "pause", "reason": "a <b>new</b> disk"})
    assert buffer.paused(valkey) is None
    confirm(browser, order="pause", reason="a new disk")
    assert buffer.paused(valkey) == "a new disk"
    assert "Resumed" in confirm(browser, order="resume", bury="on")
    assert (buffer.paused(valkey), buffer.begin(valkey, 0).may_bury_all) == (None, True)
    told = [entry.get_change_message() for entry in LogEntry.objects.order_by("id")]
    assert told == ["Paused: a new disk", "Resumed; whatever fails is buried for ten minutes."]
    assert browser.get(LogEntry.objects.first().get_admin_url(), follow=True).status_code == 200


def test_a_purge_from_the_page_goes_to_a_file_on_the_server(
    browser: Client, valkey: redis.Redis, make_project: Callable[..., Any]
) -> None:
    project = make_project(name="Web shop").project
    queue(valkey, [{"name": "a"}] * 2, project_id=project.pk)
    queue(valkey, [{"name": "b"}], project_id=project.pk + 1)
    page = confirm(browser, order="purge", project=str(project.pk))
    (file,) = (settings.VAR_DIR / "purged").iterdir()
    assert f"Purged 2 events of Web shop into {file}" in page
    assert (len(lines_of(file)), buffer.depth(valkey).events) == (2, 1)
    assert "Purged 2 events of Web shop" in LogEntry.objects.get().get_change_message()
    file.unlink()


@pytest.mark.parametrize(
    "order", [{"order": "pause", "reason": " "}, {"order": "purge", "project": "x"}, {"order": "explode"}, {}]
)
def test_an_order_that_is_none_changes_nothing(
    browser: Client, valkey: redis.Redis, order: dict[str, str]
) -> None:
    page = browser.post(PAGE, order | {"confirmed": "yes"})
    assert (page.status_code, buffer.paused(valkey), LogEntry.objects.count()) == (200, None, 0)


def test_the_page_of_a_queue_that_is_away_says_so(
    browser: Client, valkey: redis.Redis, services: Services
) -> None:
    services.valkey.stop()
    assert "The queue does not answer" in html(browser)
    page = html(browser, {"order": "pause", "reason": "x", "confirmed": "yes"})
    assert "It could not be done" in page
    assert LogEntry.objects.count() == 0


def test_the_page_keeps_to_the_strict_policy(browser: Client, valkey: redis.Redis) -> None:
    buffer.pause(valkey, "<script>alert(1)</script>")
    for response in (browser.get(PAGE), browser.post(PAGE, {"order": "pause", "reason": "<b>"})):
        assert "script-src 'self'" in response["Content-Security-Policy"].split("; ")
        assert not re.search(r"<style|<script>|\sstyle=|\son[a-z]+=|<b>", response.content.decode())


@pytest.mark.parametrize(("who", "status"), [(None, 302), ("member", 302), ("staff", 403)])
def test_it_is_for_superusers(
    client: Client, make_user: Callable[..., User], valkey: redis.Redis, who: str | None, status: int
) -> None:
    if who is not None:
        client.force_login(make_user(who, is_staff=who == "staff"))
    assert client.get(PAGE).status_code == status
    order = {"order": "pause", "reason": "x", "confirmed": "yes"}
    assert (client.post(PAGE, order).status_code, buffer.paused(valkey)) == (status, None)


def test_an_order_needs_the_forms_own_token(valkey: redis.Redis, make_user: Callable[..., User]) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(make_user("root", is_staff=True, is_superuser=True))
    order = {"order": "pause", "reason": "x", "confirmed": "yes"}
    assert (browser.post(PAGE, order).status_code, buffer.paused(valkey)) == (403, None)
