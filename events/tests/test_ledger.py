"""accepted = stored + duplicate + dead + discarded + queued, at every quiet moment."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import connection

from events import buffer, ledger
from events.drain import drain
from events.ledger import Line
from events.models import Ledger, QueueState
from events.tests.conftest import decide, queue
from events.tick import tick

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


def line(client: redis.Redis) -> Line:
    ledger.copy(client)
    (found,) = ledger.lines(client, since=datetime.now(UTC) - timedelta(hours=2))
    return found


def test_it_balances_before_and_after_the_drain(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a", "id": "1"}, {"name": "a", "id": "1"}, {"name": "b"}])
    before = line(valkey)
    drain(valkey, 0)
    after = line(valkey)
    assert (before.accepted, before.queued, before.difference) == (3, 3, 0)
    assert (after.accepted, after.stored, after.duplicate, after.queued, after.difference) == (3, 2, 1, 0, 0)


def test_an_hour_counts_by_receipt_on_both_sides(valkey: redis.Redis) -> None:
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(microseconds=1)
    queue(valkey, [{"name": "a"}], received_at=end)
    queue(valkey, [{"name": "a"}], received_at=end + timedelta(microseconds=2))
    ledger.copy(valkey)
    drain(valkey, 0)
    found = ledger.lines(valkey, since=end - timedelta(hours=2))
    assert [(one.accepted, one.stored, one.difference) for one in found] == [(1, 1, 0), (1, 1, 0)]


def test_a_redelivery_changes_nothing(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}])
    kept = valkey.xrange(buffer.STREAM)
    drain(valkey, 0)
    entry_id, fields = kept[0]
    valkey.delete(buffer.STREAM)
    valkey.xadd(buffer.STREAM, fields, id=entry_id)  # as after a power cut that forgot the deletion
    buffer.heal_counters(valkey)
    assert line(valkey).difference == -1  # queued once more, until it is recognised
    assert drain(valkey, 0).stored == 0
    assert (line(valkey).stored, line(valkey).duplicate, line(valkey).difference) == (1, 0, 0)


def test_what_the_queue_forgot_is_shown_as_unaccounted(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}] * 5)
    tick(valkey)
    valkey.flushall()
    tick(valkey)
    queue(valkey, [{"name": "b"}] * 2)
    found = line(valkey)
    assert (found.accepted, found.queued, found.unaccounted, found.difference) == (7, 2, 5, 0)
    drain(valkey, 0)
    found = line(valkey)
    assert (found.accepted, found.stored, found.unaccounted, found.difference) == (7, 2, 5, 0)
    assert QueueState.objects.get().set_back_at is not None


def test_counts_lost_of_events_that_were_stored_are_no_loss(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}] * 5)
    drain(valkey, 0)
    tick(valkey)
    valkey.flushall()
    tick(valkey)
    queue(valkey, [{"name": "b"}] * 2)
    found = line(valkey)
    assert (found.accepted, found.stored, found.queued, found.unaccounted, found.difference) == (
        7,
        5,
        2,
        0,
        0,
    )


def test_a_mismatch_that_stands_raises_an_alarm_that_names_the_hour(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}] * 3)
    drain(valkey, 0)
    ledger.copy(valkey)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE events_ledger SET stored = stored - 1")
    assert (ledger.check(valkey), buffer.alarms(valkey)) == ([], {})
    (standing,) = ledger.check(valkey)
    assert standing.difference == 1
    assert f"{standing.hour:%Y-%m-%d %H}h: +1 events" in buffer.alarms(valkey)["ledger"]
    Ledger.objects.update(stored=3)
    ledger.check(valkey)
    assert buffer.alarms(valkey) == {}


def test_refusals_are_kept_by_code(valkey: redis.Redis) -> None:
    hour = buffer.hour_of(decide({"name": "a"}).received_ms)
    buffer.count_rejected(valkey, {(1, hour, "required"): 2, (1, hour, "rate_limited"): 5})
    assert line(valkey).rejected == {"required": 2, "rate_limited": 5}
    buffer.count_rejected(valkey, {(1, hour, "required"): 1})
    assert line(valkey).rejected == {"required": 3, "rate_limited": 5}


def test_the_edge_brings_its_refusals_within_seconds(post: Any, valkey: redis.Redis, project: Any) -> None:
    post([{"name": ""}, {"name": "a"}])
    while not buffer.rejected_counts(valkey):
        pass
    ((project_id, _, code),) = buffer.rejected_counts(valkey)
    assert (project_id, code) == (project.project.pk, "blank")
