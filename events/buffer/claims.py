"""Claim and ack: a slot's batch out of the stream, and its end."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from django.conf import settings

from events.buffer.attempts import Attempt, attempts_of
from events.buffer.keys import (
    BURY_LEAVE,
    CRASHES,
    DEPTH,
    EPOCH,
    GROUP,
    KILLERS,
    PAUSED,
    PROGRESS,
    STREAM,
    WINDOW,
    attempts_key,
    consumer,
    failure_key,
    now_ms,
    now_text,
    row_key,
    run,
    work_key,
)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A slot's batch. `payloads` are comma-separated envelopes without brackets, one for each entry id.

    `attempts`: those that failed at it before, the earliest first.
    """

    epoch: str = ""
    ids: list[str] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    events: int = 0
    first_ms: int = 0
    last_ms: int = 0
    redelivered: bool = False
    more: bool = False
    failed_before: bool = False
    deaths: int = 0
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Acked:
    """`deleted`: entries that this call deleted; `more`: others wait that no slot has claimed."""

    deleted: int
    more: bool


def claim(
    client: redis.Redis, slot: int, *, max_events: int | None = None, max_bytes: int | None = None
) -> Claimed:
    """Returns the slot's next batch, its own unfinished one first. A crash after it leaves the batch with the slot."""
    args: list[Any] = [
        GROUP,
        consumer(slot),
        max_events or settings.EVENTS_BATCH_SIZE,
        max_bytes or settings.EVENTS_BATCH_MAX_BYTES,
        str(uuid.uuid4()),
        now_text(),
    ]
    keys = [STREAM, EPOCH, failure_key(slot), work_key(slot), CRASHES, PAUSED, attempts_key(slot)]
    reply = run(client, "claim", keys, args)
    epoch, redelivered, more, failed, deaths, entries, failed_attempts = reply
    read = [_fields(entry) for entry in entries]
    ids = [entry[0].decode() for entry in entries]
    return Claimed(
        epoch=epoch.decode(),
        ids=ids,
        payloads=[fields[b"d"] for fields in read],
        events=sum(int(fields[b"n"]) for fields in read),
        first_ms=min((int(fields[b"t"]) for fields in read), default=0),
        last_ms=max((int(fields[b"u"]) for fields in read), default=0),
        redelivered=bool(redelivered),
        more=bool(more),
        failed_before=bool(failed),
        deaths=int(deaths),
        attempts=attempts_of(failed_attempts, ids),
    )


def ack(
    client: redis.Redis,
    slot: int,
    ids: Sequence[str],
    *,
    events: int,
    dead: int = 0,
    dead_projects: Iterable[int] = (),
) -> Acked:
    """Deletes entries that are stored. Safe to call twice.

    `events` and `dead` of the batch feed the breaker: it pauses draining when half of the last 1,000 failed as data.
    """
    keys = [STREAM, DEPTH, PROGRESS, work_key(slot), CRASHES, WINDOW, PAUSED, BURY_LEAVE]
    projects = " ".join(str(project_id) for project_id in sorted(dead_projects))
    deleted, waits = run(client, "ack", keys, [GROUP, now_ms(), events, dead, projects, *ids])
    return Acked(int(deleted), bool(waits))


def give_up(client: redis.Redis, slot: int) -> None:
    """The slot's run ended with an error that was caught: its batch waits, and no worker died at it."""
    client.delete(work_key(slot))


def killers(client: redis.Redis, slot: int, entry_id: str) -> set[int]:
    """Returns the places of those events of an entry that a worker died at, the last one's mark included."""
    mark: Any = client.getdel(row_key(slot))
    known: Any = client.hget(KILLERS, entry_id)
    places = {int(place) for place in (known or b"").split()}
    if mark and mark.split()[0].decode() == entry_id:
        places.add(int(mark.split()[1]))
        client.hset(KILLERS, entry_id, " ".join(map(str, sorted(places))))
    return places


def mark_event(client: redis.Redis, slot: int, entry_id: str, place: int) -> None:
    """Says which one event the slot's run is at."""
    client.set(row_key(slot), f"{entry_id} {place}")


def unmark(client: redis.Redis, slot: int, entry_id: str) -> None:
    """The entry is done with."""
    pipe = client.pipeline(transaction=False)
    pipe.delete(row_key(slot))
    pipe.hdel(KILLERS, entry_id)
    pipe.execute()


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has an entry: its slot, for how long nothing was heard of it, and how many workers died at it."""

    slot: str
    idle_ms: int
    deaths: int


def holder(client: redis.Redis, entry_id: str) -> Holder | None:
    """Returns who claimed an entry, None where nobody did. Raises redis.RedisError."""
    try:
        pending: Any = client.xpending_range(STREAM, GROUP, entry_id, entry_id, 1)
    except redis.ResponseError:  # no group yet
        return None
    if not pending:
        return None
    deaths: Any = client.hget(CRASHES, entry_id)
    return Holder(pending[0]["consumer"].decode(), int(pending[0]["time_since_delivered"]), int(deaths or 0))


def _fields(entry: list[Any]) -> dict[bytes, bytes]:
    flat = entry[1]
    return dict(zip(flat[::2], flat[1::2], strict=True))
