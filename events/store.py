"""Store: one transaction that holds the rows, the dead letters and the counts of what really happened."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import msgspec
from django.db import connection, transaction

from events import retry
from events.buffer import Claimed
from events.codes import Code
from events.envelope import Envelope, decode, split
from events.models import Batch, DeadLetter

SLOT_LOCK: Final = 0x45530001  # pg_advisory_xact_lock(class, slot)
DEDUP_LOCK: Final = 0x45530002
TRANSACTION_SECONDS: Final = 15  # fences a worker that froze while it held its slot
MIDNIGHT_MARGIN: Final = timedelta(minutes=10)

Hour = tuple[int, datetime]  # of one project; the hour of receipt


@dataclass(slots=True)
class Stored:
    """What one transaction did. `received`, `stored` and `dead` count events by project and hour of receipt."""

    received: Counter[Hour] = field(default_factory=Counter)
    stored: Counter[Hour] = field(default_factory=Counter)
    dead: Counter[Hour] = field(default_factory=Counter)
    days: set[date] = field(default_factory=set)

    @property
    def duplicates(self) -> int:
        return self.received.total() - self.stored.total() - self.dead.total()


def take_slot(slot: int) -> bool:
    """Within the store transaction: fences it, makes its commit durable, takes the slot. False: another has it."""
    with connection.cursor() as cursor:
        # synchronous_commit is no knob: an entry is deleted from the queue once this commit is acknowledged.
        cursor.execute(
            f"SET LOCAL synchronous_commit = on; SET LOCAL transaction_timeout = '{TRANSACTION_SECONDS}s';"
            f"SET LOCAL idle_in_transaction_session_timeout = '{TRANSACTION_SECONDS}s';"
            # The anti-join by index, whatever the statistics of a day's young partition say.
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;"
            "SELECT pg_try_advisory_xact_lock(%s, %s)",
            [SLOT_LOCK, slot],
        )
        return bool(cursor.fetchone()[0])


def store(batch: Claimed, *, slot: int, attempt: int = 0) -> Stored:
    """Takes a claimed batch inside the transaction that holds its slot, returns what it did.

    Durable once that transaction commits: rows, dead letters, counts, and the mark that these entries were stored.
    A crash before leaves nothing; after it, a redelivered entry is known by its mark and only acked.
    Raises what the database raises for infrastructure errors; bad rows are buried, not raised.
    """
    batch_id, fresh = _enter(batch)
    result = Stored()
    payloads = [
        payload for entry_id, payload in zip(batch.ids, batch.payloads, strict=True) if entry_id in fresh
    ]
    if not payloads:
        return result
    _insert(payloads, batch, batch_id, attempt, result)
    _close(batch_id, slot, attempt, result)
    return result


def _enter(batch: Claimed) -> tuple[int, set[str]]:
    """Marks the entries as stored; returns a new batch id and those entries that were not stored before."""
    first, last = _moment(batch.first_ms), _moment(batch.last_ms)
    today = datetime.now(UTC).date()
    near_midnight = (first - MIDNIGHT_MARGIN).date() != (last + MIDNIGHT_MARGIN).date() or last.date() < today
    # The same id on both sides of midnight goes to two partitions, which share no unique index: one batch at a time there.
    lock = "pg_advisory_xact_lock" if near_midnight else "pg_advisory_xact_lock_shared"
    ids = [entry_id.split("-") for entry_id in batch.ids]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {lock}(%s, 0);"
            "INSERT INTO events_inbox (epoch, ms, seq) SELECT %s, * FROM unnest(%s::bigint[], %s::bigint[]) AS e(ms, seq)"
            " ORDER BY ms, seq ON CONFLICT DO NOTHING"
            " RETURNING ms, seq, nextval(pg_get_serial_sequence('events_batch', 'id'))",
            [DEDUP_LOCK, batch.epoch, [int(ms) for ms, _ in ids], [int(seq) for _, seq in ids]],
        )
        entered = cursor.fetchall()
    return (entered[0][2] if entered else 0), {f"{ms}-{seq}" for ms, seq, _ in entered}


# `+ 0` keeps the planner off the indexes that begin with the project, which it takes for a young partition without
# statistics. Plan: the recordset once, a sort, an anti-join by index on two or three partitions, an insert that skips what a
# concurrent batch stored. DISTINCT ON, because one id twice in one statement can reach two partitions; the order,
# because DO NOTHING deadlocks on opposite ones.
INSERT_ROWS: Final = """
WITH sent AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(
        project_id bigint, event_id uuid, client_event_id text, name text, user_id text, anonymous_id text,
        session_id text, occurred_at timestamptz, received_at timestamptz, properties jsonb, context jsonb, raw text)
), wanted AS (
    SELECT DISTINCT ON (event_id, project_id) * FROM sent ORDER BY event_id, project_id, received_at
), stored AS (
    INSERT INTO events_event (project_id, event_id, client_event_id, name, user_id, anonymous_id, session_id,
        occurred_at, received_at, stored_at, properties, context, raw, batch_id)
    SELECT project_id, event_id, client_event_id, name, user_id, anonymous_id, session_id,
        occurred_at, received_at, statement_timestamp(), properties, context, decode(raw, 'base64'), %(batch_id)s
    FROM wanted AS w
    WHERE NOT EXISTS (
        SELECT FROM events_event AS e
        WHERE e.event_id = w.event_id AND e.project_id + 0 = w.project_id
            AND e.received_at >= %(dedup_from)s AND e.received_at < %(dedup_until)s)
    ON CONFLICT DO NOTHING
    RETURNING project_id, received_at, occurred_at
)
SELECT project_id, date_trunc('hour', received_at, 'UTC') AS hour, count(*), NULL
FROM sent GROUP BY 1, 2
UNION ALL
SELECT project_id, date_trunc('hour', received_at, 'UTC'), count(*), array_agg(DISTINCT (occurred_at AT TIME ZONE 'UTC')::date)
FROM stored GROUP BY 1, 2
"""


def _insert(payloads: list[bytes], batch: Claimed, batch_id: int, attempt: int, result: Stored) -> None:
    try:
        with transaction.atomic():
            _insert_rows(payloads, batch, batch_id, result)
    except Exception as error:
        meaning = retry.classify(error)
        if not isinstance(meaning, retry.BadData):
            raise
        _bisect(
            [bytes(row) for payload in payloads for row in split(b"[" + payload + b"]")],
            batch,
            batch_id,
            attempt,
            result,
            meaning,
        )


def _bisect(
    rows: list[bytes], batch: Claimed, batch_id: int, attempt: int, result: Stored, meaning: retry.BadData
) -> None:
    """The rows were refused: store each half that is taken, and bury what alone is refused, in the same transaction."""
    if len(rows) == 1:
        _bury(rows[0], attempt, result, meaning)
        return
    for half in retry.halves(rows):
        try:
            with transaction.atomic():
                _insert_rows(half, batch, batch_id, result)
        except Exception as error:
            half_meaning = retry.classify(error)
            if not isinstance(half_meaning, retry.BadData):
                raise
            _bisect(half, batch, batch_id, attempt, result, half_meaning)


def _insert_rows(rows: list[bytes], batch: Claimed, batch_id: int, result: Stored) -> None:
    first_day, last_day = _midnight(batch.first_ms), _midnight(batch.last_ms)
    with connection.cursor() as cursor:
        cursor.execute(
            INSERT_ROWS,
            {
                "rows": "[" + b",".join(rows).decode() + "]",
                "batch_id": batch_id,
                "dedup_from": first_day - timedelta(days=1),
                "dedup_until": last_day + timedelta(days=2),
            },
        )
        counted = cursor.fetchall()
    for project_id, hour, count, days in counted:
        if days is None:
            result.received[project_id, hour] += count
        else:
            result.stored[project_id, hour] += count
            result.days.update(days)


def _bury(row: bytes, attempt: int, result: Stored, meaning: retry.BadData) -> None:
    try:
        envelope: Envelope | None = decode(row)
    except msgspec.MsgspecError:
        envelope = None
    received_at = datetime.fromisoformat(envelope.received_at) if envelope else datetime.now(UTC)
    DeadLetter.objects.create(
        project_id=envelope.project_id if envelope else None,
        event_id=envelope.event_id if envelope else None,
        name=envelope.name[:200] if envelope else "",
        payload=row,
        code=Code.DATA_ERROR,
        sqlstate=meaning.sqlstate,
        field=meaning.field or "",
        error=meaning.detail,
        stage="store",
        attempts=attempt + 1,
        received_at=received_at,
        fingerprint=hashlib.sha256(
            f"{Code.DATA_ERROR}:{meaning.sqlstate}:{meaning.field}".encode()
        ).hexdigest()[:16],
    )
    hour = ((envelope.project_id if envelope else 0), received_at.replace(minute=0, second=0, microsecond=0))
    result.received[hour] += 1
    result.dead[hour] += 1


# Last in the transaction and sorted: the ledger's rows are the ones that concurrent batches share.
COUNT: Final = """
INSERT INTO events_ledger (project_id, hour, accepted, stored, duplicate, dead)
SELECT p, h, 0, s, u, d FROM unnest(%s::bigint[], %s::timestamptz[], %s::bigint[], %s::bigint[], %s::bigint[]) AS c(p, h, s, u, d)
ORDER BY p, h
ON CONFLICT (project_id, hour) DO UPDATE SET stored = events_ledger.stored + excluded.stored,
    duplicate = events_ledger.duplicate + excluded.duplicate, dead = events_ledger.dead + excluded.dead
"""


def _close(batch_id: int, slot: int, attempt: int, result: Stored) -> None:
    Batch.objects.create(
        id=batch_id,
        slot=slot,
        attempts=attempt + 1,
        events=result.received.total(),
        stored=result.stored.total(),
        duplicate=result.duplicates,
        dead=result.dead.total(),
        days=sorted(result.days),
    )
    hours = sorted(result.received)
    counts: list[list[Any]] = [
        [project_id for project_id, _ in hours],
        [hour for _, hour in hours],
        [result.stored[hour] for hour in hours],
        [result.received[hour] - result.stored[hour] - result.dead[hour] for hour in hours],
        [result.dead[hour] for hour in hours],
    ]
    with connection.cursor() as cursor:
        cursor.execute(COUNT, counts)


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _midnight(ms: int) -> datetime:
    return _moment(ms).replace(hour=0, minute=0, second=0, microsecond=0)
