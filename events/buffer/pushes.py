"""Push: units of encoded envelopes into the stream, each whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import redis
import redis.asyncio
from django.conf import settings

from events.buffer.keys import (
    ACCEPTED,
    BUCKETS,
    DAY,
    DEPTH,
    DRAIN_LIST,
    PAUSED,
    STREAM,
    bell,
    hold_key,
    run,
    run_async,
)
from projects import quotas

# One entry holds at most this much, unless one event alone is larger: a batch is put together from whole entries.
ENTRY_EVENTS: Final = 250
ENTRY_BYTES: Final = 256 * 1024

TAKEN: Final = "accepted"


@dataclass(slots=True)
class Entry:
    """One stream entry to be: encoded envelopes of one project, with the earliest and latest receipt (epoch ms)."""

    rows: list[bytes] = field(default_factory=list)
    size: int = 1
    first_ms: int = 0
    last_ms: int = 0

    def takes(self, row: bytes, max_events: int) -> bool:
        return not self.rows or (len(self.rows) < max_events and self.size + len(row) < ENTRY_BYTES)

    def add(self, row: bytes, received_ms: int) -> None:
        self.first_ms = min(self.first_ms, received_ms) if self.rows else received_ms
        self.last_ms = max(self.last_ms, received_ms)
        self.size += len(row) + 1
        self.rows.append(row)


@dataclass(slots=True)
class Unit:
    """Entries of one project that are pushed whole or not at all."""

    project_id: int
    hour: int  # since the epoch, of receipt
    entries: list[Entry]

    @property
    def events(self) -> int:
        return sum(len(entry.rows) for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one unit: `accepted`, or why not; `wait_seconds` until it may fit, 0 where the backlog decides."""

    code: str
    wait_seconds: int

    @property
    def is_taken(self) -> bool:
        return self.code == TAKEN


@dataclass(frozen=True, slots=True)
class Pushed:
    """An outcome for each unit, the queue's state, and a slot whose doorbell the caller must ring, or None."""

    outcomes: list[Outcome]
    events: int
    bytes: int
    drained_per_second: float
    ring: int | None


@dataclass(frozen=True, slots=True)
class Depth:
    events: int
    bytes: int
    entries: int
    drained_per_second: float


def unit(project_id: int, rows: Sequence[bytes], received_ms: int) -> Unit:
    """Takes encoded envelopes of one request, returns them in entries of bounded size."""
    entries, max_events = [Entry()], entry_events()
    for row in rows:
        if not entries[-1].takes(row, max_events):
            entries.append(Entry())
        entries[-1].add(row, received_ms)
    return Unit(project_id, hour_of(received_ms), entries)


def entry_events() -> int:
    return min(ENTRY_EVENTS, settings.EVENTS_BATCH_SIZE)


def hour_of(received_ms: int) -> int:
    return received_ms // 3_600_000


def push(client: redis.Redis, batch: Sequence[Unit]) -> Pushed:
    """Takes units, returns what became of each. Durable on return: those that are taken.

    Raises redis.RedisError: then nothing is known.
    """
    keys, args = _push_arguments(batch)
    return _pushed(run(client, "push", keys, args))


async def push_async(client: redis.asyncio.Redis, batch: Sequence[Unit]) -> Pushed:
    """The same on an asyncio client."""
    keys, args = _push_arguments(batch)
    return _pushed(await run_async(client, "push", keys, args))


def depth(client: redis.Redis) -> Depth:
    """Returns what is held now, claimed but unfinished included."""
    pipe = client.pipeline(transaction=False)
    pipe.hmget(DEPTH, ["e", "b", "rate"])
    pipe.xlen(STREAM)
    (events, size, rate), entries = pipe.execute()
    return Depth(int(events or 0), int(size or 0), int(entries), float(rate or 0))


def retry_after_seconds(events: int, drained_per_second: float, jitter: float) -> int:
    """How long the backlog takes to drain, 1 to 60 s.

    `jitter` in 0..1 spreads it over 20 %, so that clients do not return at once.
    """
    seconds = events / drained_per_second if drained_per_second > 0 else 60.0
    return max(1, min(60, round(seconds * (0.9 + 0.2 * jitter))))


def _push_arguments(batch: Sequence[Unit]) -> tuple[list[str], list[Any]]:
    slots = settings.EVENTS_DRAIN_SLOTS
    keys = [STREAM, DEPTH, ACCEPTED, DRAIN_LIST, PAUSED, quotas.MIRROR, BUCKETS, DAY]
    keys += [bell(slot) for slot in range(slots)] + [hold_key(slot) for slot in range(slots)]
    args: list[Any] = [
        settings.EVENTS_QUEUE_MAX_EVENTS,
        settings.EVENTS_QUEUE_MAX_BYTES,
        settings.EVENTS_BATCH_SIZE,
        slots,
        quotas.default().text,
    ]
    for unit in batch:
        payloads = [b",".join(entry.rows) for entry in unit.entries]
        args += [unit.project_id, unit.hour, unit.events, sum(map(len, payloads)), len(payloads)]
        for entry, payload in zip(unit.entries, payloads, strict=True):
            args += [len(entry.rows), entry.first_ms, entry.last_ms, payload]
    return keys, args


def _pushed(reply: list[Any]) -> Pushed:
    events, size, rate, ring, *flat = reply
    return Pushed(
        [Outcome(code.decode(), int(wait)) for code, wait in zip(flat[::2], flat[1::2], strict=True)],
        int(events),
        int(size),
        float(rate),
        int(ring) if int(ring) >= 0 else None,
    )
