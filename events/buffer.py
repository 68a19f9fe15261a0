"""The queue of record: one Valkey stream, its counters and bells. The only file that knows it.

What lies here survives the crash of any process (AOF). A Celery message is only a doorbell: losing one costs seconds.
"""

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis
import redis.asyncio
from django.conf import settings

STREAM: Final = "es:stream"
DEPTH: Final = "es:depth"  # hash: e events, b bytes, e:<project> events of one, drained ever, rate a second
ACCEPTED: Final = "es:accepted"  # hash: <project>:<hour> -> events accepted
EPOCH: Final = "es:epoch"  # made with the stream: a replaced Valkey may repeat entry ids
PROGRESS: Final = "es:progress"  # epoch ms of the last acked batch
FAILURE: Final = "es:failure:"  # + slot; hash: the slot's last failed run
DRAIN_LIST: Final = "drain"  # Celery's list of drain messages
GROUP: Final = "drain"
# One entry holds at most this much, unless one event alone is larger: a batch is put together from whole entries.
ENTRY_EVENTS: Final = 250
ENTRY_BYTES: Final = 256 * 1024

ACCEPTED_CODE, PROJECT_BACKLOG_CODE, FULL_CODE = 202, 429, 503


@dataclass(slots=True)
class Entry:
    """One stream entry to be: encoded envelopes of one project, with the earliest and latest receipt (epoch ms)."""

    rows: list[bytes] = field(default_factory=list)
    size: int = 1
    first_ms: int = 0
    last_ms: int = 0

    def takes(self, row: bytes) -> bool:
        return not self.rows or (len(self.rows) < _entry_events() and self.size + len(row) < ENTRY_BYTES)

    def add(self, row: bytes, received_ms: int) -> None:
        self.first_ms = min(self.first_ms, received_ms) if self.rows else received_ms
        self.last_ms = max(self.last_ms, received_ms)
        self.size += len(row) + 1
        self.rows.append(row)


