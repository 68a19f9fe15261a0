"""The queue of record: one Valkey stream, its counters and bells. The only place that knows it.

What lies here survives the crash of any process (AOF). A Celery message is only a doorbell: losing one costs seconds.
"""

from events.buffer.bells import hold, is_held, release, silence, slots_to_ring
from events.buffer.care import (
    accepted_counts,
    adopt_orphans,
    forget_accepted,
    heal_counters,
    measure_rate,
    oldest_entry_ms,
)
from events.buffer.claims import Claimed, ack, claim
from events.buffer.failures import failures, forget_failure, record_failure, record_healed
from events.buffer.keys import ACCEPTED, DEPTH, DRAIN_LIST, EPOCH, GROUP, PROGRESS, STREAM
from events.buffer.pushes import (
    ACCEPTED_CODE,
    FULL_CODE,
    PROJECT_BACKLOG_CODE,
    Depth,
    Entry,
    Pushed,
    Unit,
    depth,
    entry_events,
    hour_of,
    push,
    push_async,
    retry_after_seconds,
    unit,
)

__all__ = [
    "ACCEPTED",
    "ACCEPTED_CODE",
    "DEPTH",
    "DRAIN_LIST",
    "EPOCH",
    "FULL_CODE",
    "GROUP",
    "PROGRESS",
    "PROJECT_BACKLOG_CODE",
    "STREAM",
    "Claimed",
    "Depth",
    "Entry",
    "Pushed",
    "Unit",
    "accepted_counts",
    "ack",
    "adopt_orphans",
    "claim",
    "depth",
    "entry_events",
    "failures",
    "forget_accepted",
    "forget_failure",
    "heal_counters",
    "hold",
    "hour_of",
    "is_held",
    "measure_rate",
    "oldest_entry_ms",
    "push",
    "push_async",
    "record_failure",
    "record_healed",
    "release",
    "retry_after_seconds",
    "silence",
    "slots_to_ring",
    "unit",
]
