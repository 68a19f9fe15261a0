"""Tick: once a second, what nobody else would notice: lost bells, batches that wait for the database, counters to copy."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import redis
from django import db
from django.conf import settings
from django.db import connection

from events import buffer, history, ledger
from events.models import DrainFailure, Inbox
from events.plan import mirror
from events.plan import tally as plan_tally
from eventsite import metrics
from projects import keyring, quotas, used

log = logging.getLogger(__name__)

# A power cut may bring deleted entries back; their marks are kept a while longer than the entries.
INBOX_MARGIN_MS: Final = 600_000
CHECK_SECONDS: Final = 10  # between two looks at whether the ledger balances
USED_SECONDS: Final = 10  # between two copies of when keys were used


@dataclass(frozen=True, slots=True)
class Ticked:
    """`ring`: slots to wake now."""

    ring: list[int]
    database_answers: bool


def tick(client: redis.Redis) -> Ticked:
    """Returns the slots to ring. Raises redis.RedisError while the queue is away; a database that is away is no error here."""
    buffer.note_tick(client)
    with metrics.STAGE_SECONDS.labels("tick").time():
        return _tick(client)


def _tick(client: redis.Redis) -> Ticked:
    buffer.measure_rate(client)
    buffer.heal_counters(client)
    buffer.adopt_orphans(client)
    answers = _database_answers()
    history.note(client, database_answers=answers)
    if not answers:
        return Ticked([], database_answers=False)
    try:
        copy_failures(client)
        ledger.copy(client)
        if buffer.is_due(client, "ledger", every_seconds=CHECK_SECONDS):
            ledger.check(client)
        keyring.rebuild(client)
        quotas.rebuild(client)
        mirror.rebuild(client)
        plan_tally.copy(client)
        prune_inbox(client)
        if buffer.is_due(client, "keys-used", every_seconds=USED_SECONDS):
            used.copy(client)
    except db.Error:
        log.warning("the database went away during a tick")
        connection.close()
        return Ticked([], database_answers=False)
    freed = [
        slot for slot in range(settings.EVENTS_DRAIN_SLOTS) if buffer.release(client, slot, waiting_only=True)
    ]
    return Ticked(freed or buffer.slots_to_ring(client), database_answers=True)


def copy_failures(client: redis.Redis) -> None:
    """Failed runs were noted in Valkey, for the database may have been what failed: they are kept where people look."""
    for slot, failure in buffer.failures(client).items():
        healed = _time(failure["healed_at"]) if failure.get("healed_at") else None
        DrainFailure.objects.update_or_create(
            slot=slot,
            first_at=_time(failure["first_at"]),
            defaults={
                "last_at": _time(failure["last_at"]),
                "attempts": int(failure["attempts"]),
                "sqlstate": failure["sqlstate"],
                "error": failure["error"],
                "healed_at": healed,
            },
        )
        if healed:
            buffer.forget_failure(client, slot)


def prune_inbox(client: redis.Redis) -> None:
    """Forgets entries that can no longer be delivered again."""
    Inbox.objects.filter(ms__lt=buffer.oldest_entry_ms(client) - INBOX_MARGIN_MS).delete()


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except db.Error:
        connection.close()
        return False
    return True


def _time(epoch_seconds: str) -> datetime:
    return datetime.fromtimestamp(float(epoch_seconds), UTC)
