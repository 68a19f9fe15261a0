"""What is wrong right now, kept where the web process reads it while the database is away."""

import json
from typing import Final

import redis

from events.buffer.keys import EPOCH, STREAM

ALARMS: Final = "es:alarms"  # hash: name -> text
SUSPECTS: Final = "es:suspects"  # JSON: hours that did not balance when last looked at, each with its counts
UNBALANCED: Final = (
    "es:unbalanced"  # hash: "project hour" -> difference, of hours that do not balance though nothing moves
)
DUE: Final = "es:due:"  # + name; exists while something is not due again


def set_alarm(client: redis.Redis, name: str, text: str) -> None:
    """Keeps an alarm; an empty text ends it."""
    if text:
        client.hset(ALARMS, name, text)
    else:
        client.hdel(ALARMS, name)


def alarms(client: redis.Redis) -> dict[str, str]:
    kept: dict[bytes, bytes] = client.hgetall(ALARMS)  # type: ignore[assignment]
    return {name.decode(): text.decode() for name, text in kept.items()}


def is_due(client: redis.Redis, name: str, *, every_seconds: int) -> bool:
    """Says yes once in that time, to one of all who ask."""
    return bool(client.set(DUE + name, "1", nx=True, ex=every_seconds))


def exchange_suspects(client: redis.Redis, counts: dict[str, list[int]]) -> dict[str, list[int]]:
    """Keeps these for the next look, returns those of the last."""
    before: bytes | None = client.getset(SUSPECTS, json.dumps(counts))  # type: ignore[assignment]
    kept: dict[str, list[int]] = json.loads(before or b"{}")
    return kept


def keep_unbalanced(client: redis.Redis, differences: dict[str, int]) -> None:
    """Replaces what the ledger's last check found."""
    pipe = client.pipeline()
    pipe.delete(UNBALANCED)
    if differences:
        pipe.hset(UNBALANCED, mapping=differences)  # type: ignore[arg-type]
    pipe.execute()


def unbalanced(client: redis.Redis) -> dict[str, int]:
    """Returns what the ledger's last check found: "project hour" -> difference."""
    kept: dict[bytes, bytes] = client.hgetall(UNBALANCED)  # type: ignore[assignment]
    return {name.decode(): int(number) for name, number in kept.items()}


def place(client: redis.Redis) -> tuple[str | None, int, int]:
    """Returns the queue's epoch and the last entry id it gave out, in two numbers."""
    epoch: bytes | None = client.get(EPOCH)  # type: ignore[assignment]
    try:
        last: bytes = client.xinfo_stream(STREAM)["last-generated-id"]
    except redis.ResponseError:  # no stream yet
        last = b"0-0"
    ms, _, seq = last.partition(b"-")
    return epoch.decode() if epoch else None, int(ms), int(seq)
