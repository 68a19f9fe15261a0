"""The pipeline's last hour: a sample each ten seconds, 360 of them, in one list of Valkey.

Kept by the tick, which runs anyway: one round trip, a look at the batches since, at 100 of their rows, and at the files in
which the processes count. A list of 360 samples is some 80 kB, 700 kB where a hundred projects send at once, and cannot
grow; it lies with the queue, so it survives restarts.
"""

import logging
import time
from collections import Counter
from typing import Any, Final

import msgspec
import redis
from django import db
from django.db import connection

from events import buffer
from eventsite import metrics

log = logging.getLogger(__name__)

SAMPLES: Final = "es:history"  # list: the latest sample first
TOTALS: Final = "es:history:totals"  # what counters stood at when the latest was taken
KEPT: Final = 360
EVERY_SECONDS: Final = 10
PROJECTS: Final = 100  # of one sample, the busiest
ROWS: Final = 100
BATCHES: Final = 5_000
# Turned away because there is no room; the others because a project has come to its own quota.
FULL: Final = ("queue_full", "project_backlog", "too_much_in_flight", "unavailable")
LIMITED: Final = ("rate_limited", "quota_exceeded")


class Sample(msgspec.Struct, array_like=True, frozen=True):
    """What happened in `seconds` up to `at` (epoch). None: not known, because PostgreSQL or the counting files are away.

    Counts are of events, but `batches`, `retried` (batches that needed more than one attempt) and `runs`. `busy`: slots at
    work on average; `storing`: of those, in PostgreSQL. `projects`: accepted and then queued, of the busiest.
    """

    at: int
    seconds: float
    accepted: int
    drained: int
    queued: int
    bytes: int
    oldest_seconds: float
    held: int
    paused: bool
    full: int
    limited: int
    refused: int
    projects: dict[int, tuple[int, int]]
    batches: int | None = None
    retried: int | None = None
    stored: int | None = None
    duplicate: int | None = None
    dead: int | None = None
    lag_seconds: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    runs: int | None = None
    busy: float | None = None
    storing: float | None = None
    store_p50: float | None = None
    store_p95: float | None = None
    push_p99: float | None = None


class _Totals(msgspec.Struct):
    """Counters since ever, by which the next sample knows what is new."""

    at: float = 0.0
    drained: int = 0
    batch_id: int | None = None
    accepted: dict[str, int] = {}
    rejected: dict[str, int] = {}
    counted: dict[str, float] | None = None


_samples = msgspec.json.Decoder(Sample)
_totals = msgspec.json.Decoder(_Totals)


def samples(client: redis.Redis, *, last: int = KEPT) -> list[Sample]:
    """Returns the latest samples, the earliest first. Raises redis.RedisError."""
    lines: Any = client.lrange(SAMPLES, 0, last - 1)
    found = []
    for line in reversed(lines):
        try:
            found.append(_samples.decode(line))
        except msgspec.MsgspecError:  # another version's
            continue
    return found


def note(client: redis.Redis, *, database_answers: bool) -> None:
    """Adds a sample where one is due. Whatever goes wrong costs a sample, never the tick that calls it."""
    try:
        if buffer.is_due(client, "history", every_seconds=EVERY_SECONDS):
            _note(client, database_answers=database_answers)
    except (redis.RedisError, db.Error, OSError, ValueError) as error:
        log.warning("no sample of the pipeline: %s", type(error).__name__)


def _note(client: redis.Redis, *, database_answers: bool) -> None:
    try:
        before = _totals.decode(client.get(TOTALS) or b"{}")
    except msgspec.MsgspecError:
        before = _Totals()
    standing = buffer.standing(client)
    accepted, queued = buffer.hourly_counts(client)
    now = _Totals(
        at=time.time(),
        drained=standing.drained,
        batch_id=before.batch_id,
        accepted={f"{project} {hour}": events for (project, hour), events in accepted.items()},
        rejected={" ".join(map(str, k)): events for k, events in buffer.rejected_counts(client).items()},
        counted=_counted(),
    )
    came, refused = _by_first(now.accepted, before.accepted), _by_last(now.rejected, before.rejected)
    held: Counter[int] = Counter()
    for (project, _), events in queued.items():
        held[project] += events
    busiest = Counter({project: came[project] + held[project] for project in came | held}).most_common(
        PROJECTS
    )
    seconds = max(0.001, now.at - before.at)
    more = _of_database(now) if database_answers else {}
    sample = Sample(
        at=int(now.at),
        seconds=round(seconds, 2),
        accepted=came.total(),
        drained=max(0, now.drained - before.drained),
        queued=standing.events,
        bytes=standing.bytes,
        oldest_seconds=round(standing.oldest_seconds, 1),
        held=len(standing.held),
        paused=standing.paused is not None,
        full=sum(refused[code] for code in FULL),
        limited=sum(refused[code] for code in LIMITED),
        refused=refused.total() - sum(refused[code] for code in FULL + LIMITED),
        projects={project: (came[project], held[project]) for project, events in busiest if events},
        **more,
        **_of_counted(now.counted, before.counted, seconds),
    )
    pipe = client.pipeline()
    if before.at and seconds < 60:  # the first, and one after a stop, only say where counting begins
        pipe.lpush(SAMPLES, msgspec.json.encode(sample))
        pipe.ltrim(SAMPLES, 0, KEPT - 1)
    pipe.set(TOTALS, msgspec.json.encode(now))
    pipe.execute()


