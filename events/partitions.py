"""Daily partitions of the events table, on `received_at`: made ahead, verified, and dropped whole one day."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import connection, transaction

DEFAULT: Final = "events_event_default"
LOCK: Final = 0x45530003
# Any other DDL on the parent waits behind running inserts, and new inserts behind it: better to come again later.
LOCK_SECONDS: Final = 5
DROP_LOCK_SECONDS: Final = 2  # the same for dropping, which nobody waits for


@dataclass(frozen=True, slots=True)
class Ensured:
    """`created`: partitions made now; `in_default`: rows found in the default partition, which ought to stay empty."""

    created: list[str]
    in_default: int


class UnsafePartition(Exception):
    """A partition without its unique index would store duplicates silently."""


def ensure(today: date | None = None) -> Ensured:
    """Makes the partitions of yesterday to some days ahead, moves rows out of the default one and verifies every leaf.

    Safe to run at any time and twice at once. Raises UnsafePartition.
    """
    start = today or datetime.now(UTC).date()
    days = [start + timedelta(days=n) for n in range(-1, settings.EVENTS_PARTITIONS_AHEAD_DAYS + 1)]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'; SELECT pg_advisory_xact_lock(%s, 0)", [LOCK]
        )
        cursor.execute(
            f"SELECT DISTINCT (received_at AT TIME ZONE 'UTC')::date, count(*) FROM {DEFAULT} GROUP BY 1"
        )
        stray = dict(cursor.fetchall())
        existing = leaves()
        missing = sorted({day for day in [*days, *stray] if name(day) not in existing})
        if stray:
            _remake_default(missing)
        else:
            for day in missing:
                _create(day)
        verify()
    return Ensured([name(day) for day in missing], sum(stray.values()))


def name(day: date) -> str:
    return f"events_event_{day:%Y%m%d}"


def leaves() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'events_event'::regclass"
        )
        return {row[0] for row in cursor.fetchall()}


def days() -> list[date]:
    """The days that have a partition, the oldest first."""
    prefix = DEFAULT.removesuffix("default")
    names = (leaf.removeprefix(prefix) for leaf in leaves() if leaf != DEFAULT)
    return sorted(datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date() for day in names)


def verify() -> None:
    """Raises UnsafePartition when a leaf has no valid unique index on (event_id, project_id)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'events_event'::regclass AND NOT EXISTS ("
            "  SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indpred IS NULL"
            "  AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a"
            "       WHERE a.attrelid = c.oid AND a.attnum = ANY(x.indkey)) = ARRAY['event_id', 'project_id'])"
        )
        if unsafe := [row[0] for row in cursor.fetchall()]:
            raise UnsafePartition(f"no unique index on (event_id, project_id): {', '.join(sorted(unsafe))}")


def drop(day: date) -> bool:
    """Within a transaction: drops a day whole. False where a batch that is not sealed has rows in it, and nothing is done.

    Raises OperationalError where others hold on to the table for seconds.
    """
    table = name(day)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SET LOCAL lock_timeout = '{DROP_LOCK_SECONDS}s'; SELECT pg_advisory_xact_lock(%s, 0)", [LOCK]
        )
        if holds_unsealed(day):
            return False
        # The parent first, as inserts do. With these locks nobody has rows in it that are not committed.
        for locked in ("events_event", table):
            cursor.execute(f"LOCK TABLE ONLY {locked} IN ACCESS EXCLUSIVE MODE")
        if holds_unsealed(day):
            return False
        cursor.execute(f"ALTER TABLE events_event DETACH PARTITION {table}; DROP TABLE {table}")
    return True


def holds_unsealed(day: date) -> bool:
    """Whether a batch that is not sealed has rows in it. Plan: the few such batches, then the BRIN index of batch_id."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS (SELECT FROM {name(day)} WHERE batch_id ="
            " ANY (ARRAY(SELECT id FROM events_batch WHERE seal IS NULL)))"
        )
        return bool(cursor.fetchone()[0])


def _create(day: date) -> None:
    """The table, its unique index and its place in the parent, in the caller's transaction."""
    table = name(day)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table} (LIKE events_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        cursor.execute(f"CREATE UNIQUE INDEX {table}_event ON {table} (event_id, project_id)")
        _attach(day)


def _attach(day: date) -> None:
    until = day + timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(
            f"ALTER TABLE events_event ATTACH PARTITION {name(day)}"
            f" FOR VALUES FROM ('{day} 00:00:00+00') TO ('{until} 00:00:00+00')"
        )


def _remake_default(missing: list[date]) -> None:
    """A partition cannot be attached over rows that the default one holds: detach it, move the rows, put it back."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE events_event DETACH PARTITION {DEFAULT}")
        for day in missing:
            _create(day)
        # An id that the day's partition holds already was stored twice only because nobody made the partition in time.
        cursor.execute(
            f"INSERT INTO events_event OVERRIDING SYSTEM VALUE SELECT * FROM {DEFAULT} ON CONFLICT DO NOTHING"
        )
        cursor.execute(f"TRUNCATE {DEFAULT}")
        cursor.execute(f"ALTER TABLE events_event ATTACH PARTITION {DEFAULT} DEFAULT")
