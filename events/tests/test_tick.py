"""Once a second: what nobody else would notice."""

from datetime import UTC, datetime

import pytest
import redis
from django.conf import settings

from events import buffer, retry
from events.drain import drain
from events.models import DrainFailure, Inbox, Ledger
from events.tests.conftest import queue
from events.tick import tick
from eventsite.pytest_services import Services

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


def test_a_lost_bell_is_rung(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}])
    assert tick(valkey).ring == list(range(settings.EVENTS_DRAIN_SLOTS))


def test_accepted_counts_reach_the_ledger_and_never_shrink(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}] * 3)
    tick(valkey)
    valkey.delete(buffer.ACCEPTED)  # as after a Valkey that lost its last seconds
    queue(valkey, [{"name": "a"}])
    tick(valkey)
    assert Ledger.objects.get().accepted == 3


def test_counts_of_hours_long_over_leave_valkey_once_they_are_copied(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}], received_at=datetime(2026, 1, 1, tzinfo=UTC))
    tick(valkey)
    assert buffer.accepted_counts(valkey) == {}
    assert Ledger.objects.get().accepted == 1


def test_marks_of_entries_that_cannot_come_again_are_forgotten(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}])
    drain(valkey, 0)
    tick(valkey)
    assert Inbox.objects.count() == 1
    Inbox.objects.update(ms=1_000)
    tick(valkey)
    assert Inbox.objects.count() == 0


def test_while_the_database_is_away_nothing_is_claimed_and_afterwards_all_is_stored(
    valkey: redis.Redis, services: Services
) -> None:
    queue(valkey, [{"name": "a"}] * 5)
    services.postgres.stop()
    try:
        for attempt in range(4):
            with pytest.raises(retry.Transient):
                drain(valkey, 0, attempt=attempt, last_attempt=attempt == 3)
        assert (tick(valkey).ring, tick(valkey).database_answers) == ([], False)
        assert (
            valkey.xpending(buffer.STREAM, buffer.GROUP)["pending"] == 0
            if valkey.exists(buffer.EPOCH)
            else True
        )
        assert drain(valkey, 0).outcome == "held"
    finally:
        services.postgres.start()
    assert tick(valkey).ring == [0]
    failure = DrainFailure.objects.get()
    assert (failure.slot, failure.attempts, failure.healed_at) == (0, 4, None)
    assert drain(valkey, 0).stored == 5
    tick(valkey)
    failure.refresh_from_db()
    assert failure.healed_at is not None
    assert buffer.failures(valkey) == {}
