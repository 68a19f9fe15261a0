"""Drain: one batch of one slot, from the queue into the database."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import redis
from django.conf import settings
from django.db import connection, transaction

from events import buffer, retry, store


@dataclass(frozen=True, slots=True)
class Drained:
    """What one run did. `outcome`: stored, empty, held (a retry is due later) or busy (another run has the slot)."""

    outcome: str
    slot: int
    claimed: int = 0
    stored: int = 0
    duplicate: int = 0
    dead: int = 0
    seconds: float = 0.0
    more: bool = False

    def summary(self) -> dict[str, Any]:
        return asdict(self)


def drain(client: redis.Redis, slot: int, *, attempt: int = 0, last_attempt: bool = True) -> Drained:
    """Stores one batch, then deletes it from the queue. `attempt` counts retries of the same run, from 0.

    Durable on return: what it counts. A crash midway leaves the batch with its slot; the next run takes it up.
    Raises retry.Transient when the infrastructure failed: the slot is then on hold.
    """
    started = time.monotonic()
    try:
        buffer.silence(client, slot)
        if attempt == 0 and buffer.is_held(client, slot):
            return Drained("held", slot)
        with transaction.atomic():
            if not store.take_slot(slot):
                return Drained("busy", slot)
            batch = buffer.claim(client, slot)
            if not batch.ids:
                return Drained("empty", slot)
            stored = store.store(batch, slot=slot, attempt=attempt)
        buffer.ack(client, batch.ids)
        if batch.failed_before:
            buffer.release(client, slot)
            buffer.record_healed(client, slot)
    except Exception as error:
        meaning = retry.classify(error)
        if not isinstance(meaning, retry.Transient):
            raise
        _hold(client, slot, attempt, last_attempt, meaning)
        raise meaning from error
    return Drained(
        "stored",
        slot,
        claimed=batch.events,
        stored=stored.stored.total(),
        duplicate=stored.duplicates,
        dead=stored.dead.total(),
        seconds=round(time.monotonic() - started, 4),
        more=batch.more,
    )


def _hold(client: redis.Redis, slot: int, attempt: int, last_attempt: bool, meaning: retry.Transient) -> None:
    """Keeps rings off the slot, and notes the failure where it can be noted while the database is away."""
    connection.close()  # it may be broken; the next run opens its own
    wait = retry.backoff_seconds(
        attempt + 1, base=settings.EVENTS_RETRY_BASE_SECONDS, cap=settings.EVENTS_RETRY_CAP_SECONDS
    )
    try:
        buffer.hold(client, slot, seconds=None if last_attempt else wait + 2)
        buffer.record_failure(
            client, slot, attempts=attempt + 1, sqlstate=meaning.sqlstate, error=meaning.detail
        )
    except redis.RedisError:
        pass  # the queue itself is away: nothing can be claimed either
