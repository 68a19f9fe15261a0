"""Bells and holds: which slot to wake, and which to leave alone."""

from dataclasses import dataclass

import redis
from django.conf import settings

from events.buffer.keys import (
    BURY_LEAVE,
    DRAIN_LIST,
    PAUSED,
    PROGRESS,
    STREAM,
    bell,
    failure_key,
    hold_key,
    now_ms,
)


@dataclass(frozen=True, slots=True)
class Begun:
    """How a slot stands when its run begins; `attempts` and `sqlstate` of a failure that is not healed yet."""

    held: bool
    paused: bool
    may_bury_all: bool
    attempts: int
    sqlstate: str


def begin(client: redis.Redis, slot: int) -> Begun:
    """A run starts: the next push rings again. Before the claim, or a wake-up would be lost."""
    pipe = client.pipeline(transaction=False)
    pipe.delete(bell(slot))
    pipe.exists(hold_key(slot))
    pipe.exists(PAUSED)
    pipe.exists(BURY_LEAVE)
    pipe.hmget(failure_key(slot), ["attempts", "sqlstate", "healed_at"])
    _, held, paused, may_bury_all, (attempts, sqlstate, healed_at) = pipe.execute()
    failing = attempts is not None and not healed_at
    return Begun(
        bool(held),
        bool(paused),
        bool(may_bury_all),
        int(attempts) if failing else 0,
        sqlstate.decode() if failing else "",
    )


def hold(client: redis.Redis, slot: int, *, seconds: int | None) -> None:
    """No rings for this slot while its batch waits for a retry; `None`: until `release`, when the database is back."""
    client.set(hold_key(slot), "retry" if seconds else "wait", ex=seconds)


def is_held(client: redis.Redis, slot: int) -> bool:
    return bool(client.exists(hold_key(slot)))


def release(client: redis.Redis, slot: int, *, waiting_only: bool = False) -> bool:
    """Ends a hold; returns whether there was one. `waiting_only` leaves a retry that is under way alone."""
    if waiting_only and client.get(hold_key(slot)) != b"wait":
        return False
    return bool(client.delete(hold_key(slot)))


def slots_to_ring(client: redis.Redis, *, idle_seconds: float = 2.0) -> list[int]:
    """Slots to wake when events wait, nothing was acked for a while and no message is under way (a lost bell)."""
    pipe = client.pipeline(transaction=False)
    pipe.xlen(STREAM)
    pipe.llen(DRAIN_LIST)
    pipe.get(PROGRESS)
    pipe.exists(PAUSED)
    waiting, messages, progress, paused = pipe.execute()
    if not waiting or messages or paused or now_ms() - int(progress or 0) < idle_seconds * 1000:
        return []
    return [slot for slot in range(settings.EVENTS_DRAIN_SLOTS) if not is_held(client, slot)]
