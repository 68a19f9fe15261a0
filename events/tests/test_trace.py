"""The way of one event, wherever it is; and that it was never seen."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from events import buffer, replay
from events.deadletter import Wanted
from events.drain import drain
from events.models import DeadLetter
from events.tests.conftest import queue
from events.tests.letters import buried, finish, refusing
from events.trace import Trace, trace
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


@pytest.fixture
def shop(make_project: Callable[..., Any]) -> Project:
    return make_project().project


def names(found: Trace) -> list[str]:
    return [step.step for step in found.steps]


def test_a_stored_event_is_found_by_its_uuid_and_by_its_id_as_sent(
    valkey: redis.Redis, shop: Project
) -> None:
    decision = queue(valkey, {"name": "a", "id": "order-7"}, project_id=shop.pk)
    drain(valkey, 0)
    for called in ("order-7", decision.ids[0], decision.ids[0].upper()):
        found = trace(valkey, shop.pk, called)
        assert (found.seen, found.now, names(found)) == (True, "stored", ["accepted", "stored", "batch"])
    first, stored, batch = found.steps
    assert first.ms is None
    assert batch.ms >= 0
    assert stored.ms >= 0
    assert batch.about["attempts"] == 1
    assert stored.about["client_event_id"] == "order-7"


def test_what_waits_in_the_queue_is_found_there(valkey: redis.Redis, shop: Project) -> None:
    queue(valkey, [{"name": "a", "id": "x"}, {"name": "a", "id": "y"}], project_id=shop.pk)
    found = trace(valkey, shop.pk, "y")
    assert (found.now, names(found), found.queue_scanned) == ("queued", ["accepted", "queued"], 1)
    assert found.steps[1].about["claimed"] is False
    buffer.claim(valkey, 1)
    about = trace(valkey, shop.pk, "y").steps[1].about
    assert (about["claimed"], about["slot"], about["deaths"]) == (True, "slot-1", 0)


def test_a_dead_letter_and_its_replays_are_steps(valkey: redis.Redis, shop: Project) -> None:
    buried(valkey, shop, "1")
    assert trace(valkey, shop.pk, "o-0").now == "dead"
    with refusing():
        finish(valkey, replay.start(Wanted(), by="ada"))
    finish(valkey, replay.start(Wanted(), by="bob"))
    found = trace(valkey, shop.pk, "o-0")
    assert found.now == "stored"
    assert names(found) == [
        "accepted", "buried", "sent again", "buried", "replayed", "sent again", "stored", "batch", "replayed",
    ]  # fmt: skip
    assert [step.about["outcome"] for step in found.steps if step.step == "replayed"] == ["buried", "stored"]
    assert all(step.ms is not None and step.ms >= 0 for step in found.steps[1:])


def test_a_replay_on_its_way_is_seen(valkey: redis.Redis, shop: Project) -> None:
    buried(valkey, shop, "1")
    started = replay.start(Wanted(), by="ada")
    replay.run(valkey, started.pk)
    found = trace(valkey, shop.pk, "o-0")
    assert (found.now, names(found)) == ("replaying", ["accepted", "buried", "sent again", "queued"])


def test_what_was_discarded_says_so(valkey: redis.Redis, shop: Project) -> None:
    from events.deadletter import discard

    buried(valkey, shop, "1")
    discard(Wanted(), reason="a test", by="ada")
    found = trace(valkey, shop.pk, "o-0")
    assert (found.now, found.steps[-1].step, found.steps[-1].about["note"]) == (
        "discarded",
        "discarded",
        "a test",
    )
    assert DeadLetter.objects.count() == 1


@pytest.mark.parametrize(
    "called", ["nothing", "0190a7c8-1234-7abc-8def-0123456789ab", "x" * 201, "", "a'b\"c\\"]
)
def test_never_seen_is_an_answer(valkey: redis.Redis, shop: Project, called: str) -> None:
    queue(valkey, {"name": "a", "id": "order-7"}, project_id=shop.pk)
    found = trace(valkey, shop.pk, called)
    assert (found.seen, found.now, found.steps, found.queue_complete) == (False, "unseen", [], True)


def test_another_projects_event_is_not_seen(valkey: redis.Redis, shop: Project) -> None:
    decision = queue(valkey, {"name": "a"}, project_id=shop.pk + 1)
    drain(valkey, 0)
    assert not trace(valkey, shop.pk, decision.ids[0]).seen


def test_a_look_at_a_long_queue_ends_and_says_so(
    valkey: redis.Redis, shop: Project, monkeypatch: Any
) -> None:
    from events import trace as module

    monkeypatch.setattr(module, "SCANNED_ENTRIES", 2)
    for _ in range(3):
        queue(valkey, {"name": "a"}, project_id=shop.pk)
    found = trace(valkey, shop.pk, "later")
    assert (found.queue_scanned, found.queue_complete) == (2, False)


def test_a_queue_that_is_away_leaves_the_tables(valkey: redis.Redis, shop: Project, services: Any) -> None:
    queue(valkey, {"name": "a", "id": "x"}, project_id=shop.pk)
    drain(valkey, 0)
    services.valkey.stop()
    found = trace(valkey, shop.pk, "x")
    assert (found.now, found.queue_complete) == ("stored", False)
