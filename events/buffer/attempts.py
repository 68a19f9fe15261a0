"""Failed attempts at the batch that a slot has: when, and why. A dead letter of that batch takes them along.

They lie here because the database may be what failed, and because what tried may have died.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis

from events.buffer.keys import attempts_key, now_text, run


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that failed. `number` counts from 1; those between the first and the latest 19 are not kept.

    `had_batch` is False where it failed before it had claimed one: then it concerns what waited at that time.
    """

    number: int
    at: datetime
    sqlstate: str
    error: str
    had_batch: bool

    def concerns(self, received_at: datetime) -> bool:
        """Says whether an event of the batch, accepted then, was part of it."""
        return self.had_batch or self.at >= received_at


def note_attempt(client: redis.Redis, slot: int, ids: Sequence[str], *, sqlstate: str, error: str) -> None:
    """Keeps a failed attempt at these entries; none: it failed before it had claimed any."""
    first, last = (ids[0], ids[-1]) if ids else ("", "")
    run(client, "attempts", [attempts_key(slot)], [now_text(), first, last, sqlstate, error[:500]])


def attempts_of(fields: Sequence[bytes], ids: Sequence[str]) -> list[Attempt]:
    """Takes what a slot keeps, names and values in turns, returns the attempts at these entries, the earliest first."""
    kept: list[dict[str, Any]] = [
        json.loads(value) for name, value in zip(fields[::2], fields[1::2], strict=True) if name != b"n"
    ]
    return [
        Attempt(
            int(one["n"]),
            datetime.fromisoformat(one["at"]),
            one["sqlstate"],
            one["error"],
            bool(one["last"]),
        )
        for one in sorted(kept, key=lambda one: int(one["n"]))
        if ids and (not one["last"] or _meet(one["first"], one["last"], ids))
    ]


def attempts(client: redis.Redis, slot: int, entry_id: str) -> list[Attempt]:
    """Returns the failed attempts at one entry that a slot has. Raises redis.RedisError."""
    fields: Any = client.hgetall(attempts_key(slot))
    return attempts_of([part for pair in fields.items() for part in pair], [entry_id])


def _meet(first: str, last: str, ids: Sequence[str]) -> bool:
    """A slot takes its entries in their order: a batch is all between its first and its last."""
    return _order(first) <= _order(ids[-1]) and _order(ids[0]) <= _order(last)


def _order(entry_id: str) -> tuple[int, int]:
    ms, _, seq = entry_id.partition("-")
    return int(ms), int(seq)
