"""The queue of record: whole units, exact counters, batches that stay the same, rings that do not pile up."""

import time
from typing import Any

import pytest
import redis

from events import buffer
from events.buffer import Unit

SMALL = b'{"a":1}'


def unit(project_id: int = 1, rows: int = 1, row: bytes = SMALL) -> Unit:
    return buffer.unit(project_id, [row] * rows, 1_700_000_000_000)


def codes(pushed: buffer.Pushed) -> list[str]:
    return [outcome.code for outcome in pushed.outcomes]


def counters(client: redis.Redis) -> dict[str, int]:
    kept = {k.decode(): v.decode() for k, v in client.hgetall(buffer.DEPTH).items()}
    return {name: int(value) for name, value in kept.items() if name in ("n", "e", "b") or ":" in name}


def test_a_large_request_is_split_into_entries_and_pushed_whole(valkey: redis.Redis) -> None:
    pushed = buffer.push(valkey, [unit(rows=600)])
    assert codes(pushed) == ["accepted"]
    assert valkey.xlen(buffer.STREAM) == 3
    assert counters(valkey)["e"] == counters(valkey)["e:1"] == 600


def test_a_unit_that_does_not_fit_is_refused_whole(valkey: redis.Redis, settings: Any) -> None:
    settings.EVENTS_QUEUE_MAX_EVENTS = 500
    assert codes(buffer.push(valkey, [unit(rows=600), unit(rows=10)])) == ["queue_full", "accepted"]
    assert counters(valkey)["e"] == 10


def test_the_bound_in_bytes_holds(valkey: redis.Redis, settings: Any) -> None:
    settings.EVENTS_QUEUE_MAX_BYTES = 100
    pushed = buffer.push(valkey, [unit(row=b"x" * 90), unit(row=b"x" * 90)])
    assert codes(pushed) == ["accepted", "queue_full"]
    assert counters(valkey)["b"] == 90


def test_a_lone_project_fills_eight_ninths_and_leaves_room_for_others(
    valkey: redis.Redis, settings: Any
) -> None:
    settings.EVENTS_QUEUE_MAX_EVENTS = 900
    flood = codes(buffer.push(valkey, [unit(1, rows=10) for _ in range(90)]))
    assert (flood.count("accepted"), flood.count("project_backlog")) == (80, 10)
    assert codes(buffer.push(valkey, [unit(2, rows=10)])) == ["accepted"]


def test_accepted_events_are_counted_by_the_push(valkey: redis.Redis) -> None:
    buffer.push(valkey, [unit(1, rows=3), unit(2, rows=2), unit(1)])
    hour = 1_700_000_000_000 // 3_600_000
    assert buffer.accepted_counts(valkey) == {(1, hour): 4, (2, hour): 2}


def test_a_batch_never_exceeds_its_size_unless_one_entry_does(valkey: redis.Redis, settings: Any) -> None:
    buffer.push(valkey, [unit(rows=200) for _ in range(6)])
    settings.EVENTS_BATCH_SIZE = 500
    assert [buffer.claim(valkey, slot).events for slot in range(4)] == [400, 400, 400, 0]
    settings.EVENTS_BATCH_SIZE = 100
    buffer.push(valkey, [unit(rows=90), unit(rows=90)])
    assert buffer.claim(valkey, 5).events == 90


def test_a_batch_is_bounded_in_bytes(valkey: redis.Redis) -> None:
    buffer.push(valkey, [unit(row=b"x" * 600) for _ in range(3)])
    assert len(buffer.claim(valkey, 0, max_bytes=1_500).ids) == 2


def test_a_retry_takes_the_same_batch_and_another_slot_does_not(valkey: redis.Redis) -> None:
    buffer.push(valkey, [unit(rows=5)])
    first = buffer.claim(valkey, 0)
    buffer.push(valkey, [unit(rows=7)])
    again = buffer.claim(valkey, 0)
    assert (first.ids, first.redelivered, again.ids, again.redelivered) == (again.ids, False, first.ids, True)
    assert buffer.claim(valkey, 1).events == 7


def test_counters_end_at_zero_however_often_a_batch_is_acked(valkey: redis.Redis) -> None:
    buffer.push(valkey, [unit(1, rows=5), unit(2, rows=3)])
    batch = buffer.claim(valkey, 0)
    assert [buffer.ack(valkey, 0, batch.ids, events=8).deleted for _ in range(2)] == [2, 0]
    assert counters(valkey) == {"n": 0, "e": 0, "b": 0}
    assert valkey.xlen(buffer.STREAM) == 0
    assert valkey.xpending(buffer.STREAM, buffer.GROUP)["pending"] == 0


def test_at_maxmemory_a_push_is_refused_and_the_queue_still_drains(valkey: redis.Redis) -> None:
    buffer.push(valkey, [unit(rows=50)])
    limit = valkey.config_get("maxmemory")["maxmemory"]
    valkey.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.OutOfMemoryError):
            buffer.push(valkey, [unit()])
        valkey.script_flush()  # as after a restart
        assert buffer.ack(valkey, 0, buffer.claim(valkey, 0).ids, events=50).deleted == 1
    finally:
        valkey.config_set("maxmemory", limit)
    assert counters(valkey) == {"n": 0, "e": 0, "b": 0}


