"""Pause, resume, purge, and what is refused: the queue as operators handle it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import redis
import redis.asyncio

from events.buffer.keys import BURY_LEAVE, PAUSED, REJECTED, STREAM, WINDOW

BURY_LEAVE_SECONDS = 600


def pause(client: redis.Redis, reason: str) -> None:
    """Nothing is claimed from now on; events are accepted up to the bound. Survives restarts."""
    client.set(PAUSED, reason)


def paused(client: redis.Redis) -> str | None:
    """Returns why draining is paused, None when it is not."""
    reason: bytes | None = client.get(PAUSED)  # type: ignore[assignment]
    return None if reason is None else reason.decode(errors="replace")


def resume(client: redis.Redis, *, bury: bool = False) -> bool:
    """Drains again; returns whether it was paused. `bury`: for ten minutes whatever fails as data is buried, however much."""
    pipe = client.pipeline()
    pipe.delete(PAUSED)
    pipe.delete(WINDOW)
    if bury:
        pipe.set(BURY_LEAVE, "1", ex=BURY_LEAVE_SECONDS)
    return bool(pipe.execute()[0])


def entries(client: redis.Redis, *, at_a_time: int = 50) -> Iterator[tuple[str, int, int, bytes]]:
    """Every entry held: its id, project, events, and its comma-separated envelopes. For a purge."""
    page: Any = client.xrange(STREAM, "-", "+", count=at_a_time)
    while page:
        for entry_id, fields in page:
            yield entry_id.decode(), int(fields[b"p"]), int(fields[b"n"]), fields[b"d"]
        page = client.xrange(STREAM, f"({entry_id.decode()}", "+", count=at_a_time)


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
