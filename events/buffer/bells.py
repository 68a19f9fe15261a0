"""Bells and holds: which slot to wake, and which to leave alone."""

import redis
from django.conf import settings

from events.buffer.keys import DRAIN_LIST, PROGRESS, STREAM, bell, hold_key, now_ms


def silence(client: redis.Redis, slot: int) -> None:
    """A drain starts: the next push rings again. Before the claim, or a wake-up would be lost."""
    client.delete(bell(slot))


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
    waiting, messages, progress = pipe.execute()
    if not waiting or messages or now_ms() - int(progress or 0) < idle_seconds * 1000:
        return []
    return [slot for slot in range(settings.EVENTS_DRAIN_SLOTS) if not is_held(client, slot)]
