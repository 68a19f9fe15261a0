"""Drain: one batch of one slot, from the queue into the database."""

import contextlib
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import redis
from django.conf import settings
from django.db import connection, transaction

from events import buffer, retry, store
from events.live.publish import publish
from events.plan.book import Book, Checks
from events.plan.held import OfProject
from events.plan.tally import Tallied
from eventsite import metrics

_book = Book()  # this process's
MAX_DEATHS: Final = 2  # after as many, an entry is tried alone; if its worker dies then too, event by event
TIMEOUTS: Final = ("57014", "25P04")  # the batch was too much for its time: the next one is half as large


@dataclass(frozen=True, slots=True)
class Drained:
    """What one run did. `outcome`: stored, empty, held (a retry is due), busy (another run has the slot) or paused."""

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
    started, outcome = time.monotonic(), "failed"
    try:
        drained = _run(client, slot, attempt, last_attempt)
        outcome = drained.outcome
    finally:
        metrics.BATCHES.labels(outcome).inc()
        metrics.STAGE_SECONDS.labels("drain").observe(time.monotonic() - started)
    return drained


def _run(client: redis.Redis, slot: int, attempt: int, last_attempt: bool) -> Drained:
    started, batch = time.monotonic(), buffer.Claimed()
    try:
        begun = buffer.begin(client, slot)
        if begun.paused:
            return Drained("paused", slot)
        if begun.held and attempt == 0:
            return Drained("held", slot)
        with transaction.atomic():
            if not store.take_slot(slot):
                return Drained("busy", slot)
            batch = buffer.claim(client, slot, max_events=_wanted_events(begun))
            if not batch.ids:
                return Drained("empty", slot)
            metrics.EVENTS_IN.labels("drain").inc(batch.events)
            with metrics.STAGE_SECONDS.labels("store").time():
                stored = _store(
                    client, batch, slot, max(attempt, begun.attempts), may_bury_all=begun.may_bury_all
                )
        _count(batch, stored)
        publish(
            client, batch, stored
        )  # before the ack: after a crash the batch comes again, and readers learn of it
        dead = stored.dead.total()
        failed = stored.failed
        acked = buffer.ack(
            client, slot, batch.ids, events=batch.events, dead=failed.total(), dead_projects=set(failed)
        )
        _tally(client, stored)
        if batch.failed_before:
            buffer.release(client, slot)
            buffer.record_healed(client, slot, last_id=batch.ids[-1])
    except store.TooManyFailures as error:
        _give_up(client, slot, batch, "", str(error))
        buffer.pause(client, str(error))
        return Drained("paused", slot)
    except Exception as error:
        # Caught, so no worker died at this batch; it stays with its slot.
        meaning = retry.classify(error)
        if not isinstance(meaning, retry.Transient):
            _give_up(client, slot, batch, "", f"{type(error).__name__}: {error}")
            raise
        _give_up(client, slot, batch, meaning.sqlstate, meaning.detail)
        _hold(client, slot, attempt, last_attempt, meaning)
        raise meaning from error
    return Drained(
        "stored",
        slot,
        claimed=batch.events,
        stored=stored.stored.total(),
        duplicate=stored.duplicates,
        dead=dead,
        seconds=round(time.monotonic() - started, 4),
        more=batch.more or acked.more,
    )


def _give_up(client: redis.Redis, slot: int, batch: buffer.Claimed, sqlstate: str, error: str) -> None:
    """The attempt failed: its batch stays with the slot, and so does when and why, for the letters it may end in."""
    with contextlib.suppress(redis.RedisError):
        buffer.give_up(client, slot)
        buffer.note_attempt(client, slot, batch.ids, sqlstate=sqlstate, error=error)


def _count(batch: buffer.Claimed, stored: store.Stored) -> None:
    """Counts, for /metrics, what was committed."""
    metrics.EVENTS_OUT.labels("drain", "stored").inc(batch.events)
    metrics.EVENTS_IN.labels("store").inc(stored.received.total())
    metrics.EVENTS_OUT.labels("store", "stored").inc(stored.stored.total())
    metrics.EVENTS_OUT.labels("store", "duplicate").inc(stored.duplicates)
    metrics.EVENTS_OUT.labels("store", "dead").inc(stored.dead.total())


def _tally(client: redis.Redis, stored: store.Stored) -> None:
    if stored.off_plan:
        counted = Tallied()
        counted.add(stored.off_plan)
        with contextlib.suppress(redis.RedisError):
            counted.send(client)


def _plan_of(client: redis.Redis) -> OfProject:
    def plan_of(project_id: int) -> Checks | None:
        if _book.is_due(project_id):
            _book.refresh(client, project_id)
        plan = _book.plan(project_id)
        return plan.at_store if plan else None

    return plan_of


def _store(
    client: redis.Redis, batch: buffer.Claimed, slot: int, attempt: int, *, may_bury_all: bool
) -> store.Stored:
    if batch.deaths <= MAX_DEATHS:
        return store.store(
            batch, slot=slot, attempt=attempt, may_bury_all=may_bury_all, plan_of=_plan_of(client)
        )
    (entry_id,) = batch.ids
    killers = buffer.killers(client, slot, entry_id)
    stored = store.store_singly(
        batch,
        slot=slot,
        killers=killers,
        mark=lambda place: buffer.mark_event(client, slot, entry_id, place),
        attempt=attempt,
        plan_of=_plan_of(client),
    )
    buffer.unmark(client, slot, entry_id)
    return stored


def _wanted_events(begun: buffer.Begun) -> int:
    halvings = begun.attempts if begun.sqlstate in TIMEOUTS else 0
    return max(1, settings.EVENTS_BATCH_SIZE >> halvings)


def _hold(client: redis.Redis, slot: int, attempt: int, last_attempt: bool, meaning: retry.Transient) -> None:
    """Keeps rings off the slot, and notes the failure where it can be noted while the database is away."""
    connection.close()  # it may be broken; the next run opens its own
    wait = retry.backoff_seconds(
        attempt + 1, base=settings.EVENTS_RETRY_BASE_SECONDS, cap=settings.EVENTS_RETRY_CAP_SECONDS
    )
    with contextlib.suppress(redis.RedisError):  # the queue itself may be away: then nothing can be claimed
        buffer.hold(client, slot, seconds=None if last_attempt else wait + 2)
        buffer.record_failure(
            client, slot, attempts=attempt + 1, sqlstate=meaning.sqlstate, error=meaning.detail
        )
