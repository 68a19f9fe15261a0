"""Every attempt that failed, in the dead letter: when and why, whatever failed and whoever died."""

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import connection

from events import buffer, replay
from events.deadletter import Wanted
from events.drain import drain
from events.models import DeadLetter, Event
from events.retry import Transient
from events.tests.conftest import queue
from events.tests.letters import buried, finish, refusing
from events.trace import trace
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

POISON = [{"name": "good"}, {"name": "order_paid", "id": "o-1", "properties": {"amount": "x"}}]


@pytest.fixture
def shop(make_project: Callable[..., Any]) -> Project:
    return make_project().project


def fail(client: redis.Redis, slot: int = 0) -> None:
    with pytest.raises(Transient):
        drain(client, slot, attempt=1)


def fail_in_the_store(client: redis.Redis) -> None:
    """The batch is claimed and sent; the table is locked by another, and the database gives up."""
    with closing(connection.copy()) as other, other.cursor() as cursor, connection.cursor() as own:
        own.execute("SET lock_timeout = '50ms'")
        cursor.execute("BEGIN; LOCK TABLE events_event IN ACCESS EXCLUSIVE MODE")
        fail(client)


def times(letter: DeadLetter) -> list[datetime]:
    return [datetime.fromisoformat(one["at"]) for one in letter.failures]


def test_two_failures_of_the_database_and_the_events_own_are_three_attempts(
    valkey: redis.Redis, shop: Project, services: Any
) -> None:
    queue(valkey, POISON, project_id=shop.pk)
    with refusing():
        fail_in_the_store(valkey)
        services.postgres.stop()
        fail(valkey)
        services.postgres.start()
        assert drain(valkey, 0, attempt=2).dead == 1
    letter = DeadLetter.objects.get()
    assert [(one["attempt"], one["sqlstate"]) for one in letter.failures] == [
        (1, "55P03"), (2, "08006"), (3, "23514"),
    ]  # fmt: skip
    assert "lock timeout" in letter.failures[0]["error"]
    assert letter.failures[2]["error"] == letter.error
    assert times(letter) == sorted(set(times(letter)))
    assert (letter.attempts, letter.first_failed_at, letter.last_failed_at) == (
        3, times(letter)[0], times(letter)[2],
    )  # fmt: skip
    assert Event.objects.count() == 1
    assert not valkey.exists("es:attempts:0")


def test_the_next_batch_begins_without_them(valkey: redis.Redis, shop: Project) -> None:
    queue(valkey, POISON[0], project_id=shop.pk)
    fail_in_the_store(valkey)
    assert drain(valkey, 0, attempt=1).stored == 1
    (letter,) = buried(valkey, shop, "x")
    assert (letter.attempts, len(letter.failures)) == (1, 1)


def test_what_came_after_a_failure_was_no_part_of_it(
    valkey: redis.Redis, shop: Project, services: Any
) -> None:
    queue(valkey, POISON[1], project_id=shop.pk)
    services.postgres.stop()
    fail(valkey)
    queue(valkey, POISON[1] | {"id": "o-2"}, project_id=shop.pk)
    services.postgres.start()
    with refusing():
        drain(valkey, 0, attempt=1)
    assert [letter.attempts for letter in DeadLetter.objects.order_by("id")] == [2, 1]


def test_the_rest_of_a_batch_that_was_halved_keeps_its_attempts(
    valkey: redis.Redis, shop: Project, settings: Any
) -> None:
    for number in range(2):
        queue(valkey, POISON[1] | {"id": f"o-{number}"}, project_id=shop.pk)
    fail_in_the_store(valkey)
    settings.EVENTS_BATCH_SIZE = 1
    with refusing():
        drain(valkey, 0, attempt=1)
        drain(valkey, 0)
    assert [letter.attempts for letter in DeadLetter.objects.all()] == [2, 2]
    assert not valkey.exists("es:attempts:0")


def test_the_death_of_a_worker_is_an_attempt(valkey: redis.Redis, shop: Project) -> None:
    queue(valkey, POISON, project_id=shop.pk)
    buffer.claim(valkey, 0)  # and no more is heard of it
    with refusing():
        drain(valkey, 0)
    letter = DeadLetter.objects.get()
    assert [(one["sqlstate"], one["error"]) for one in letter.failures] == [
        ("", "the worker died"), ("23514", letter.error),
    ]  # fmt: skip
    assert times(letter)[0] <= times(letter)[1]


def test_of_very_many_attempts_the_first_and_the_latest_are_kept_and_all_are_counted(
    valkey: redis.Redis, shop: Project
) -> None:
    queue(valkey, POISON, project_id=shop.pk)
    ids = buffer.claim(valkey, 0).ids
    buffer.give_up(valkey, 0)
    for _ in range(40):
        buffer.note_attempt(valkey, 0, ids, sqlstate="53100", error="disk full")
    with refusing():
        drain(valkey, 0)
    letter = DeadLetter.objects.get()
    assert [one["attempt"] for one in letter.failures] == [1, *range(22, 42)]
    assert letter.attempts == 41


def test_an_attempt_is_noted_at_maxmemory(valkey: redis.Redis) -> None:
    before = valkey.config_get("maxmemory")["maxmemory"]
    valkey.config_set("maxmemory", 1)
    try:
        buffer.note_attempt(valkey, 0, ["1-0"], sqlstate="53100", error="disk full")
    finally:
        valkey.config_set("maxmemory", before)
    (kept,) = buffer.attempts(valkey, 0, "1-0")
    assert (kept.number, kept.sqlstate, kept.error, kept.had_batch) == (1, "53100", "disk full", True)
    assert buffer.attempts(valkey, 0, "2-0") == []


def test_an_event_buried_again_goes_on_with_its_attempts(valkey: redis.Redis, shop: Project) -> None:
    (first,) = buried(valkey, shop, "x")
    with refusing():
        finish(valkey, replay.start(Wanted(), by="ada"))
    second = DeadLetter.objects.exclude(pk=first.pk).get()
    assert [one["attempt"] for one in second.failures] == [1, 2]
    assert second.failures[0] == first.failures[0]
    assert (second.attempts, second.first_failed_at) == (2, first.first_failed_at)


def test_a_trace_tells_each_attempt_once_with_the_time_between(valkey: redis.Redis, shop: Project) -> None:
    queue(valkey, POISON, project_id=shop.pk)
    fail_in_the_store(valkey)
    waiting = trace(valkey, shop.pk, "o-1")
    assert [step.step for step in waiting.steps] == ["accepted", "queued", "failed"]
    with refusing():
        drain(valkey, 0, attempt=1)
        finish(valkey, replay.start(Wanted(), by="ada"))
    found = trace(valkey, shop.pk, "o-1")
    assert [step.step for step in found.steps] == [
        "accepted", "failed", "buried", "sent again", "buried", "replayed",
    ]  # fmt: skip
    failed = found.steps[1]
    assert (failed.about["attempt"], failed.about["sqlstate"]) == (1, "55P03")
    assert failed.ms is not None
    assert timedelta(milliseconds=failed.ms) == failed.at - found.steps[0].at
