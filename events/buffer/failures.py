"""Failed runs, noted here because the database may be what failed."""

import time

import redis

from events.buffer.keys import MAX_SLOTS, attempts_key, failure_key, run


def record_failure(client: redis.Redis, slot: int, *, attempts: int, sqlstate: str, error: str) -> None:
    key, now = failure_key(slot), str(time.time())
    pipe = client.pipeline(transaction=True)  # whole or not at all, for the tick reads it at any moment
    pipe.hsetnx(key, "first_at", now)
    pipe.hset(
        key,
        mapping={
            "last_at": now,
            "attempts": attempts,
            "sqlstate": sqlstate,
            "error": error[:500],
            "healed_at": "",
        },
    )
    pipe.execute()


def record_healed(client: redis.Redis, slot: int, *, last_id: str = "") -> None:
    """The slot's batch is stored: the failure is over, attempts at what lies up to that entry are forgotten."""
    run(client, "healed", [failure_key(slot), attempts_key(slot)], [str(time.time()), last_id])


def failures(client: redis.Redis) -> dict[int, dict[str, str]]:
    """Returns each slot's failed run, by slot: first_at, last_at, attempts, sqlstate, error, healed_at ("" while it waits)."""
    found = {}
    for slot in range(MAX_SLOTS):
        fields: dict[bytes, bytes] = client.hgetall(failure_key(slot))  # type: ignore[assignment]
        if b"first_at" in fields:
            found[slot] = {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
    return found


def forget_failure(client: redis.Redis, slot: int) -> None:
    client.delete(failure_key(slot))
