"""Care, once a second: what is measured, what is healed, what is copied and forgotten."""

import time
from collections.abc import Iterable
from typing import Any

import redis
from django.conf import settings

from events.buffer.keys import ACCEPTED, DEPTH, GROUP, REJECTED, STREAM, consumer, now_ms, run

HourCounts = dict[tuple[int, int], int]  # (project, hour since the epoch) -> events


def measure_rate(client: redis.Redis) -> float:
    """Keeps the moving average of events drained a second, for Retry-After. Called about once a second."""
    drained, at, before, rate = client.hmget(DEPTH, ["drained", "drained_at", "drained_before", "rate"])
    now, count = time.time(), int(drained or 0)
    seconds = now - float(at or now)
    if seconds > 0.2 or not at:
        latest = max(0, count - int(before or 0)) / seconds if seconds else 0.0
        kept = float(rate or 0)
        # Idle seconds say nothing of how fast it drains; only a backlog does.
        if latest or int(client.hget(DEPTH, "e") or 0):
            kept = 0.8 * kept + 0.2 * latest if kept else latest
        client.hset(DEPTH, mapping={"drained_at": now, "drained_before": count, "rate": f"{kept:.1f}"})
        return kept
    return float(rate or 0)


def heal_counters(client: redis.Redis) -> bool:
    """Counts anew where the counters disagree with the stream (a restored dump); returns whether they did."""
    return bool(run(client, "heal", [STREAM, DEPTH], []))


def adopt_orphans(client: redis.Redis) -> int:
    """Moves what slots that no longer exist have claimed to slot 0; returns how many entries."""
    try:
        consumers = client.xinfo_consumers(STREAM, GROUP)
    except redis.ResponseError:  # neither stream nor group yet
        return 0
    moved = 0
    living = {consumer(slot) for slot in range(settings.EVENTS_DRAIN_SLOTS)}
    for info in consumers:
        name = info["name"].decode()
        if name in living:
            continue
        if pending := client.xpending_range(STREAM, GROUP, "-", "+", 1000, consumername=name):
            ids: Any = [item["message_id"] for item in pending]
            moved += len(client.xclaim(STREAM, GROUP, consumer(0), 0, ids, justid=True))
        else:
            client.xgroup_delconsumer(STREAM, GROUP, name)
    return moved


def accepted_counts(client: redis.Redis) -> HourCounts:
    """Returns events accepted by (project id, hour since the epoch), as the push script counted them."""
    counted: dict[bytes, bytes] = client.hgetall(ACCEPTED)  # type: ignore[assignment]
    return _accepted(counted)


def queued_counts(client: redis.Redis) -> HourCounts:
    """Returns events held now by (project id, hour of receipt since the epoch)."""
    counters: dict[bytes, bytes] = client.hgetall(DEPTH)  # type: ignore[assignment]
    return _queued(counters)


def hourly_counts(client: redis.Redis) -> tuple[HourCounts, HourCounts]:
    """Returns `accepted_counts` and `queued_counts` of one moment."""
    pipe = client.pipeline()
    pipe.hgetall(ACCEPTED)
    pipe.hgetall(DEPTH)
    counted, counters = pipe.execute()
    return _accepted(counted), _queued(counters)


def _accepted(counted: dict[bytes, bytes]) -> HourCounts:
    counts = {}
    for name, value in counted.items():
        project_id, _, hour = name.decode().partition(":")
        counts[int(project_id), int(hour)] = int(value)
    return counts


def _queued(counters: dict[bytes, bytes]) -> HourCounts:
    counts = {}
    for name, value in counters.items():
        if name.startswith(b"q:"):
            _, project_id, hour = name.decode().split(":")
            counts[int(project_id), int(hour)] = int(value)
    return counts


def forget_accepted(client: redis.Redis, counted: Iterable[tuple[int, int]]) -> None:
    """Drops counts of hours that are over and copied."""
    if names := [f"{project_id}:{hour}" for project_id, hour in counted]:
        client.hdel(ACCEPTED, *names)


def forget_rejected(client: redis.Redis, counted: Iterable[tuple[int, int, str]]) -> None:
    if names := [f"{project_id}:{hour}:{code}" for project_id, hour, code in counted]:
        client.hdel(REJECTED, *names)


def oldest_entry_ms(client: redis.Redis) -> int:
    """Returns the time (epoch ms) of the oldest entry held, or now when nothing is held."""
    first: Any = client.xrange(STREAM, "-", "+", count=1)
    return int(first[0][0].split(b"-")[0]) if first else now_ms()
