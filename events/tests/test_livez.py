"""Liveness: progress is asked for, not whether a process is there."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.test import Client

from events import buffer
from events.drain import drain
from events.tests.conftest import queue
from events.tick import tick
from eventsite.pytest_services import Services

DRAIN, TICK = "/livez/drain", "/livez/tick"


@pytest.fixture
def ask(client: Client) -> Callable[[str], tuple[int, dict[str, Any]]]:
    def ask(path: str) -> tuple[int, dict[str, Any]]:
        response = client.get(path, HTTP_HOST="10.0.0.7:8000")
        return response.status_code, response.json()

    return ask


Ask = Callable[[str], tuple[int, dict[str, Any]]]


@pytest.fixture
def waited(valkey: redis.Redis) -> Callable[[float], None]:
    """Puts an event into the queue as if it had been pushed so many seconds ago, and nothing drained since."""

    def waited(seconds: float) -> None:
        ms = int((time.time() - seconds) * 1000)
        fields = {"v": 1, "p": 1, "n": 1, "b": 2, "t": ms, "u": ms, "d": "{}"}
        valkey.xadd(buffer.STREAM, fields, id=f"{ms}-0")
        buffer.heal_counters(valkey)

    return waited


def test_an_empty_queue_is_well_however_long_nothing_came(ask: Ask, valkey: redis.Redis) -> None:
    valkey.set(buffer.PROGRESS, 1_000)
    assert ask(DRAIN) == (
        200,
        {"status": "ok", "waiting_events": 0, "seconds_without_progress": 0.0, "held_slots": 0},
    )


def test_an_event_just_come_is_well_though_nothing_was_drained_for_days(
    ask: Ask, valkey: redis.Redis, waited: Callable[[float], None]
) -> None:
    valkey.set(buffer.PROGRESS, 1_000)
    waited(1)
    assert ask(DRAIN)[0] == 200


def test_events_that_wait_while_nothing_is_drained_are_a_stall(
    ask: Ask, valkey: redis.Redis, waited: Callable[[float], None], settings: LazySettings
) -> None:
    waited(40)
    status, body = ask(DRAIN)
    assert (status, body["status"], body["waiting_events"]) == (503, "stalled", 1)
    assert 40 <= body["seconds_without_progress"] < 60
    settings.EVENTS_STALL_SECONDS = 60
    assert ask(DRAIN)[0] == 200


def test_a_backlog_that_moves_is_no_stall(
    ask: Ask, valkey: redis.Redis, waited: Callable[[float], None]
) -> None:
    waited(500)
    valkey.set(buffer.PROGRESS, int((time.time() - 5) * 1000))
    status, body = ask(DRAIN)
    assert (status, body["status"]) == (200, "ok")
    assert 5 <= body["seconds_without_progress"] < 10


def test_a_pause_is_no_stall_and_neither_are_the_seconds_after_it(
    ask: Ask, valkey: redis.Redis, waited: Callable[[float], None]
) -> None:
    waited(500)
    buffer.pause(valkey, "moving to a new disk")
    status, body = ask(DRAIN)
    assert (status, body["status"], body["reason"]) == (200, "paused", "moving to a new disk")
    buffer.resume(valkey)
    assert ask(DRAIN)[1]["status"] == "ok"


def test_what_the_breaker_quotes_is_not_for_everybody(ask: Ask, valkey: redis.Redis) -> None:
    buffer.pause(valkey, "600 events of one batch failed as data: DETAIL: Failing row contains (secret)")
    assert ask(DRAIN)[1]["reason"] == "600 events of one batch failed as data"


@pytest.mark.parametrize("path", [DRAIN, TICK])
@pytest.mark.parametrize("how", ["stop", "freeze"])
def test_a_queue_that_does_not_answer_is_not_well(
    ask: Ask, valkey: redis.Redis, services: Services, path: str, how: str
) -> None:
    getattr(services.valkey, how)()
    assert ask(path) == (503, {"status": "unknown", "reason": "the queue does not answer"})


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("tables")
def test_a_drained_batch_and_a_tick_are_signs_of_life(ask: Ask, valkey: redis.Redis) -> None:
    assert ask(TICK) == (503, {"status": "stalled", "reason": "no tick yet"})
    queue(valkey, [{"name": "a"}])
    drain(valkey, 0)
    tick(valkey)
    assert (ask(DRAIN)[0], ask(TICK)[1]["status"]) == (200, "ok")
    valkey.set(buffer.TICKED, int((time.time() - 40) * 1000))
    assert (ask(TICK)[0], ask(TICK)[1]["status"]) == (503, "stalled")


@pytest.mark.parametrize("path", [DRAIN, TICK])
def test_it_is_asked_with_get_or_head(client: Client, valkey: redis.Redis, path: str) -> None:
    buffer.note_tick(valkey)
    assert (client.head(path).status_code, client.post(path).status_code) == (200, 405)
