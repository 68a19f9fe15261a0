"""Store: one transaction that holds the rows, the dead letters and the counts of what really happened."""

import re
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction

from events import retry
from events.buffer import Claimed
from events.codes import Code
from events.envelope import split
from events.models import Batch, DeadLetter
from events.plan.held import OfProject, hold
from events.plan.tally import OffPlan

SLOT_LOCK: Final = 0x45530001  # pg_advisory_xact_lock(class, slot)
DEDUP_LOCK: Final = 0x45530002
TRANSACTION_SECONDS: Final = 15  # fences a worker that froze while it held its slot: ends its connection
STATEMENT_SECONDS: Final = (
    12  # before that, so that a batch too large for its time is told from a lost connection
)
BREAKER_EVENTS: Final = 500  # half of the last 1,000
MAX_ATTEMPTS: Final = 2**15 - 1  # a smallint: half a day of an attempt a second
# An envelope is encoded in this order, so the first match is the event's own.
_LABEL: Final = {
    "project_id": re.compile(rb'"project_id":(\d{1,18})[,}]'),
    "event_id": re.compile(rb'"event_id":"([0-9a-f-]{36})"'),
    "name": re.compile(rb'"name":"([^"\\]*)'),
    "received_at": re.compile(rb'"received_at":"([0-9T:.Z-]{27})"'),
}
MIDNIGHT_MARGIN: Final = timedelta(minutes=10)

Hour = tuple[int, datetime]  # of one project; the hour of receipt


class TooManyFailures(Exception):
    """Half of a thousand events failed as data, in several projects: the code is wrong, not the data."""


@dataclass(slots=True)
class Stored:
    """What one transaction did. `received`, `stored` and `dead` count events by project and hour of receipt."""

    received: Counter[Hour] = field(default_factory=Counter)
    stored: Counter[Hour] = field(default_factory=Counter)
    dead: Counter[Hour] = field(default_factory=Counter)
    days: set[date] = field(default_factory=set)
    batch_id: int = 0
    first_id: int | None = None  # of its rows
    last_id: int | None = None
    bytes: int = 0  # as they lay in the queue
    off_plan: list[OffPlan] = field(
        default_factory=list
    )  # dead, because their project's tracking plan wants them so
    failed: Counter[int] = field(default_factory=Counter)  # dead by project, without those

    @property
    def duplicates(self) -> int:
        return self.received.total() - self.stored.total() - self.dead.total()


def take_slot(slot: int) -> bool:
    """Within the store transaction: fences it, makes its commit durable, takes the slot. False: another has it."""
    with connection.cursor() as cursor:
        # synchronous_commit is no knob: an entry is deleted from the queue once this commit is acknowledged.
        cursor.execute(
            f"SET LOCAL synchronous_commit = on; SET LOCAL transaction_timeout = '{TRANSACTION_SECONDS}s';"
            f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s';"
            f"SET LOCAL idle_in_transaction_session_timeout = '{TRANSACTION_SECONDS}s';"
            # The anti-join by index, whatever the statistics of a day's young partition say.
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;"
            "SELECT pg_try_advisory_xact_lock(%s, %s)",
            [SLOT_LOCK, slot],
        )
        return bool(cursor.fetchone()[0])


def store(
    batch: Claimed,
    *,
    slot: int,
    attempt: int = 0,
    may_bury_all: bool = False,
    plan_of: OfProject | None = None,
) -> Stored:
    """Takes a claimed batch inside the transaction that holds its slot, returns what it did.

    Durable once that transaction commits: rows, dead letters, counts, and the mark that these entries were stored.
    A crash before leaves nothing; after it, a redelivered entry is known by its mark and only acked.
    Raises what the database raises for infrastructure errors, and TooManyFailures; a bad row is buried, not raised, and
    so is one that does not follow what `plan_of` its project asks.
    """
    batch_id, fresh = _enter(batch)
    payloads = [
        payload for entry_id, payload in zip(batch.ids, batch.payloads, strict=True) if entry_id in fresh
    ]
    work = _Work(batch, batch_id, slot, attempt, may_bury_all)
    if payloads:
        if plan_of:
            payloads = work.hold_to_plans(payloads, plan_of)
        if payloads:
            work.insert(payloads)
        work.close()
    return work.result


