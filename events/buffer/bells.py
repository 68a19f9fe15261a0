"""Bells and holds: which slot to wake, and which to leave alone."""

from dataclasses import dataclass
from typing import Final

import redis
from django.conf import settings

from events.buffer.keys import (
    BURY_LEAVE,
    DRAIN_LIST,
    GROUP,
    PAUSED,
    PROGRESS,
    STREAM,
    TICKED,
    bell,
    consumer,
    failure_key,
    hold_key,
    now_ms,
    run,
)

FORSAKEN_MS: Final = 4_000  # a batch of 1,000 takes a tenth of a second, one of 8 MB about two


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


def note_tick(client: redis.Redis) -> None:
    """A tick came: its age is watched. Kept at maxmemory too."""
    run(client, "keep", [TICKED], [now_ms(), ""])


def slots_to_ring(
    client: redis.Redis, *, idle_seconds: float = 2.0, forsaken_ms: int = FORSAKEN_MS
) -> list[int]:
    """Slots to wake: all when events wait, nothing was acked for a while and no message is under way (a lost bell).

    Else those that hold a batch and have long not looked at it (its run died, or its retry was lost): the others' progress
    says nothing of it.
    """
    pipe = client.pipeline(transaction=False)
    pipe.xlen(STREAM)
    pipe.llen(DRAIN_LIST)
    pipe.get(PROGRESS)
    pipe.exists(PAUSED)
    waiting, messages, progress, paused = pipe.execute()
    slots = settings.EVENTS_DRAIN_SLOTS
    if not waiting or paused or messages >= slots:  # who does not come for its messages needs no more of them
        return []
    moves = messages or now_ms() - int(progress or 0) < idle_seconds * 1000
    wanted = _forsaken(client, slots, forsaken_ms) if moves else list(range(slots))
    return [slot for slot in wanted if not is_held(client, slot)]


def _forsaken(client: redis.Redis, slots: int, after_ms: int) -> list[int]:
    """Slots whose batch nobody has looked at for longer than a run usually takes. A run that is still at it answers `busy`."""
    try:
        consumers = client.xinfo_consumers(STREAM, GROUP)
    except redis.ResponseError:  # neither stream nor group yet
        return []
    idle = {info["name"].decode() for info in consumers if info["pending"] and info["idle"] >= after_ms}
    return [slot for slot in range(slots) if consumer(slot) in idle]
