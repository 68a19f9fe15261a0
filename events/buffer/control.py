"""Pause, resume, purge, and what is refused: the queue as operators handle it."""

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from events.buffer.keys import (
    BURY_LEAVE,
    CRASHES,
    DEPTH,
    EPOCH,
    GROUP,
    KILLERS,
    PAUSED,
    REJECTED,
    RESUMED,
    STREAM,
    WINDOW,
    now_ms,
    run,
    work_key,
)

BURY_LEAVE_SECONDS = 600


def pause(client: redis.Redis, reason: str) -> None:
    """Nothing is claimed from now on; events are accepted up to the bound. Survives restarts, and works at maxmemory."""
    run(client, "keep", [PAUSED], [reason, ""])


def paused(client: redis.Redis) -> str | None:
    """Returns why draining is paused, None when it is not."""
    reason: bytes | None = client.get(PAUSED)  # type: ignore[assignment]
    return None if reason is None else reason.decode(errors="replace")


def resume(client: redis.Redis, *, bury: bool = False) -> bool:
    """Drains again; returns whether it was paused. `bury`: for ten minutes whatever fails as data is buried, however much."""
    run(client, "keep", [RESUMED], [now_ms(), ""])
    pipe = client.pipeline()
    pipe.delete(PAUSED)
    pipe.delete(WINDOW)
    if bury:
        pipe.set(BURY_LEAVE, "1", ex=BURY_LEAVE_SECONDS)
    return bool(pipe.execute()[0])


@dataclass(frozen=True, slots=True)
class Held:
    """An entry as it lies in the queue; `payload` is comma-separated envelopes, `hour` that of receipt since the epoch."""

    id: str
    project_id: int
    hour: int
    events: int
    payload: bytes


def entries(client: redis.Redis, *, at_a_time: int = 50) -> Iterator[Held]:
    """Every entry held now, oldest first, claimed or not. What comes meanwhile is left out. For a purge."""
    last: Any = client.xrevrange(STREAM, count=1)
    page: Any = client.xrange(STREAM, "-", last[0][0], count=at_a_time) if last else []
    while page:
        for entry_id, fields in page:
            hour = int(fields[b"t"]) // 3_600_000
            yield Held(entry_id.decode(), int(fields[b"p"]), hour, int(fields[b"n"]), fields[b"d"])
        page = client.xrange(STREAM, f"({entry_id.decode()}", last[0][0], count=at_a_time)


def discard(client: redis.Redis, ids: list[str]) -> tuple[int, int]:
    """Deletes entries unstored; returns how many entries and events there still were. Works at maxmemory."""
    entries_deleted, events = run(client, "discard", [STREAM, DEPTH, CRASHES, KILLERS], [GROUP, *ids])
    return int(entries_deleted), int(events)


def ensure_epoch(client: redis.Redis) -> str:
    """Returns the stream's epoch, which the first claim makes; a purge may come before it."""
    epoch: bytes = run(client, "keep", [EPOCH], [str(uuid.uuid4()), "1"])
    return epoch.decode()


def forget_work(client: redis.Redis, slots: Iterable[int]) -> None:
    """Drops the marks of runs that died: what they were at is gone."""
    client.delete(*[work_key(slot) for slot in slots])


# --- what was refused, for the ledger -----------------------------------------------------------------------------

Refusals = Mapping[tuple[int, int, str], int]  # (project, hour since the epoch, code) -> events


def count_rejected(client: redis.Redis, refusals: Refusals) -> None:
    """Adds refused events to the ledger's counts. Raises redis.RedisError."""
    pipe = client.pipeline(transaction=False)
    for (project_id, hour, code), events in refusals.items():
        pipe.hincrby(REJECTED, f"{project_id}:{hour}:{code}", events)
    pipe.execute()


async def count_rejected_async(client: redis.asyncio.Redis, refusals: Refusals) -> None:
    """The same on an asyncio client."""
    pipe = client.pipeline(transaction=False)
    for (project_id, hour, code), events in refusals.items():
        pipe.hincrby(REJECTED, f"{project_id}:{hour}:{code}", events)
    await pipe.execute()


def rejected_counts(client: redis.Redis) -> Counter[tuple[int, int, str]]:
    counted: dict[bytes, bytes] = client.hgetall(REJECTED)  # type: ignore[assignment]
    counts: Counter[tuple[int, int, str]] = Counter()
    for name, value in counted.items():
        project_id, hour, code = name.decode().split(":", 2)
        counts[int(project_id), int(hour), code] = int(value)
    return counts
