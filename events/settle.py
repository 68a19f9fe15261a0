"""Settle: where replayed letters went. Found in the events table, in a later letter, or nowhere: then they wait again."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import redis
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Least
from django.utils import timezone

from events import buffer, verdict
from events.models import DeadLetter, LetterOutcome, LetterState
from events.store import MAX_ATTEMPTS

SETTLED_AT_ONCE: Final = 1_000
KEPT_FAILURES: Final = 100  # the first and the latest of an event, over all its replays
LOST_AFTER: Final = timedelta(seconds=60)  # behind the queue's oldest entry: the two clocks may differ

# Sorted, as the store's counts are: these rows are shared with it.
COUNT: Final = """
INSERT INTO events_ledger (project_id, hour, replayed)
SELECT p, h, n FROM unnest(%s::bigint[], %s::timestamptz[], %s::bigint[]) AS c(p, h, n) ORDER BY p, h
ON CONFLICT (project_id, hour) DO UPDATE SET replayed = events_ledger.replayed + excluded.replayed
"""


def settle(client: redis.Redis, *, replay_id: int | None = None) -> int:
    """Finds out what became of letters on their way, writes it to them and counts them as replayed; returns how many.

    One transaction: each is counted once. Raises redis.RedisError.
    """
    on_their_way = DeadLetter.objects.filter(state=LetterState.REPLAYING)
    if replay_id is not None:
        on_their_way = on_their_way.filter(replay_id=replay_id)
    if not on_their_way.exists():
        return 0
    # Before the tables are read: what has left the queue by now is committed in them.
    oldest = datetime.fromtimestamp(buffer.oldest_entry_ms(client) / 1000, UTC)
    with transaction.atomic():
        letters = list(
            on_their_way.select_for_update(skip_locked=True, of=("self",))
            .defer("payload", "sent")
            .order_by("id")[:SETTLED_AT_ONCE]
        )
        stored = verdict.stored_times((letter.project_id or 0, str(letter.event_id)) for letter in letters)
        again = {
            (later.event_id, later.received_at): later
            for later in DeadLetter.objects.filter(
                event_id__in=[letter.event_id for letter in letters],
                received_at__in=[letter.replayed_at for letter in letters],
            ).only("event_id", "received_at", "failures")
        }
        counts: Counter[tuple[int, datetime]] = Counter()
        settled = [letter for letter in letters if _settle_one(letter, stored, again, oldest)]
        for letter in settled:
            if letter.state == LetterState.REPLAYED and letter.replayed_at:
                hour = letter.replayed_at.replace(minute=0, second=0, microsecond=0)
                counts[letter.project_id or 0, hour] += 1
        fields = ["state", "outcome", "note", "ended_at", "ended_by", "replay", "replayed_at", "successor"]
        DeadLetter.objects.bulk_update(settled, fields)
        _count(counts)
    return len(settled)


def _settle_one(
    letter: DeadLetter,
    stored: dict[tuple[int, str], set[datetime]],
    again: dict[tuple[Any, datetime], DeadLetter],
    oldest: datetime,
) -> bool:
    now = timezone.now()
    at = letter.replayed_at or now
    rows = stored.get((letter.project_id or 0, str(letter.event_id)), set())
    later = again.get((letter.event_id, at))
    if at in rows:
        end(letter, LetterOutcome.STORED, letter.ended_by, now)
    elif later is not None:
        end(letter, LetterOutcome.BURIED, letter.ended_by, now)
        letter.successor = later
        # The new letter goes on with the event's story.
        own = [one | {"attempt": one["attempt"] + letter.attempts} for one in later.failures]
        failures = [*letter.failures, *own]
        DeadLetter.objects.filter(pk=later.pk).update(
            first_failed_at=letter.first_failed_at,
            attempts=Least(F("attempts") + letter.attempts, MAX_ATTEMPTS),
            failures=failures[:1] + failures[1:][1 - KEPT_FAILURES :],
        )
    elif rows:
        end(letter, LetterOutcome.DUPLICATE, letter.ended_by, now)
    elif at < oldest - LOST_AFTER:
        letter.state, letter.replay_id, letter.replayed_at = LetterState.WAITING, None, None
        letter.note = "It was sent again, and the queue lost or discarded it: it waits again."
    else:
        return False
    return True


def end(letter: DeadLetter, outcome: LetterOutcome, by: str, now: datetime) -> None:
    letter.state, letter.outcome, letter.ended_at, letter.ended_by = LetterState.REPLAYED, outcome, now, by


def _count(counts: Counter[tuple[int, datetime]]) -> None:
    places = sorted(counts)
    if places:
        values: list[list[Any]] = [
            [project_id for project_id, _ in places],
            [hour for _, hour in places],
            [counts[place] for place in places],
        ]
        with connection.cursor() as cursor:
            cursor.execute(COUNT, values)
