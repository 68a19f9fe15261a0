"""Dead letters, replays and traces in the admin: seen, marked, edited, confirmed, followed; without any script."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.contrib.auth.models import Permission, User
from django.test import Client

from events.marked import marked
from events.models import AuditEntry, DeadLetter, Event, Replay
from events.tests.letters import buried, finish, refusing
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

DEAD = "/admin/events/deadletter/"
ACT = f"{DEAD}act/"


@pytest.fixture
def browser(client: Client, make_user: Callable[..., User]) -> Client:
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def shop(make_project: Callable[..., Any]) -> Project:
    return make_project().project


def html_of(response: Any) -> str:
    assert response.status_code == 200
    html: str = response.content.decode()
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert not re.search(r"<style|<script>|\sstyle=|\son[a-z]+=", html)
    return html


# --- the offending field ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "paths", "lines"),
    [
        (b'{"a":1,"b":{"c":"x","d":2}}', ["b.c"], ['    "c": "x",']),
        (b'{"a":{"c":1},"c":2}', ["c"], ['  "c": 2']),
        (b'{"l":[{"p":1},{"p":2}]}', ["l.1.p"], ['      "p": 2']),
        (b'{"l":["x","y"]}', ["l.0"], ['    "x",']),
        (b'{"b":{"c":1}}', ["b"], ['  "b": {', '    "c": 1', "  }"]),
        (b'{"b":{},"c":[],"d":"{","e":1}', ["e"], ['  "e": 1']),
        (b'{"a\\"b":"<i>"}', ['a\\"b'], ['  "a\\"b": "<i>"']),
        (b'{"a":1}', [], []),
    ],
)
def test_lines_of_the_offending_paths_are_marked(payload: bytes, paths: list[str], lines: list[str]) -> None:
    from html import unescape

    assert [unescape(line) for line in re.findall("<mark>(.*?)</mark>", marked(payload, paths))] == lines


def test_what_is_no_json_is_shown_as_it_is() -> None:
    assert r"{bad\xff&lt;" in marked(b"{bad\xff<", ["a"])


# --- list, groups, detail -----------------------------------------------------------------------------------------------


def test_the_list_begins_with_the_causes_and_shows_what_waits(
    valkey: redis.Redis, browser: Client, shop: Project
) -> None:
    one, two = buried(valkey, shop, "1", "2")
    DeadLetter.objects.filter(pk=two.pk).update(state="discarded")
    response = browser.get(DEAD)
    html = html_of(response)
    assert [letter.pk for letter in response.context["cl"].result_list] == [one.pk]
    assert "Waiting, by cause" in html
    assert f"?fingerprint={one.fingerprint}" in html
    assert len(browser.get(f"{DEAD}?state=all").context["cl"].result_list) == 2
    assert len(browser.get(f"{DEAD}?q={one.fingerprint}").context["cl"].result_list) == 2
    assert ">1</a>" in html_of(browser.get(f"{DEAD}groups/"))


def test_a_letter_shows_its_field_its_curl_line_and_its_story(
    valkey: redis.Redis, browser: Client, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "one")
    with refusing():
        html = html_of(browser.get(f"{DEAD}{letter.pk}/change/"))
        assert "<mark>    &quot;amount&quot;: &quot;one&quot;</mark>" in html
        finish(valkey, _started(browser, ids=str(letter.pk)))
    assert "curl " in html
    later = DeadLetter.objects.order_by("-id")[0]
    html = html_of(browser.get(f"{DEAD}{later.pk}/change/"))
    assert "Every failure of this event" in html
    assert f"{DEAD}{letter.pk}/change/" in html


def _started(browser: Client, **fields: Any) -> Replay:
    response = browser.post(ACT, {"do": "replay"} | fields)
    assert response.status_code == 302, response.content.decode()
    started = Replay.objects.order_by("-id")[0]
    assert response["Location"] == f"/admin/events/replay/{started.pk}/change/"
    return started


# --- acting -------------------------------------------------------------------------------------------------------------


def test_a_selection_is_confirmed_before_it_is_sent(
    valkey: redis.Redis, browser: Client, shop: Project
) -> None:
    one, two = buried(valkey, shop, "1", "2")
    chosen = browser.post(
        DEAD, {"action": "replay_selected", "_selected_action": [one.pk, two.pk], "index": "0"}
    )
    html = html_of(browser.get(chosen["Location"]))
    assert "<strong>2</strong> waiting dead letters, as selected" in html
    assert Replay.objects.count() == 0
    started = _started(browser, ids=f"{one.pk},{two.pk}")
    assert "0 of 2" in html_of(browser.get(f"/admin/events/replay/{started.pk}/change/"))
    finish(valkey, started)
    html = html_of(browser.get(f"/admin/events/replay/{started.pk}/change/"))
    assert "2 of 2: 2 sent, 2 stored" in html
    assert 'http-equiv="refresh"' not in html
    assert (Event.objects.count(), AuditEntry.objects.get().by_name) == (2, "root")


def test_a_rule_is_tried_over_a_group_before_it_is_sent(
    valkey: redis.Redis, browser: Client, shop: Project
) -> None:
    (one, *_) = buried(valkey, shop, "1", "2", "x")
    fields = {"fingerprint": one.fingerprint, "rule": '[{"path": "properties.amount", "do": "to_number"}]'}
    with refusing():
        html = html_of(browser.post(ACT, {"do": "try"} | fields))
        assert "2 of 3 would be stored" in html
        assert "cannot_mend" in html
        finish(valkey, _started(browser, **fields))
    assert Event.objects.count() == 2


def test_discarding_wants_a_reason(valkey: redis.Redis, browser: Client, shop: Project) -> None:
    (letter,) = buried(valkey, shop, "1")
    assert "Say why" in html_of(browser.post(ACT, {"do": "discard", "ids": letter.pk, "reason": " "}))
    assert browser.post(ACT, {"do": "discard", "ids": letter.pk, "reason": "a test"}).status_code == 302
    letter.refresh_from_db()
    assert (letter.state, letter.note, letter.ended_by) == ("discarded", "a test", "root")


@pytest.mark.parametrize(
    "fields",
    [
        {"ids": "1,x"},
        {"ids": "1" * 30},
        {"rule": "{"},
        {"rate": "0"},
        {"project_id": "x"},
        {"fingerprint": "\0"},
    ],
)
def test_what_cannot_be_meant_is_said_and_nothing_done(
    valkey: redis.Redis, browser: Client, shop: Project, fields: dict[str, str]
) -> None:
    buried(valkey, shop, "1")
    assert "errorlist" in html_of(browser.post(ACT, {"do": "replay"} | fields))
    assert Replay.objects.count() == 0


def test_an_event_is_edited_checked_and_sent(valkey: redis.Redis, browser: Client, shop: Project) -> None:
    (letter,) = buried(valkey, shop, "1")
    page = f"{DEAD}{letter.pk}/edit/"
    assert "&quot;amount&quot;: &quot;1&quot;" in html_of(browser.get(page))
    html = html_of(
        browser.post(page, {"do": "check", "text": '{\r\n"name": "a",\r\n"properties": {"amount": }}'})
    )
    assert re.search(r"invalid_json\s+at line 3, column 26", html)
    assert 'data-line="3" data-column="26"' in html
    with refusing():
        html = html_of(
            browser.post(page, {"do": "send", "text": '{"name": "a", "properties": {"amount": "2"}}'})
        )
        assert "It would not be stored" in html
        assert "It would be stored" in html_of(browser.post(page, {"do": "check", "text": '{"name": "a"}'}))
        assert browser.post(page, {"do": "send", "text": '{"name": "a"}'}).status_code == 302
        finish(valkey, Replay.objects.get())
    assert Event.objects.get().event_id == letter.event_id
    assert "Send it again so" not in html_of(browser.get(page))


def test_a_replay_is_stopped_and_goes_on(valkey: redis.Redis, browser: Client, shop: Project) -> None:
    buried(valkey, shop, "1", "2", "3")
    started = _started(browser, rate="1")
    page, turn = f"/admin/events/replay/{started.pk}/change/", f"/admin/events/replay/{started.pk}/turn/"
    assert "Stop" in html_of(browser.get(page))
    assert browser.get(turn).status_code == 405
    browser.post(turn, {"do": "stop"})
    assert "Go on" in html_of(browser.get(page))
    browser.post(turn, {"do": "resume"})
    started.refresh_from_db()
    finish(valkey, started)
    assert Event.objects.count() == 3
    assert "resume" in html_of(browser.get("/admin/events/auditentry/"))


# --- trace --------------------------------------------------------------------------------------------------------------


def test_the_trace_page_tells_the_way_and_that_there_was_none(
    valkey: redis.Redis, browser: Client, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "1")
    page = "/admin/events/event/trace/"
    html = html_of(browser.get(f"{page}?project={shop.pk}&id=o-0"))
    assert "Now: dead" in html
    assert f"{DEAD}{letter.pk}/change/" in html
    assert "Never seen here" in html_of(browser.get(f"{page}?project={shop.pk}&id=other"))
    assert "errorlist" in html_of(browser.get(f"{page}?project=x&id="))
    html_of(browser.get(page))


# --- who may --------------------------------------------------------------------------------------------------------------


def test_staff_without_the_permission_look_and_touch_nothing(
    valkey: redis.Redis, client: Client, make_user: Callable[..., User], shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "1")
    staff = make_user("staff", is_staff=True)
    staff.user_permissions.add(*Permission.objects.filter(codename__in=["view_deadletter", "view_replay"]))
    client.force_login(staff)
    assert "Edit and send again" not in html_of(client.get(f"{DEAD}{letter.pk}/change/"))
    assert client.get(f"{DEAD}groups/").status_code == 200
    started = Replay.objects.create(by_name="a", filter={}, rate=1, total=0, until_id=0)
    for answer in (
        client.get(ACT), client.post(ACT, {"do": "replay"}), client.get(f"{DEAD}{letter.pk}/edit/"),
        client.post(f"{DEAD}{letter.pk}/edit/", {"do": "send", "text": "{}"}),
        client.post(f"/admin/events/replay/{started.pk}/turn/", {"do": "stop"}),
        client.get("/admin/events/event/trace/"),
    ):  # fmt: skip
        assert answer.status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="change_deadletter"))
    assert client.post(ACT, {"do": "discard", "ids": letter.pk, "reason": "x"}).status_code == 403
    assert client.get(ACT).status_code == 200


def test_a_letter_shows_every_attempt_with_the_seconds_between(
    valkey: redis.Redis, browser: Client, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "1")
    assert "Every attempt that failed" in html_of(browser.get(f"{DEAD}{letter.pk}/change/"))
    first = {
        "attempt": 1,
        "at": "2026-01-31T12:00:00.250000+00:00",
        "sqlstate": "40P01",
        "error": "a <deadlock>",
    }
    second = {"attempt": 2, "at": "2026-01-31T12:00:01.500000+00:00", "sqlstate": "23514", "error": "refused"}
    DeadLetter.objects.update(failures=[first, second])
    html = html_of(browser.get(f"{DEAD}{letter.pk}/change/"))
    assert "2026-01-31 12:00:01.500000 UTC" in html
    assert re.search(r"<td[^>]*>1\.25</td>", html)
    assert "40P01 a &lt;deadlock&gt;" in html