def store_singly(
    batch: Claimed,
    *,
    slot: int,
    killers: Container[int],
    mark: Callable[[int], None],
    attempt: int = 0,
    plan_of: OfProject | None = None,
) -> Stored:
    """Like `store`, for an entry that workers died at: each event on its own, its place marked before.

    Events at the places in `killers` are buried unparsed. A crash leaves nothing but the mark.
    """
    batch_id, fresh = _enter(batch)
    work = _Work(batch, batch_id, slot, attempt, may_bury_all=True)
    if fresh:
        for place, row in enumerate(_rows(batch.payloads)):
            if place in killers:
                work.bury(row, Code.WORKER_KILLED, "A worker died each time it came to this event.")
            else:
                mark(place)
                if kept := work.hold_to_plans([row], plan_of) if plan_of else [row]:
                    work.insert(kept)
        work.close()
    return work.result


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
    RETURNING id, project_id, received_at, occurred_at
)
SELECT project_id, date_trunc('hour', received_at, 'UTC') AS hour, count(*), NULL, NULL, NULL
FROM sent GROUP BY 1, 2
UNION ALL
SELECT project_id, date_trunc('hour', received_at, 'UTC'), count(*), array_agg(DISTINCT (occurred_at AT TIME ZONE 'UTC')::date),
    min(id), max(id)
FROM stored GROUP BY 1, 2
"""


# Last in the transaction and sorted: the ledger's rows are the ones that concurrent batches share.
COUNT: Final = """
INSERT INTO events_ledger (project_id, hour, accepted, stored, duplicate, dead)
SELECT p, h, 0, s, u, d FROM unnest(%s::bigint[], %s::timestamptz[], %s::bigint[], %s::bigint[], %s::bigint[]) AS c(p, h, s, u, d)
ORDER BY p, h
ON CONFLICT (project_id, hour) DO UPDATE SET stored = events_ledger.stored + excluded.stored,
    duplicate = events_ledger.duplicate + excluded.duplicate, dead = events_ledger.dead + excluded.dead
