"""One transaction: rows, dead letters, and counts of what really happened."""

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import connection, connections, transaction

from events import buffer, partitions, retry, store
from events.buffer import Claimed
from events.drain import drain
from events.models import Batch, DeadLetter, Event, Ledger
from events.tests.conftest import at, queue, yesterday

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


@pytest.fixture
def refuse_13(db: None) -> Iterator[None]:
    """A table that refuses user 13, by a real constraint."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE events_event ADD CONSTRAINT not_13 CHECK (user_id <> '13')")
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE events_event DROP CONSTRAINT not_13")


def ledger() -> dict[int, tuple[int, int, int]]:
    return {row.project_id: (row.stored, row.duplicate, row.dead) for row in Ledger.objects.all()}


def test_every_field_arrives_as_it_was_sent(valkey: redis.Redis) -> None:
    sent = {
        "name": "order_paid",
        "id": "order-7",
        "user_id": "u1",
        "anonymous_id": "a1",
        "session_id": "s1",
        "occurred_at": "2026-01-31T12:00:00.123456Z",
        "properties": {
            "amount": 19.9,
            "items": [{"sku": "ü😀", "n": None}],
            "deep": {"a": {"b": [True, {}]}},
        },
        "context": {"ip": "::1"},
    }
    queue(valkey, sent)
    assert drain(valkey, 0).stored == 1
    event = Event.objects.get()
    assert (event.name, event.client_event_id, event.user_id) == ("order_paid", "order-7", "u1")
    assert (event.anonymous_id, event.session_id) == ("a1", "s1")
    assert event.occurred_at == datetime(2026, 1, 31, 12, 0, 0, 123456, UTC)
    assert (event.properties, event.context, event.raw) == (sent["properties"], sent["context"], None)
    assert event.received_at <= event.stored_at
    assert (event.batch.stored, [str(day) for day in event.batch.days]) == (1, ["2026-01-31"])


def test_the_exact_bytes_of_what_jsonb_cannot_hold_are_kept(valkey: redis.Redis) -> None:
    body = b'{"name":"a","properties":{"v":"a\\u0000b","big":1e999}}'
    queue(valkey, body)
    drain(valkey, 0)
    event = Event.objects.get()
    assert bytes(event.raw) == body
    assert event.properties == {"v": "a\ufffdb", "big": "1e999"}


def test_one_id_is_stored_once_within_a_batch_and_across_batches_and_per_project(valkey: redis.Redis) -> None:
    queue(
        valkey,
        [{"name": "a", "id": "1", "properties": {"n": 1}}, {"name": "a", "id": "1", "properties": {"n": 2}}],
    )
    first = drain(valkey, 0)
    queue(valkey, [{"name": "b", "id": "1"}, {"name": "b", "id": "2"}])
    queue(valkey, [{"name": "b", "id": "1"}], project_id=2)
    second = drain(valkey, 0)
    assert (first.stored, first.duplicate, second.stored, second.duplicate) == (1, 1, 2, 1)
    assert Event.objects.get(project_id=1, client_event_id="1").properties == {"n": 1}
    assert ledger() == {1: (2, 2, 0), 2: (1, 0, 0)}


def test_an_id_is_known_across_midnight_for_at_least_a_day(valkey: redis.Redis) -> None:
    late = at(yesterday(), "23:59:59.5")
    queue(valkey, [{"name": "a", "id": "1"}], received_at=late)
    drain(valkey, 0)
    queue(valkey, [{"name": "a", "id": "1"}], received_at=late + timedelta(hours=23, minutes=59))
    assert drain(valkey, 0).duplicate == 1


def test_one_id_twice_in_a_batch_on_both_sides_of_midnight_is_stored_once(valkey: redis.Redis) -> None:
    late = at(yesterday(), "23:59:59.9")
    queue(valkey, [{"name": "a", "id": "1"}], received_at=late)
    queue(valkey, [{"name": "a", "id": "1"}], received_at=late + timedelta(milliseconds=200))
    drained = drain(valkey, 0)
    assert (drained.claimed, drained.stored, drained.duplicate) == (2, 1, 1)


def test_a_redelivered_batch_is_acked_and_books_no_duplicates(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}] * 3)
    batch = buffer.claim(valkey, 0)
    with transaction.atomic():
        store.store(batch, slot=0)
    drained = drain(valkey, 0)  # as after a crash between commit and ack
    assert (drained.claimed, drained.stored, drained.duplicate) == (3, 0, 0)
    assert ledger() == {1: (3, 0, 0)}
    assert buffer.depth(valkey).events == 0


def test_a_poison_event_does_not_block_its_batch(valkey: redis.Redis, refuse_13: None) -> None:
    events = [{"name": f"e{n}", "user_id": str(n), "id": str(uuid.uuid4())} for n in range(100)]
    queue(valkey, events)
    drained = drain(valkey, 0)
    assert (drained.stored, drained.dead, drained.duplicate) == (99, 1, 0)
    letter = DeadLetter.objects.get()
    assert (str(letter.event_id), letter.name, letter.sqlstate, letter.field) == (
        events[13]["id"],
        "e13",
        "23514",
        "not_13",
    )
    assert json.loads(bytes(letter.payload))["user_id"] == "13"
    assert ledger() == {1: (99, 0, 1)}
    assert Batch.objects.get().dead == 1


def test_infrastructure_errors_are_raised_and_never_buried(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}])
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        with pytest.raises(retry.Transient) as raised:
            drain(valkey, 0)
    finally:
        connection.close()
    assert raised.value.sqlstate == "25006"
    assert DeadLetter.objects.count() == 0
    assert buffer.is_held(valkey, 0)
    buffer.release(valkey, 0)
    assert drain(valkey, 0).stored == 1


def test_a_batch_too_large_for_its_time_is_halved_until_it_fits(valkey: redis.Redis, settings: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF (SELECT count(*) FROM inserted) > 3 THEN PERFORM pg_sleep(60); END IF; RETURN NULL; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER slow AFTER INSERT ON events_event REFERENCING NEW TABLE AS inserted"
            " FOR EACH STATEMENT EXECUTE FUNCTION slow()"
        )
    settings.EVENTS_BATCH_SIZE = 8
    for _ in range(8):
        queue(valkey, {"name": "a"})
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "STATEMENT_SECONDS", 1)
            for attempt in range(2):
                with pytest.raises(retry.Transient) as raised:
                    drain(valkey, 0, attempt=attempt)
                assert raised.value.sqlstate == "57014"
            drained = drain(valkey, 0, attempt=2)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER slow ON events_event; DROP FUNCTION slow()")
    assert (drained.stored, drained.more, Batch.objects.get().attempts) == (2, True, 3)


def test_two_runs_of_one_slot_exclude_each_other(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}])

    def other() -> None:
        outcomes.append(drain(valkey, 0).outcome)
        connections.close_all()

    outcomes: list[str] = []
    with transaction.atomic():
        assert store.take_slot(0)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert outcomes == ["busy"]
    assert drain(valkey, 0).stored == 1


def test_the_same_ids_in_opposite_order_from_two_slots_neither_deadlock_nor_double(
    valkey: redis.Redis,
) -> None:
    ids = [str(uuid.uuid4()) for _ in range(500)]
    failures: list[BaseException] = []

    def run(slot: int) -> None:
        try:
            drain(valkey, slot)
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    for _ in range(4):
        queue(valkey, [{"name": "a", "id": event_id} for event_id in ids])
        queue(valkey, [{"name": "a", "id": event_id} for event_id in reversed(ids)])
    threads = [threading.Thread(target=run, args=(slot,)) for slot in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Event.objects.count() == 500


def test_storing_a_batch_takes_few_queries(
    valkey: redis.Redis, django_assert_num_queries: Callable[..., Any]
) -> None:
    queue(valkey, [{"name": "a"}] * 50)
    batch: Claimed = buffer.claim(valkey, 0)
    # savepoint, marks, rows, release, batch, ledger
    with transaction.atomic(), django_assert_num_queries(6):
        store.store(batch, slot=0)


def test_the_row_statement_finds_duplicates_by_index_in_the_rows_days_only(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}] * 1_000)
    drain(valkey, 0)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    values = {
        "rows": "[]",
        "batch_id": 1,
        "dedup_from": today - timedelta(days=1),
        "dedup_until": today + timedelta(days=2),
    }
    with transaction.atomic(), connection.cursor() as cursor:
        store.take_slot(0)
        cursor.execute("EXPLAIN " + store.INSERT_ROWS, values)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    days = {partitions.name(today.date() + timedelta(days=n)) for n in (-1, 0, 1)}
    assert set(re.findall(r" on (events_event_\d+) ", plan)) == days
    assert f"using {partitions.name(today.date())}_event " in plan
    assert "Seq Scan" not in plan