@dataclass(slots=True)
class Unit:
    """Entries of one project that are pushed whole or not at all."""

    project_id: int
    hour: int  # since the epoch, of receipt
    entries: list[Entry]

    @property
    def events(self) -> int:
        return sum(len(entry.rows) for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Pushed:
    """`codes`: 202, 429 or 503 of each unit; `ring`: a slot whose doorbell the caller must ring, or None."""

    codes: list[int]
    events: int
    bytes: int
    drained_per_second: float
    ring: int | None


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


@dataclass(frozen=True, slots=True)
class Depth:
    events: int
    bytes: int
    entries: int
    drained_per_second: float


def unit(project_id: int, rows: Sequence[bytes], received_ms: int) -> Unit:
    """Takes encoded envelopes of one request, returns them in entries of bounded size."""
    entries = [Entry()]
    for row in rows:
        if not entries[-1].takes(row):
            entries.append(Entry())
        entries[-1].add(row, received_ms)
    return Unit(project_id, hour_of(received_ms), entries)


def hour_of(received_ms: int) -> int:
    return received_ms // 3_600_000


def push(client: redis.Redis, batch: Sequence[Unit]) -> Pushed:
    """Takes units, returns what became of each. Durable on return: those with 202. Raises redis.RedisError: then nothing is known."""
    keys, args = _push_arguments(batch)
    return _pushed(client.register_script(PUSH)(keys=keys, args=args))


async def push_async(client: redis.asyncio.Redis, batch: Sequence[Unit]) -> Pushed:
    """The same on an asyncio client."""
    keys, args = _push_arguments(batch)
    return _pushed(await client.register_script(PUSH)(keys=keys, args=args))


def claim(client: redis.Redis, slot: int, *, max_events: int | None = None, max_bytes: int | None = None) -> Claimed:
    """Returns the slot's next batch, its own unfinished one first. A crash after it leaves the batch with the slot."""
    args = [
        GROUP,
        consumer(slot),
        max_events or settings.EVENTS_BATCH_SIZE,
        max_bytes or settings.EVENTS_BATCH_MAX_BYTES,
        str(uuid.uuid4()),
    ]
    try:
        reply = client.register_script(CLAIM)(keys=[STREAM, EPOCH, FAILURE + str(slot)], args=args)
    except redis.ResponseError as error:
        if "NOGROUP" not in str(error) and "no such key" not in str(error):
            raise
        _make_group(client)
        reply = client.register_script(CLAIM)(keys=[STREAM, EPOCH, FAILURE + str(slot)], args=args)
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
    reply = client.register_script(ACK)(keys=[STREAM, DEPTH, PROGRESS], args=[GROUP, _now_ms(), *ids])
    return int(reply)


def depth(client: redis.Redis) -> Depth:
    """Returns what is held now, claimed but unfinished included."""
    pipe = client.pipeline(transaction=False)
    pipe.hmget(DEPTH, ["e", "b", "rate"])
    pipe.xlen(STREAM)
    (events, size, rate), entries = pipe.execute()
    return Depth(int(events or 0), int(size or 0), int(entries), float(rate or 0))


def retry_after_seconds(events: int, drained_per_second: float, jitter: float) -> int:
    """How long the backlog takes to drain, 1 to 60 s; `jitter` in 0..1 spreads it over 20 % so that clients do not return at once."""
    seconds = events / drained_per_second if drained_per_second > 0 else 60.0
    return max(1, min(60, round(seconds * (0.9 + 0.2 * jitter))))


# --- bells and holds -------------------------------------------------------------------------------------------


def consumer(slot: int) -> str:
    return f"slot-{slot}"


def silence(client: redis.Redis, slot: int) -> None:
    """A drain starts: the next push rings again. Before the claim, or a wake-up would be lost."""
    client.delete(_bell(slot))


def hold(client: redis.Redis, slot: int, *, seconds: int | None) -> None:
    """No rings for this slot while its batch waits for a retry; `None`: until `release`, when the database is back."""
    client.set(_hold(slot), "retry" if seconds else "wait", ex=seconds)


def is_held(client: redis.Redis, slot: int) -> bool:
    return bool(client.exists(_hold(slot)))


def release(client: redis.Redis, slot: int, *, waiting_only: bool = False) -> bool:
    """Ends a hold; returns whether there was one. `waiting_only` leaves a retry that is under way alone."""
    if waiting_only and client.get(_hold(slot)) != b"wait":
        return False
    return bool(client.delete(_hold(slot)))


def slots_to_ring(client: redis.Redis, *, idle_seconds: float = 2.0) -> list[int]:
    """Slots to wake when events wait, nothing was acked for a while and no message is under way (a lost bell)."""
    pipe = client.pipeline(transaction=False)
    pipe.xlen(STREAM)
    pipe.llen(DRAIN_LIST)
    pipe.get(PROGRESS)
    waiting, messages, progress = pipe.execute()
    if not waiting or messages or _now_ms() - int(progress or 0) < idle_seconds * 1000:
        return []
    return [slot for slot in range(settings.EVENTS_DRAIN_SLOTS) if not is_held(client, slot)]


def _bell(slot: int) -> str:
    return f"es:bell:{slot}"


def _hold(slot: int) -> str:
    return f"es:hold:{slot}"


# --- failed runs: kept here because the database may be what failed -----------------------------------------------


def record_failure(client: redis.Redis, slot: int, *, attempts: int, sqlstate: str, error: str) -> None:
    key, now = FAILURE + str(slot), str(time.time())
    pipe = client.pipeline(transaction=False)
    pipe.hsetnx(key, "first_at", now)
    pipe.hset(key, mapping={"last_at": now, "attempts": attempts, "sqlstate": sqlstate, "error": error[:500], "healed_at": ""})
    pipe.execute()


def record_healed(client: redis.Redis, slot: int) -> None:
    client.hset(FAILURE + str(slot), "healed_at", str(time.time()))


def failures(client: redis.Redis) -> dict[int, dict[str, str]]:
    """Returns each slot's failed run, by slot: first_at, last_at, attempts, sqlstate, error, healed_at ("" while it waits)."""
    found = {}
    for slot in range(32):
        if fields := client.hgetall(FAILURE + str(slot)):
            found[slot] = {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
    return found


def forget_failure(client: redis.Redis, slot: int) -> None:
    client.delete(FAILURE + str(slot))


# --- care, once a second -------------------------------------------------------------------------------------------


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


def heal_counters(client: redis.Redis) -> None:
    """An empty stream holds nothing: counters that say otherwise (a restored dump) are set right."""
    client.register_script(HEAL)(keys=[STREAM, DEPTH])


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
            ids = [item["message_id"] for item in pending]
            moved += len(client.xclaim(STREAM, GROUP, consumer(0), 0, ids, justid=True))
        else:
            client.xgroup_delconsumer(STREAM, GROUP, name)
    return moved


def accepted_counts(client: redis.Redis) -> dict[tuple[int, int], int]:
    """Returns events accepted by (project id, hour since the epoch), as the push script counted them."""
    counts = {}
    for name, value in client.hgetall(ACCEPTED).items():
        project_id, _, hour = name.decode().partition(":")
        counts[int(project_id), int(hour)] = int(value)
    return counts


def forget_accepted(client: redis.Redis, counted: Iterable[tuple[int, int]]) -> None:
    """Drops counts of hours that are over and copied."""
    if names := [f"{project_id}:{hour}" for project_id, hour in counted]:
        client.hdel(ACCEPTED, *names)


def oldest_entry_ms(client: redis.Redis) -> int:
    """Returns the time (epoch ms) of the oldest entry held, or now when nothing is held."""
    first = client.xrange(STREAM, "-", "+", count=1)
    return int(first[0][0].split(b"-")[0]) if first else _now_ms()


def _entry_events() -> int:
    return min(ENTRY_EVENTS, settings.EVENTS_BATCH_SIZE)


def _push_arguments(batch: Sequence[Unit]) -> tuple[list[str], list[Any]]:
    slots = settings.EVENTS_DRAIN_SLOTS
    keys = [STREAM, DEPTH, ACCEPTED, DRAIN_LIST]
    keys += [_bell(slot) for slot in range(slots)] + [_hold(slot) for slot in range(slots)]
    args: list[Any] = [settings.EVENTS_QUEUE_MAX_EVENTS, settings.EVENTS_QUEUE_MAX_BYTES, settings.EVENTS_BATCH_SIZE, slots]
    for unit in batch:
        payloads = [b",".join(entry.rows) for entry in unit.entries]
        args += [unit.project_id, unit.hour, unit.events, sum(map(len, payloads)), len(payloads)]
        for entry, payload in zip(unit.entries, payloads, strict=True):
            args += [len(entry.rows), entry.first_ms, entry.last_ms, payload]
    return keys, args


def _pushed(reply: list[Any]) -> Pushed:
    events, size, rate, ring, *codes = reply
    return Pushed([int(code) for code in codes], int(events), int(size), float(rate), int(ring) if int(ring) >= 0 else None)


def _fields(entry: list[Any]) -> dict[bytes, bytes]:
    flat = entry[1]
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _make_group(client: redis.Redis) -> None:
    """From 0, never `$`: what was pushed before the group was made counts too."""
    try:
        client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


def _now_ms() -> int:
    return int(time.time() * 1000)


def _script(name: str) -> str:
    return (Path(__file__).parent / "lua" / f"{name}.lua").read_text()


PUSH, CLAIM, ACK = _script("push"), _script("claim"), _script("ack")
HEAL = """#!lua flags=allow-oom
if redis.call('XLEN', KEYS[1]) > 0 then return 0 end
local fixed = 0
for i, field in ipairs(redis.call('HGETALL', KEYS[2])) do
  if i % 2 == 1 and (field == 'e' or field == 'b' or string.sub(field, 1, 2) == 'e:') and redis.call('HGET', KEYS[2], field) ~= '0' then
    redis.call('HDEL', KEYS[2], field)
    fixed = fixed + 1
  end
end
return fixed"""
