"""Tick: once a second, what nobody else would notice: lost bells, batches that wait for the database, counters to copy."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import redis
from django import db
from django.conf import settings
from django.db import connection

from events import buffer
from events.models import DrainFailure, Inbox
from projects import keyring

log = logging.getLogger(__name__)

# A power cut may bring deleted entries back; their marks are kept a while longer than the entries.
INBOX_MARGIN_MS: Final = 600_000


@dataclass(frozen=True, slots=True)
class Ticked:
    """`ring`: slots to wake now."""

    ring: list[int]
    database_answers: bool


def tick(client: redis.Redis) -> Ticked:
    """Returns the slots to ring. Raises redis.RedisError while the queue is away; a database that is away is no error here."""
    buffer.measure_rate(client)
    buffer.heal_counters(client)
    buffer.adopt_orphans(client)
    answers = _database_answers()
    if not answers:
        return Ticked([], database_answers=False)
    try:
        copy_failures(client)
        copy_accepted(client)
        keyring.rebuild(client)
        prune_inbox(client)
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


COPY_ACCEPTED: Final = """
INSERT INTO events_ledger (project_id, hour, accepted)
SELECT p, h, n FROM unnest(%s::bigint[], %s::timestamptz[], %s::bigint[]) AS c(p, h, n) ORDER BY p, h
ON CONFLICT (project_id, hour) DO UPDATE SET accepted = excluded.accepted WHERE events_ledger.accepted < excluded.accepted
"""


def copy_accepted(client: redis.Redis) -> None:
    """Brings what the push script counted into the ledger; counts of hours long over are dropped from Valkey then."""
    counts = buffer.accepted_counts(client)
    if not counts:
        return
    places = sorted(counts)
    hours = [datetime.fromtimestamp(hour * 3600, UTC) for _, hour in places]
    with connection.cursor() as cursor:
        cursor.execute(
            COPY_ACCEPTED, [[project for project, _ in places], hours, [counts[place] for place in places]]
        )
    over = datetime.now(UTC) - timedelta(hours=2)
    buffer.forget_accepted(client, (place for place, hour in zip(places, hours, strict=True) if hour < over))


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
