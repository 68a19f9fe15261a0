"""Daily partitions: made ahead, each with its unique index, and rows that found none are moved home."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import IntegrityError, connection

from events import partitions
from events.drain import drain
from events.models import Event
from events.tests.conftest import queue

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


def drop(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {name}")


def test_days_are_made_ahead_and_making_them_again_changes_nothing(settings: Any) -> None:
    far = datetime.now(UTC).date() + timedelta(days=100)
    created = partitions.ensure(far).created
    assert partitions.name(far + timedelta(days=settings.EVENTS_PARTITIONS_AHEAD_DAYS)) in created
    assert partitions.ensure(far).created == []
    for name in created:
        drop(name)


def test_rows_of_a_missing_day_wait_in_the_default_partition_and_are_moved_home(valkey: redis.Redis) -> None:
    today = datetime.now(UTC)
    drop(partitions.name(today.date()))
    queue(valkey, [{"name": "a", "id": "1"}, {"name": "b"}])
    assert drain(valkey, 0).stored == 2
    before = set(Event.objects.values_list("id", "event_id"))
    ensured = partitions.ensure()
    assert (ensured.in_default, ensured.created) == (2, [partitions.name(today.date())])
    assert set(Event.objects.values_list("id", "event_id")) == before
    assert partitions.ensure().in_default == 0
    queue(valkey, [{"name": "a", "id": "1"}])
    assert drain(valkey, 0).duplicate == 1


def test_a_partition_without_its_unique_index_is_found(valkey: redis.Redis) -> None:
    name = partitions.name(datetime.now(UTC).date() + timedelta(days=1))
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX {name}_event")
    with pytest.raises(partitions.UnsafePartition, match=name):
        partitions.ensure()
    drop(name)
    partitions.ensure()


def test_every_leaf_refuses_the_same_event_twice() -> None:
    columns = "project_id, event_id, name, occurred_at, received_at, stored_at, properties, context, batch_id"
    row = "1, '0190a7c8-1234-7abc-8def-0123456789ab', 'a', now(), now(), now(), '{}', '{}', 1"
    insert = f"INSERT INTO events_event ({columns}) SELECT {row} FROM generate_series(1, 2)"
    with pytest.raises(IntegrityError), connection.cursor() as cursor:
        cursor.execute(insert)
