"""What the drain leaves in Valkey for those who look."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.db import connection, transaction

from events import buffer, drain, store
from events.live import names, publish
from events.live.entry import Entry, read_entries
from events.models import Event
from events.tests.conftest import queue

ONE, OTHER = 1, 2


def watch(client: redis.Redis, project_id: int = ONE, *, age_ms: int = 600_000) -> tuple[int, int]:
    keys = [names.WATCHED, names.place(project_id), names.stream(project_id)]
    limits = [names.WATCH_SECONDS * 1000, names.KEEP_SECONDS * 1000, names.MAX_PROJECTS, age_ms]
    epoch, number, _ = client.register_script(names.script("watch"))(keys=keys, args=[project_id, *limits])
    return int(epoch), int(number)


def entries(client: redis.Redis, project_id: int = ONE) -> list[Entry]:
    return read_entries(client.xrange(names.stream(project_id)))


def events(*named: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"name": name, "user_id": "u-1"} | fields for name in named]


@pytest.fixture(autouse=True)
def nothing_missed() -> Iterator[None]:
    publish._missed.clear()
    yield
    publish._missed.clear()


@pytest.mark.usefixtures("tables")
class TestPublish:
    def test_nothing_is_left_where_nobody_looks(self, valkey: redis.Redis) -> None:
        queue(valkey, events("a"))
        drain.drain(valkey, 0)
        assert valkey.keys("es:live*") == []

    def test_the_first_look_is_in_time_for_a_batch_that_waits(self, valkey: redis.Redis) -> None:
        queue(valkey, events("a"))
        epoch, number = watch(valkey)
        drain.drain(valkey, 0)
        (entry,) = entries(valkey)
        assert (str(entry.end), number) == (f"{epoch}-1", 0)

    def test_only_the_watched_project_is_published_with_what_was_sent(self, valkey: redis.Redis) -> None:
        watch(valkey)
        queue(valkey, events("a", "b", "a", properties={"plan": "pro", "n": 1.50}))
        queue(valkey, events("secret"), project_id=OTHER)
        drain.drain(valkey, 0)
        (entry,) = entries(valkey)
        assert entry.named == {"a": 2, "b": 1}
        assert [event.name for event in entry.events] == ["a", "b", "a"]
        assert json.loads(bytes(entry.events[0].properties)) == {"plan": "pro", "n": 1.5}
        assert valkey.exists(names.stream(OTHER)) == 0

    def test_it_says_what_became_a_row_and_not_what_did_not(self, valkey: redis.Redis) -> None:
        watch(valkey)
        known = "018f0000-0000-7000-8000-000000000001"
        queue(valkey, [{"name": "a", "id": known}, {"name": "b"}])
        drain.drain(valkey, 0)
        queue(valkey, [{"name": "a", "id": known}, {"name": "c"}, {"name": "d", "id": known[:-1] + "2"}] * 2)
        drain.drain(valkey, 0)
        first, second = entries(valkey)
        # Of the twice sent, `c` has no id of its own: each is another event.
        assert sorted(second.named.items()) == [("c", 2), ("d", 1)]
        assert (first.end.number, second.end.number) == (2, 5)
        assert {event.id for entry in (first, second) for event in entry.events} == {
            str(event_id) for event_id in Event.objects.values_list("event_id", flat=True)
        }

    def test_a_rare_name_is_carried_among_a_thousand_others(self, valkey: redis.Redis) -> None:
        watch(valkey)
        queue(valkey, events(*["page_view"] * 500, "order_paid", *["page_view"] * 499))
        drain.drain(valkey, 0)
        (entry,) = entries(valkey)
        assert (entry.count, len(entry.events)) == (1000, names.MAX_ENTRY_EVENTS)
        assert entry.named == {"page_view": 999, "order_paid": 1}
        assert "order_paid" in {event.name for event in entry.events}

    def test_large_properties_are_cut_with_a_mark_and_stay_on_one_line(self, valkey: redis.Redis) -> None:
        watch(valkey)
        body = b'{"name":"a",\n "properties": {"plan":\r\n "pro", "note": "%s", "n": 1}}' % (b"x" * 3_000)
        queue(valkey, body)
        queue(valkey, b'{"name":"a", "properties": {"plan":\n "pro"}}')
        drain.drain(valkey, 0)
        large, small = (event for entry in entries(valkey) for event in entry.events)
        assert (json.loads(bytes(large.properties)), large.cut) == ({"plan": "pro", "n": 1}, ("properties",))
        assert (json.loads(bytes(small.properties)), small.cut) == ({"plan": "pro"}, ())
        assert all(b"\n" not in entry.text and b"\r" not in entry.text for entry in entries(valkey))

    @pytest.mark.parametrize(("most_entries", "most_bytes"), [(3, 10**6), (10**3, 1_200)])
    def test_the_stream_is_capped_and_its_numbers_tell_what_is_gone(
        self, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch, most_entries: int, most_bytes: int
    ) -> None:
        monkeypatch.setattr(names, "MAX_ENTRIES", most_entries)
        monkeypatch.setattr(names, "MAX_STREAM_BYTES", most_bytes)
        watch(valkey)
        for _ in range(10):
            queue(valkey, events("a", "b"))
            drain.drain(valkey, 0)
        kept = entries(valkey)
        assert [entry.end.number for entry in kept] == [16, 18, 20][-len(kept) :]
        size = int(valkey.hget(names.place(ONE), "bytes") or 0)
        assert size == sum(len(entry.text) + len(b'{"a":1,"b":1}') + 100 for entry in kept) <= most_bytes

    def test_everything_expires(self, valkey: redis.Redis) -> None:
        watch(valkey)
        queue(valkey, events("a"))
        drain.drain(valkey, 0)
        left = {key: valkey.ttl(key) for key in valkey.keys("es:live*")}
        assert len(left) == 3
        assert all(0 < seconds <= names.KEEP_SECONDS for seconds in left.values())

    def test_what_is_old_is_dropped_while_somebody_looks_and_the_numbers_go_on(
        self, valkey: redis.Redis
    ) -> None:
        watch(valkey)
        queue(valkey, events("a"))
        drain.drain(valkey, 0)
        watch(valkey, age_ms=-1)
        assert entries(valkey) == []
        assert valkey.hmget(names.place(ONE), ["n", "bytes"]) == [b"1", b"0"]

    def test_a_look_that_is_over_is_forgotten_and_the_next_begins_anew(self, valkey: redis.Redis) -> None:
        epoch, _ = watch(valkey)
        valkey.hset(names.WATCHED, str(ONE), "1000 500")  # ended long ago
        queue(valkey, events("a"))
        drain.drain(valkey, 0)
        assert valkey.hgetall(names.WATCHED) == {}
        assert entries(valkey) == []
        assert watch(valkey)[0] > epoch


@pytest.mark.usefixtures("tables")
class TestTrouble:
    def test_a_full_valkey_costs_nothing_but_the_live_events_and_their_number_is_told(
        self, valkey: redis.Redis
    ) -> None:
        watch(valkey)
        queue(valkey, events("a", "b"))
        batch, stored = store_only(valkey)
        valkey.config_set("maxmemory", 1)
        try:
            assert publish.publish(valkey, batch, stored) == 0
        finally:
            valkey.config_set("maxmemory", 0)
        buffer.ack(valkey, 0, batch.ids, events=batch.events)
        queue(valkey, events("c"))
        assert drain.drain(valkey, 0).stored == 1
        (entry,) = entries(valkey)
        assert (entry.count, entry.skipped, entry.end.number) == (1, 2, 3)

    def test_what_was_missed_before_anybody_looked_is_no_gap(self, valkey: redis.Redis) -> None:
        queue(valkey, events("a"))
        batch, stored = store_only(valkey)
        assert publish.publish(Away(), batch, stored) == 0  # type: ignore[arg-type]
        time.sleep(0.02)  # two clocks are compared, to the millisecond
        watch(valkey)
        buffer.ack(valkey, 0, batch.ids, events=batch.events)
        queue(valkey, events("b"))
        drain.drain(valkey, 0)
        (entry,) = entries(valkey)
        assert (entry.skipped, entry.end.number) == (0, 1)

    def test_a_batch_that_comes_again_after_a_crash_breaks_the_count(self, valkey: redis.Redis) -> None:
        epoch, _ = watch(valkey)
        queue(valkey, events("a"))
        store_only(valkey)  # and the worker dies
        assert drain.drain(valkey, 0).stored == 0
        assert entries(valkey) == []
        assert int(valkey.hget(names.place(ONE), "epoch") or 0) > epoch

    def test_at_most_so_many_projects_are_watched(self, valkey: redis.Redis) -> None:
        for project_id in range(names.MAX_PROJECTS):
            watch(valkey, project_id + 1)
        with pytest.raises(ValueError, match="unpack"):
            watch(valkey, names.MAX_PROJECTS + 1)
        assert watch(valkey, 1)[1] == 0


class Away:
    def register_script(self, _: str) -> Any:
        raise redis.ConnectionError


def store_only(client: redis.Redis) -> tuple[buffer.Claimed, store.Stored]:
    """A run that ends after its commit."""
    with transaction.atomic():
        assert store.take_slot(0)
        batch = buffer.claim(client, 0)
        stored = store.store(batch, slot=0)
    assert not connection.in_atomic_block
    return batch, stored
