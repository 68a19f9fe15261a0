"""Failures: who sees and does what, a rule tried and replayed, an edit checked, and what a page costs."""

from typing import Any

import pytest
import redis

from events import replay as replays
from events.models import AuditEntry, DeadLetter, Event, LetterState, Replay
from events.tests.letters import buried, finish, refusing
from events.tests.pages.conftest import Shop, browser

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]
RULE = {"path": "properties.amount", "step": "to_number"}
READ = ["failures", "failures?state=replayed", "failures/letters", "failures/{letter}", "failures/{letter}/edit",
        "failures/replays/{replay}"]  # fmt: skip


def path(shop: Shop, below: str) -> str:
    letter = DeadLetter.objects.order_by("-id").first()
    replay = Replay.objects.order_by("-id").first()
    return shop.path(below.format(letter=letter and letter.pk, replay=replay and replay.pk))


def test_people_of_a_project_see_its_failures_and_nobody_else_does(shop: Shop, valkey: redis.Redis) -> None:
    buried(valkey, shop.project, "1", "two")
    replays.start(replays.Wanted(project_id=shop.project.pk, ids=(1,)), by="owner")
    owner, member, outsider, nobody = map(browser, (shop.owner, shop.member, shop.outsider, None))
    for below in READ:
        for client in (owner, member):
            answer = client.get(path(shop, below))
            assert answer.status_code == 200
            assert "unsafe" not in answer["Content-Security-Policy"]
        assert outsider.get(path(shop, below)).status_code == 404
        assert nobody.get(path(shop, below)).status_code == 302


@pytest.mark.parametrize("do", ["try", "replay", "discard"])
def test_a_member_tries_and_replays_an_owner_discards_too(shop: Shop, valkey: redis.Redis, do: str) -> None:
    buried(valkey, shop.project, "1")
    sent = {"do": do, "reason": "Sent by a test.", **RULE}
    assert browser(shop.outsider).post(shop.path("failures/letters"), sent).status_code == 404
    member = browser(shop.member).post(shop.path("failures/letters"), sent)
    assert member.status_code == {"try": 200, "replay": 303, "discard": 403}[do]
    if do == "discard":
        assert browser(shop.owner).post(shop.path("failures/letters"), sent).status_code == 303
        (letter,) = DeadLetter.objects.all()
        assert (letter.state, letter.note, letter.ended_by) == ("discarded", "Sent by a test.", "owner")


def test_a_letter_of_another_project_cannot_be_reached_through_ones_own(
    shop: Shop, valkey: redis.Redis, make_project: Any
) -> None:
    other = make_project(shop.outsider, name="Other").project
    (letter,) = buried(valkey, other, "1")
    client = browser(shop.owner)
    for below in ("failures/{letter}", "failures/{letter}/edit"):
        assert client.get(path(shop, below)).status_code == 404
    sent = {"do": "discard", "reason": "Not mine.", "ids": letter.pk}
    client.post(shop.path("failures/letters"), sent)
    letter.refresh_from_db()
    assert letter.state == LetterState.WAITING


def test_a_rule_is_tried_then_replayed_over_the_filter(shop: Shop, valkey: redis.Redis) -> None:
    letters = buried(valkey, shop.project, "1", "2.5", "twelve")
    address = shop.path(f"failures/letters?fingerprint={letters[0].fingerprint}")
    part = browser(shop.member, htmx="tried")
    with refusing():
        tried = part.post(address, {"do": "try", **RULE}).content.decode()
    assert "2 of 3 would store" in tried
    assert "<html" not in tried
    answer = part.post(address, {"do": "replay", **RULE})
    started = Replay.objects.get()
    assert answer["HX-Redirect"] == shop.path(f"failures/replays/{started.pk}")
    finish(valkey, started)
    assert sorted(row.properties["amount"] for row in Event.objects.all()) == [1, 2.5]
    page = browser(shop.member).get(answer["HX-Redirect"]).content.decode()
    assert "done" in page
    assert "is not a number" in page
    ended = browser(shop.member, htmx=f"job-{started.pk}").get(answer["HX-Redirect"])
    assert ended.status_code == 286  # htmx stops asking


def test_only_the_chosen_are_sent(shop: Shop, valkey: redis.Redis) -> None:
    first, second = buried(valkey, shop.project, "1", "2")
    browser(shop.owner).post(shop.path("failures/letters"), {"do": "replay", "ids": [second.pk]})
    started = Replay.objects.get()
    assert (started.total, started.filter["ids"]) == (1, [second.pk])
    assert first.pk not in started.filter["ids"]