"""


@dataclass(slots=True)
class _Work:
    """One transaction's work on one batch."""

    batch: Claimed
    batch_id: int
    slot: int
    attempt: int
    may_bury_all: bool
    result: Stored = field(default_factory=Stored)

    def insert(self, payloads: list[bytes]) -> None:
        """Stores what is taken and buries, by bisection, what alone is refused."""
        try:
            with transaction.atomic():
                self._insert_rows(payloads)
        except Exception as error:
            meaning = retry.classify(error)
            if not isinstance(meaning, retry.BadData):
                raise
            rows = _rows(payloads)
            if len(rows) == 1:
                self.bury(rows[0], Code.DATA_ERROR, meaning.detail, meaning)
                return
            for half in retry.halves(rows):
                self.insert(half)

    def bury(self, row: bytes, code: Code, detail: str, meaning: retry.BadData | None = None) -> None:
        """Writes the dead letter of one event; its envelope is kept as it is, parsed only as far as its label goes."""
        letter = self._letter(row, code, detail, meaning)
        letter.save(force_insert=True)
        failed = self.result.failed
        failed[letter.project_id or 0] += 1
        if len(failed) > 1 and not self.may_bury_all and failed.total() >= BREAKER_EVENTS:
            raise TooManyFailures(f"{failed.total()} events of one batch failed as data: {detail}")

    def hold_to_plans(self, payloads: list[bytes], plan_of: OfProject) -> list[bytes]:
        """Buries what does not follow the tracking plan of its project; returns the rest."""
        held = hold(payloads, plan_of)
        letters = []
        for row, found in held.off_plan:
            violation, check = found.violation, found.check
            detail = f"{violation.detail} Tracking plan of {check.name!r}, version {check.version}."
            meaning = retry.BadData("", detail, violation.group)
            letter = self._letter(row, Code.PLAN_VIOLATION, detail, meaning)
            letter.failures[-1]["plan_version"] = check.version
            letters.append(letter)
            self.result.off_plan.append(found)
        DeadLetter.objects.bulk_create(letters, batch_size=500)
        return held.kept

    def _letter(self, row: bytes, code: Code, detail: str, meaning: retry.BadData | None) -> DeadLetter:
        """The dead letter of one event, counted, not yet written."""
        label = _label(row)
        sqlstate, field_name = (meaning.sqlstate, meaning.field or "") if meaning else ("", "")
        failures = _failures(self.batch, label.received_at, code, sqlstate, detail)
        hour = label.project_id or 0, label.received_at.replace(minute=0, second=0, microsecond=0)
        self.result.received[hour] += 1
        self.result.dead[hour] += 1
        return DeadLetter(
            project_id=label.project_id,
            event_id=label.event_id,
            name=label.name,
            payload=row,
            code=code,
            sqlstate=sqlstate,
            field=field_name,
            error=detail,
            stage="store",
            attempts=min(failures[-1]["attempt"], MAX_ATTEMPTS),
            failures=failures,
            first_failed_at=datetime.fromisoformat(failures[0]["at"]),
            last_failed_at=datetime.fromisoformat(failures[-1]["at"]),
            received_at=label.received_at,
            fingerprint=retry.fingerprint(code, sqlstate, field_name, detail),
        )

    def close(self) -> None:
        """Writes the batch row and the ledger's counts."""
        result = self.result
        result.batch_id = self.batch_id
        Batch.objects.create(
            id=self.batch_id,
            slot=self.slot,
            attempts=self.attempt + 1,
            events=result.received.total(),
            stored=result.stored.total(),
            duplicate=result.duplicates,
            dead=result.dead.total(),
            days=sorted(result.days),
            first_id=result.first_id,
            last_id=result.last_id,
            bytes=result.bytes,
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

    def _insert_rows(self, rows: list[bytes]) -> None:
        values: dict[str, Any] = {
            "rows": "[" + b",".join(rows).decode() + "]",
            "batch_id": self.batch_id,
            "dedup_from": _midnight(self.batch.first_ms) - timedelta(days=1),
            "dedup_until": _midnight(self.batch.last_ms) + timedelta(days=2),
        }
        with connection.cursor() as cursor:
            cursor.execute(INSERT_ROWS, values)
            counted = cursor.fetchall()
        self.result.bytes += sum(map(len, rows))
        for project_id, hour, count, days, first_id, last_id in counted:
            if days is None:
                self.result.received[project_id, hour] += count
            else:
                self.result.stored[project_id, hour] += count
                self.result.days.update(days)
                self.result.first_id = min(self.result.first_id or first_id, first_id)
                self.result.last_id = max(self.result.last_id or last_id, last_id)


@dataclass(frozen=True, slots=True)
class _Label:
    project_id: int | None
    event_id: str | None
    name: str
    received_at: datetime


def _label(row: bytes) -> _Label:
    """What a dead letter is found by, read without decoding the event, which may be what kills."""
    found = {
        name: match[1].decode(errors="replace")
        for name, form in _LABEL.items()
        if (match := form.search(row))
    }
    return _Label(
        int(found["project_id"]) if "project_id" in found else None,
        found.get("event_id"),
        found.get("name", "")[:200],
        datetime.fromisoformat(found["received_at"]) if "received_at" in found else datetime.now(UTC),
    )


def _failures(
    batch: Claimed, received_at: datetime, code: Code, sqlstate: str, detail: str
) -> list[dict[str, Any]]:
    """Every failed attempt at an event, the earliest first: those of its batch before, and the one that buries it."""
    before = [one for one in batch.attempts if one.concerns(received_at)]
    first = before[0].number if before else 1
    failures: list[dict[str, Any]] = [
        {
            "attempt": one.number - first + 1,
            "at": one.at.isoformat(),
            "sqlstate": one.sqlstate,
            "error": one.error,
        }
        for one in before
    ]
    # An event that workers died at is buried untried: the deaths are its attempts.
    if code != Code.WORKER_KILLED or not failures:
        made = failures[-1]["attempt"] if failures else 0
        now = datetime.now(UTC).isoformat()
        failures.append({"attempt": made + 1, "at": now, "sqlstate": sqlstate, "error": detail[:500]})
    return failures


def _rows(payloads: list[bytes]) -> list[bytes]:
    return [bytes(row) for payload in payloads for row in split(b"[" + payload + b"]")]


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _midnight(ms: int) -> datetime:
    return _moment(ms).replace(hour=0, minute=0, second=0, microsecond=0)
