"""What PostgreSQL still holds of the events: the days since some midnight. The lake has all that was received before."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import OperationalError, connection, transaction

from events import partitions
from events.insights.shown import postgres_columns

SECONDS: Final = 1.0  # a page that takes longer is asked of the lake
PAGE_BYTES: Final = 8_000_000  # an event may have a megabyte, a page a thousand events
FETCHED_AT_ONCE: Final = 100
QUERY_CANCELED: Final = "57014"


@dataclass(frozen=True, slots=True)
class Place:
    """Of an event in the order of pages, newest first: by `occurred_at` (text as shown), then the row's id."""

    occurred_at: str
    id: int

    @property
    def key(self) -> tuple[str, int]:
        return self.occurred_at, self.id


@dataclass(frozen=True, slots=True)
class Part:
    """Rows (the row's id, then shown.FIELDS) of one engine, newest first; `is_complete`: it has no older ones."""

    rows: list[tuple[Any, ...]]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Held:
    """`since`: PostgreSQL was asked for what was received then or later. `part`: None where that took too long."""

    since: datetime
    part: Part | None


# Plan: per partition the index of (project, time) or (project, name, time) backwards, merged, until the page is full.
_NEWEST: Final = """
SELECT id, {columns} FROM events_event
WHERE project_id = %(project)s AND received_at >= %(held_since)s
    AND occurred_at >= %(since)s AND occurred_at < %(until)s
    AND occurred_at <= %(at)s AND (occurred_at, id) < (%(at)s, %(id)s) AND ({where})
ORDER BY occurred_at DESC, id DESC LIMIT %(limit)s
"""
_BY_ID: Final = """
SELECT id, {columns} FROM events_event WHERE project_id + 0 = %(project)s AND event_id = ANY(%(ids)s::uuid[])
ORDER BY received_at DESC LIMIT 1
"""


def newest(
    project_id: int,
    *,
    since: datetime,
    until: datetime,
    where: str,
    parameters: dict[str, Any],
    before: Place,
    limit: int,
    with_properties: bool,
) -> Held:
    """Returns a project's newest events before a place, at most `limit`, fewer where they are large."""
    started = time.monotonic()
    values = parameters | {
        "project": project_id, "since": since, "until": until, "at": before.occurred_at, "id": before.id, "limit": limit,
    }  # fmt: skip
    held_since = datetime.max.replace(tzinfo=UTC)
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {int(SECONDS * 1000)}")
                # A partition cannot be dropped between the look at what there is and the look into it.
                cursor.execute("LOCK TABLE ONLY events_event IN ACCESS SHARE MODE")
            held_since = _held_since()
            sql = _NEWEST.format(columns=postgres_columns(with_properties=with_properties), where=where)
            with connection.chunked_cursor() as cursor:
                cursor.execute(sql, values | {"held_since": held_since})
                part = _fetched(cursor, limit, until=started + SECONDS)
    except OperationalError as error:
        if getattr(error.__cause__, "pgcode", None) != QUERY_CANCELED:
            raise
        part = None
    return Held(held_since, part)


def by_id(project_id: int, ids: Sequence[str]) -> tuple[Any, ...] | None:
    """Returns the latest row (as in Part) that has one of these event ids, wherever PostgreSQL holds it."""
    with connection.cursor() as cursor:
        cursor.execute(_BY_ID.format(columns=postgres_columns()), {"project": project_id, "ids": list(ids)})
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def _held_since() -> datetime:
    """The midnight since which every day has its partition. Today's rows are held even where it has none yet."""
    existing = partitions.leaves()
    day = datetime.now(UTC).date()
    while partitions.name(day - timedelta(days=1)) in existing:
        day -= timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _fetched(cursor: Any, limit: int, *, until: float) -> Part | None:
    rows: list[tuple[Any, ...]] = []
    size = 0
    while size <= PAGE_BYTES and time.monotonic() <= until:
        some = cursor.fetchmany(FETCHED_AT_ONCE)
        for row in some:
            size += sum(len(text) for text in row[-3:] if text)
            rows.append(row)
            if size > PAGE_BYTES:
                return Part(rows, is_complete=False)
        if len(some) < FETCHED_AT_ONCE:
            return Part(rows, is_complete=len(rows) < limit)
    return None
