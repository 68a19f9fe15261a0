"""Failed runs: what is noted of them while runs and the tick come at any moment, and who goes on with their batch."""

import pytest
import redis

from events import buffer, tick
from events.drain import drain
from events.tests.conftest import queue

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


def fail(valkey: redis.Redis) -> None:
    buffer.record_failure(valkey, 0, attempts=1, sqlstate="08006", error="away")


def test_a_failure_is_known_until_it_is_healed_and_copied(valkey: redis.Redis) -> None:
    fail(valkey)
    tick.copy_failures(valkey)
    assert buffer.failures(valkey)[0]["healed_at"] == ""
    buffer.record_healed(valkey, 0)
    tick.copy_failures(valkey)
    assert buffer.failures(valkey) == {}


def test_healing_what_the_tick_has_forgotten_leaves_nothing_behind(valkey: redis.Redis) -> None:
    fail(valkey)
    buffer.forget_failure(valkey, 0)
    buffer.record_healed(valkey, 0)
    assert not valkey.exists("es:failure:0")


def test_half_a_record_does_not_stop_the_tick(valkey: redis.Redis) -> None:
    valkey.hset("es:failure:0", "healed_at", "1.0")
    assert tick.tick(valkey).database_answers


def test_a_failure_heals_at_maxmemory(valkey: redis.Redis) -> None:
    fail(valkey)
    before = valkey.config_get("maxmemory")["maxmemory"]
    valkey.config_set("maxmemory", 1)
    try:
        buffer.record_healed(valkey, 0)
    finally:
        valkey.config_set("maxmemory", before)
    assert buffer.failures(valkey)[0]["healed_at"]


def test_a_batch_whose_run_died_is_rung_for_however_busy_the_other_slot_is(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}])
    buffer.claim(valkey, 1)  # and no more is heard of it
    queue(valkey, [{"name": "b"}])
    assert drain(valkey, 0).stored == 1
    assert buffer.slots_to_ring(valkey) == []  # it may still be at it
    assert buffer.slots_to_ring(valkey, forsaken_ms=0) == [1]
    buffer.hold(valkey, 1, seconds=None)
    assert buffer.slots_to_ring(valkey, forsaken_ms=0) == []
