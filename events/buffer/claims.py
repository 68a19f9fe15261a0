"""Claim and ack: a slot's batch out of the stream, and its end."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import redis
from django.conf import settings

from events.buffer.keys import DEPTH, EPOCH, GROUP, PROGRESS, STREAM, consumer, failure_key, now_ms, run


@dataclass(frozen=True, slots=True)
class Claimed:
    """A slot's batch. `payloads` are comma-separated envelopes without brackets, one for each entry id."""

    epoch: str = ""
    ids: list[str] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    events: int = 0
    first_ms: int = 0
    last_ms: int = 0
    redelivered: bool = False
    more: bool = False
    failed_before: bool = False


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
    ]
    reply = run(client, "claim", [STREAM, EPOCH, failure_key(slot)], args)
    epoch, redelivered, more, failed, entries = reply
    read = [_fields(entry) for entry in entries]
    return Claimed(
        epoch=epoch.decode(),
        ids=[entry[0].decode() for entry in entries],
        payloads=[fields[b"d"] for fields in read],
        events=sum(int(fields[b"n"]) for fields in read),
        first_ms=min((int(fields[b"t"]) for fields in read), default=0),
        last_ms=max((int(fields[b"u"]) for fields in read), default=0),
        redelivered=bool(redelivered),
        more=bool(more),
        failed_before=bool(failed),
    )


def ack(client: redis.Redis, ids: Iterable[str]) -> int:
    """Deletes entries that are stored; returns how many were still there. Safe to call twice."""
    return int(run(client, "ack", [STREAM, DEPTH, PROGRESS], [GROUP, now_ms(), *ids]))


def _fields(entry: list[Any]) -> dict[bytes, bytes]:
    flat = entry[1]
    return dict(zip(flat[::2], flat[1::2], strict=True))