NO_ORDERS: list[tuple[dict[str, Any], str]] = [
    ({"do": "try", "path": "id", "step": "remove"}, "The id stays"),
    ({"do": "try", "path": "a", "step": "rename"}, "needs"),
    ({"do": "try", "path": "a", "step": "truncate", "argument": "many"}, "at least 1"),
    ({"do": "try", "rule_text": "{"}, "A rule is a list of steps"),
    ({"do": "replay", "rule_text": "[]"}, "1 to 20 steps"),
    ({"do": "discard", "reason": "  "}, "Say why"),
    ({"do": "try", "ids": ["1", "x"]}, "These are no letters"),
]


def test_what_is_no_rule_is_said_so_and_nothing_is_done(shop: Shop, valkey: redis.Redis) -> None:
    buried(valkey, shop.project, "1")
    for client in (browser(shop.owner), browser(shop.owner, htmx="tried")):
        for sent, says in NO_ORDERS:
            answer = client.post(shop.path("failures/letters"), sent)
            assert (answer.status_code, says in answer.content.decode()) == (422, True), says
    assert not Replay.objects.exists()
    assert DeadLetter.objects.get().state == LetterState.WAITING


def test_an_edit_is_checked_without_a_trace_and_sent_with_one(shop: Shop, valkey: redis.Redis) -> None:
    (letter,) = buried(valkey, shop.project, "19.90")
    client = browser(shop.member)
    check = shop.path(f"failures/{letter.pk}/check")
    with refusing():
        bad = client.post(check, {"text": '{"name":"a","properties":{"amount":"x"}}'}).content
        refused = client.post(check, {"text": '{"name":"a",\r\n "properties":}'}).content.decode()
        good = client.post(check, {"text": '{"name":"a","properties":{"amount":1}}'}).content
    assert b"Would be buried again" in bad
    assert "line 2, column" in refused
    assert b"Would be stored." in good
    assert not AuditEntry.objects.exists()
    answer = client.post(
        shop.path(f"failures/{letter.pk}/edit"),
        {"do": "send", "text": '{"name":"a","properties":{"amount":1.50}}'},
    )
    assert answer.status_code == 303
    finish(valkey, Replay.objects.get())
    page = client.get(answer["Location"]).content.decode()
    assert "Stored" in page
    assert f"events/trace?id={letter.event_id}" in page
    assert [entry.action for entry in AuditEntry.objects.order_by("id")] == ["edit", "replay"]


def test_what_waits_no_more_is_not_edited(shop: Shop, valkey: redis.Redis) -> None:
    (letter,) = buried(valkey, shop.project, "1")
    DeadLetter.objects.update(state=LetterState.DISCARDED)
    answer = browser(shop.owner).get(shop.path(f"failures/{letter.pk}/edit"))
    assert (answer.status_code, answer["Location"]) == (303, shop.path(f"failures/{letter.pk}"))


def test_a_replay_is_stopped_and_goes_on(shop: Shop, valkey: redis.Redis) -> None:
    buried(valkey, shop.project, "1", "2")
    browser(shop.member).post(shop.path("failures/letters"), {"do": "replay"})
    turn = path(shop, "failures/replays/{replay}/turn")
    assert browser(shop.outsider).post(turn, {"do": "stop"}).status_code == 404
    for do, state in (("stop", "stopped"), ("resume", "sending")):
        assert browser(shop.member).post(turn, {"do": do}).status_code == 303
        assert Replay.objects.get().state == state


def test_an_address_that_cannot_be_asked_says_so(shop: Shop, valkey: redis.Redis) -> None:
    buried(valkey, shop.project, "1")
    client = browser(shop.owner)
    for query in ("state=lost", "since=yesterday", f"fingerprint={'x' * 99}", "name=%00"):
        for below in ("failures", "failures/letters"):
            answer = client.get(shop.path(f"{below}?{query}"))
            assert (answer.status_code, b"cannot be asked" in answer.content) == (200, True), query


def test_what_was_sent_is_shown_and_never_run(shop: Shop, valkey: redis.Redis) -> None:
    evil = "<script>alert(1)</script>"
    buried(valkey, shop.project, evil, name=evil)
    for below in ("failures", "failures/letters", "failures/{letter}", "failures/{letter}/edit"):
        html = browser(shop.owner).get(path(shop, below)).content.decode()
        assert evil not in html


def test_a_page_asks_the_database_little(
    shop: Shop, valkey: redis.Redis, django_assert_max_num_queries: Any
) -> None:
    buried(valkey, shop.project, *(str(n) for n in range(60)))
    client = browser(shop.owner)
    for below in ("failures", "failures/letters", "failures/{letter}"):
        address = path(shop, below)
        with django_assert_max_num_queries(17):
            client.get(address)