def _grown(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What was added; a counter that began anew counts from nothing."""
    return {
        name: value - before[name] if value >= before.get(name, 0) and name in before else value
        for name, value in now.items()
    }


def _by_first(now: dict[str, int], before: dict[str, int]) -> Counter[int]:
    sums: Counter[int] = Counter()
    for name, events in _grown(now, before).items():
        sums[int(name.split()[0])] += events
    return sums


def _by_last(now: dict[str, int], before: dict[str, int]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for name, events in _grown(now, before).items():
        sums[name.split()[-1]] += events
    return sums


# --- what PostgreSQL knows --------------------------------------------------------------------------------------------

# Plan: an index range at the end of the primary key; the partial index of unsealed batches.
SINCE: Final = f"""
SELECT id, stored, duplicate, dead, attempts, first_id, last_id FROM events_batch WHERE id > %s ORDER BY id DESC LIMIT {BATCHES}
"""
LAG: Final = "SELECT extract(epoch FROM clock_timestamp() - min(stored_at))::float FROM events_batch WHERE seal IS NULL"
# Plan: a look into each partition's index by id for each of the ids, of two days' partitions.
TOOK: Final = """
SELECT extract(epoch FROM stored_at - received_at)::float FROM events_event
WHERE id = ANY(%s) AND received_at > now() - interval '2 days' ORDER BY 1
"""


def _of_database(now: _Totals) -> dict[str, Any]:
    with connection.cursor() as cursor:
        if now.batch_id is None:
            cursor.execute("SELECT coalesce(max(id), 0) FROM events_batch")
            (now.batch_id,) = cursor.fetchone()
        cursor.execute(SINCE, [now.batch_id])
        batches = cursor.fetchall()
        cursor.execute(LAG)
        (lag,) = cursor.fetchone()
        took: list[float] = []
        if ids := _spread([(first, last) for *_, first, last in batches if first is not None]):
            cursor.execute(TOOK, [ids])
            took = [max(0.0, seconds) for (seconds,) in cursor.fetchall()]
    if batches:
        now.batch_id = batches[0][0]
    return {
        "batches": len(batches),
        "retried": sum(batch[4] > 1 for batch in batches),
        "stored": sum(batch[1] for batch in batches),
        "duplicate": sum(batch[2] for batch in batches),
        "dead": sum(batch[3] for batch in batches),
        "lag_seconds": round(max(0.0, lag or 0.0), 1),
        **{name: _rank(took, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
    }


def _spread(ranges: list[tuple[int, int]]) -> list[int]:
    """Takes ranges of row ids, returns some of them, evenly over all: an event counts as much as any other."""
    rows = sum(last - first + 1 for first, last in ranges)
    step, ids, at = max(1.0, rows / ROWS), [], 0.0
    passed = 0
    for first, last in ranges:
        size = last - first + 1
        while at < passed + size:
            ids.append(first + int(at - passed))
            at += step
        passed += size
    return ids[: 2 * ROWS]


def _rank(ordered: list[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else None


# --- what the processes counted ---------------------------------------------------------------------------------------

_STAGES: Final = ("buffer", "drain", "store")


def _counted() -> dict[str, float] | None:
    """The counters that samples are made of, by short names; None where the files are elsewhere."""
    counted = metrics.counted()
    if counted is None:
        return None
    found: dict[str, float] = {}
    for name, labels, value in counted:
        if name == "eventsite_drain_runs_total":
            found[f"runs {labels['outcome']}"] = value
        elif name.startswith("eventsite_stage_seconds") and labels["stage"] in _STAGES:
            kind = name.rpartition("_")[2]
            found[f"{labels['stage']} {kind} {labels.get('le', '')}".strip()] = value
    return found


def _of_counted(
    now: dict[str, float] | None, before: dict[str, float] | None, seconds: float
) -> dict[str, Any]:
    if now is None:
        return {}
    grown = _grown(now, before or {})
    per_second = 1 / seconds
    return {
        "runs": int(sum(value for name, value in grown.items() if name.startswith("runs "))),
        "busy": round(grown.get("drain sum", 0.0) * per_second, 3),
        "storing": round(grown.get("store sum", 0.0) * per_second, 3),
        "store_p50": _quantile(grown, "store", 0.5),
        "store_p95": _quantile(grown, "store", 0.95),
        "push_p99": _quantile(grown, "buffer", 0.99),
    }


def _quantile(grown: dict[str, float], stage: str, share: float) -> float | None:
    """Seconds below which that share lies, by the histogram's buckets, straight lines between their bounds."""
    begin = f"{stage} bucket "
    buckets = sorted((float(n.removeprefix(begin)), v) for n, v in grown.items() if n.startswith(begin))
    if not buckets or not buckets[-1][1]:
        return None
    wanted, below, least = share * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            if bound == float("inf"):
                return round(least, 5)
            return round(least + (bound - least) * (wanted - below) / max(1e-9, count - below), 5)
        below, least = count, bound
    return None
