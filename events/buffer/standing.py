"""How the queue stands, read at once: for operators, for metrics, for liveness."""

from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings

from events.buffer.alarms import ALARMS, UNBALANCED
from events.buffer.keys import (
    ACCEPTED,
    DEPTH,
    DRAIN_LIST,
    PAUSED,
    PROGRESS,
    RESUMED,
    STREAM,
    TICKED,
    hold_key,
    now_ms,
    work_key,
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Times are epoch ms, 0 where there is none. `held` and `at_work` are slots, `messages` doorbells under way.

    `at_work` may name a slot whose run died: its mark stays until the next one. `unbalanced` maps the hours that the
    ledger's last check found wrong to their difference.
    """

    now_ms: int
    events: int
    bytes: int
    entries: int
    drained: int
    drained_per_second: float
    accepted: int
    oldest_ms: int
    progress_ms: int
    resumed_ms: int
    ticked_ms: int
    paused: str | None
    held: list[int]
    at_work: list[int]
    messages: int
    alarms: dict[str, str]
    unbalanced: dict[str, int]

    @property
    def oldest_seconds(self) -> float:
        return max(0, self.now_ms - self.oldest_ms) / 1000 if self.oldest_ms else 0.0

    @property
    def seconds_without_progress(self) -> float:
        """How long events have waited while none was drained; 0 when nothing waits. A pause does not count."""
        if not self.oldest_ms:
            return 0.0
        return max(0, self.now_ms - max(self.oldest_ms, self.progress_ms, self.resumed_ms)) / 1000


def standing(client: redis.Redis) -> Standing:
    """One round trip. Raises redis.RedisError."""
    slots = range(settings.EVENTS_DRAIN_SLOTS)
    pipe = client.pipeline(transaction=False)
    pipe.hmget(DEPTH, ["e", "b", "drained", "rate"])
    pipe.xlen(STREAM)
    pipe.xrange(STREAM, count=1)
    pipe.mget([PROGRESS, RESUMED, TICKED, PAUSED])
    pipe.llen(DRAIN_LIST)
    pipe.hvals(ACCEPTED)
    pipe.hgetall(ALARMS)
    pipe.hgetall(UNBALANCED)
    pipe.mget([hold_key(slot) for slot in slots])
    pipe.mget([work_key(slot) for slot in slots])
    (events, size, drained, rate), entries, first, times, messages, accepted, *rest = pipe.execute()
    alarms, unbalanced, held, at_work = rest
    return Standing(
        now_ms=now_ms(),
        events=int(events or 0),
        bytes=int(size or 0),
        entries=entries,
        drained=int(drained or 0),
        drained_per_second=float(rate or 0),
        accepted=sum(map(int, accepted)),
        oldest_ms=int(first[0][0].split(b"-")[0]) if first else 0,
        progress_ms=int(times[0] or 0),
        resumed_ms=int(times[1] or 0),
        ticked_ms=int(times[2] or 0),
        paused=None if times[3] is None else times[3].decode(errors="replace"),
        held=_slots(held),
        at_work=_slots(at_work),
        messages=messages,
        alarms={name.decode(): text.decode(errors="replace") for name, text in alarms.items()},
        unbalanced={name.decode(): int(number) for name, number in unbalanced.items()},
    )


def _slots(values: list[Any]) -> list[int]:
    return [slot for slot, value in enumerate(values) if value is not None]