def test_what_was_pushed_before_the_group_was_made_is_claimed(valkey: redis.Redis) -> None:
    buffer.push(valkey, [unit()])
    buffer.claim(valkey, 0)
    valkey.xgroup_destroy(buffer.STREAM, buffer.GROUP)
    assert buffer.claim(valkey, 0).events == 1


def test_a_replaced_queue_has_another_epoch(valkey: redis.Redis) -> None:
    first, same = buffer.claim(valkey, 0).epoch, buffer.claim(valkey, 1).epoch
    valkey.flushall()
    assert first == same != buffer.claim(valkey, 0).epoch


def test_one_slot_is_rung_for_little_and_more_for_a_backlog_and_never_twice(
    valkey: redis.Redis, settings: Any
) -> None:
    settings.EVENTS_BATCH_SIZE = 10
    rings = [buffer.push(valkey, [unit(rows=rows)]).ring for rows in (1, 1, 30, 30)]
    assert rings == [0, None, 1, None]
    buffer.begin(valkey, 0)
    assert buffer.push(valkey, [unit()]).ring == 0


def test_nothing_is_rung_while_as_many_messages_wait_as_there_are_slots(
    valkey: redis.Redis, settings: Any
) -> None:
    valkey.lpush(buffer.DRAIN_LIST, *["message"] * settings.EVENTS_DRAIN_SLOTS)
    assert buffer.push(valkey, [unit()]).ring is None


def test_a_held_slot_is_not_rung(valkey: redis.Redis) -> None:
    buffer.hold(valkey, 0, seconds=None)
    assert buffer.push(valkey, [unit()]).ring is None
    assert not buffer.release(valkey, 1, waiting_only=True)
    assert buffer.release(valkey, 0, waiting_only=True)


def test_a_lost_bell_is_rung_again_when_nothing_moves(valkey: redis.Redis, settings: Any) -> None:
    assert buffer.slots_to_ring(valkey) == []
    buffer.push(valkey, [unit()])
    assert buffer.slots_to_ring(valkey) == list(range(settings.EVENTS_DRAIN_SLOTS))
    valkey.set(buffer.PROGRESS, int(time.time() * 1000))
    assert buffer.slots_to_ring(valkey) == []
    assert buffer.slots_to_ring(valkey, idle_seconds=-1) != []
    valkey.lpush(buffer.DRAIN_LIST, "message")
    assert buffer.slots_to_ring(valkey, idle_seconds=-1) == []


def test_what_a_slot_that_is_gone_had_claimed_is_taken_over(valkey: redis.Redis) -> None:
    buffer.push(valkey, [unit(rows=4)])
    buffer.claim(valkey, 31)
    assert buffer.adopt_orphans(valkey) == 1
    assert buffer.claim(valkey, 0).events == 4
    assert buffer.adopt_orphans(valkey) == 0
    assert {info["name"] for info in valkey.xinfo_consumers(buffer.STREAM, buffer.GROUP)} == {b"slot-0"}


def test_counters_that_disagree_with_an_empty_stream_are_healed(valkey: redis.Redis) -> None:
    valkey.hset(buffer.DEPTH, mapping={"e": 5, "b": 9, "e:1": 5, "drained": 7})
    buffer.heal_counters(valkey)
    assert counters(valkey) == {}
    assert valkey.hget(buffer.DEPTH, "drained") == b"7"


@pytest.mark.parametrize(
    ("events", "rate", "seconds"), [(0, 100.0, 1), (1_000, 100.0, 10), (10**9, 100.0, 60), (5, 0.0, 60)]
)
def test_retry_after_is_the_time_that_the_backlog_takes(events: int, rate: float, seconds: int) -> None:
    assert buffer.retry_after_seconds(events, rate, 0.5) == seconds
    assert (
        1
        <= buffer.retry_after_seconds(events, rate, 0.0)
        <= buffer.retry_after_seconds(events, rate, 1.0)
        <= 60
    )


def test_the_drain_rate_is_measured_while_there_is_a_backlog(valkey: redis.Redis) -> None:
    valkey.hset(
        buffer.DEPTH, mapping={"drained": 1_000, "drained_before": 0, "drained_at": time.time() - 2, "e": 5}
    )
    assert 400 < buffer.measure_rate(valkey) < 600


def test_an_ack_sees_what_came_while_its_slot_was_busy(valkey: redis.Redis) -> None:
    buffer.push(valkey, [unit()])
    first = buffer.claim(valkey, 0)
    buffer.push(valkey, [unit()])
    assert (first.more, buffer.ack(valkey, 0, first.ids, events=1).more) == (False, True)
    second = buffer.claim(valkey, 0)
    assert buffer.ack(valkey, 0, second.ids, events=1).more is False
