"""The lake's worker: seals what is new, merges beside it what is due, keeps manifests and the folder in order."""

import contextlib
import errno
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import duckdb
import redis
from django import db
from django.db import connection

from events import buffer
from events.lake import manifest
from events.lake.duck import FULL
from events.lake.merge import Merged, StepFailed, is_due, merge
from events.lake.seal import seal
from events.lake.snapshot import lag
from events.lake.sweep import sweep
from events.models import Segment
from eventsite import metrics

log = logging.getLogger(__name__)

RUN_SECONDS: Final = 20.0
SEAL_SECONDS: Final = 2.0  # between seals while a merge is at work
LOOK_SECONDS: Final = 5.0  # between looks at what is due to be merged
SWEEP_SECONDS: Final = 60.0
LEFT_ALONE_SECONDS: Final = 900.0  # segments whose step failed
LATE: Final = timedelta(seconds=60)
# While so much comes at a time or waits to be stored, merging waits, up to so many shared files: the time is the store's.
BUSY_ROWS: Final = 20_000
PUT_OFF_FILES: Final = 40
ALARM: Final = "lake"
LATE_ALARM: Final = "lake_lag"


@dataclass(slots=True)
class Worker:
    """What one process remembers between its runs; losing it costs a second look."""

    dirty: manifest.Dirty = field(default_factory=manifest.Dirty)
    failed: dict[int, float] = field(default_factory=dict)  # segment -> until when it is left alone
    alarms: dict[str, str] = field(default_factory=dict)
    has_begun: bool = False
    look_at: float = 0.0
    sweep_at: float = 0.0

    def run(self, client: redis.Redis) -> dict[str, int]:
        """One run of bounded length: returns rows sealed and steps merged. What fails waits for the next; nothing is lost."""
        done = {"sealed": 0, "merged": 0}
        try:
            self._run(client, done)
            self._say(client, ALARM, "Some segments cannot be merged." if self.failed else "")
            self._say(client, LATE_ALARM, _lateness())
        except (db.Error, db.InterfaceError) as error:
            connection.close()  # it may be broken
            log.warning("the database is away, the lake waits: %s", " ".join(str(error).split())[:300])
            metrics.LAKE_FAILURES.labels("database").inc()
        except (duckdb.Error, OSError) as error:
            code = _code(error)
            log.error("the lake cannot be written (%s): %s", code, " ".join(str(error).split())[:300])
            metrics.LAKE_FAILURES.labels(code).inc()
            self._say(client, ALARM, f"The lake cannot be written ({code}): events wait in PostgreSQL.")
        return done

    def _run(self, client: redis.Redis, done: dict[str, int]) -> None:
        until = time.monotonic() + RUN_SECONDS
        if not self.has_begun:
            manifest.write_all()
            self.has_begun = True
        with ThreadPoolExecutor(1) as pool:
            merging: Future[Merged | None] | None = None
            while True:
                rows = self._seal(client, until)
                done["sealed"] += rows
                self.dirty.write_if_due()
                if (
                    merging is None
                    and time.monotonic() < until
                    and not _is_busy(client, rows)
                    and self._is_due()
                ):
                    merging = pool.submit(_merge, frozenset(self.failed))
                if merging is None:
                    break
                if wait([merging], timeout=SEAL_SECONDS).done:
                    done["merged"] += self._merged(merging)
                    merging = None
        if time.monotonic() >= self.sweep_at:
            sweep()
            self.sweep_at = time.monotonic() + SWEEP_SECONDS

    def _seal(self, client: redis.Redis, until: float) -> int:
        rows, more = 0, True
        while more:
            started = time.monotonic()
            sealed = seal()
            note_progress(client)
            self.dirty.add(sealed.projects)
            if sealed.rows:
                metrics.STAGE_SECONDS.labels("seal").observe(time.monotonic() - started)
                metrics.EVENTS_OUT.labels("seal", "sealed").inc(sealed.rows)
            rows += sealed.rows
            more = sealed.more and time.monotonic() < until
        return rows

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self.look_at:
            return False
        self.look_at = now + LOOK_SECONDS
        self.failed = {segment_id: until for segment_id, until in self.failed.items() if until > now}
        return is_due(without=frozenset(self.failed))

    def _merged(self, merging: "Future[Merged | None]") -> int:
        try:
            merged = merging.result()
        except StepFailed as failed:
            log.error("%s: left alone for a while", failed)
            metrics.LAKE_FAILURES.labels("merge").inc()
            self.failed |= dict.fromkeys(failed.ids, time.monotonic() + LEFT_ALONE_SECONDS)
            return 0
        if merged is None:
            return 0
        self.look_at = 0.0  # another step may be due by this one
        self.dirty.add(merged.projects)
        metrics.EVENTS_OUT.labels("merge", merged.kind).inc(merged.rows)
        return 1

    def _say(self, client: redis.Redis, name: str, text: str) -> None:
        """Sets or ends an alarm, where it is not so already."""
        if self.alarms.get(name) == text:
            return
        with contextlib.suppress(redis.RedisError):
            buffer.set_alarm(client, name, text)
            self.alarms[name] = text


def note_progress(client: redis.Redis) -> None:
    """For `/livez/lake`: the worker is at work, whether or not there was anything to do."""
    with contextlib.suppress(redis.RedisError):
        client.set(buffer.LAKE_PROGRESS, client.time()[0])


def _is_busy(client: redis.Redis, rows: int) -> bool:
    """Whether merging can wait: `rows` were sealed just now, or the store is behind."""
    queued = 0
    with contextlib.suppress(redis.RedisError):
        queued = buffer.depth(client).events
    shared = Segment.objects.filter(retired_at=None, project=None)
    return max(rows, queued) >= BUSY_ROWS and shared.count() < PUT_OFF_FILES


def _lateness() -> str:
    late = lag()
    return f"Events are in the lake {late.total_seconds():.0f} s late." if late > LATE else ""


def _merge(without: frozenset[int]) -> Merged | None:
    """In a thread of its own, and so on a connection of its own."""
    try:
        with metrics.STAGE_SECONDS.labels("merge").time():
            return merge(without=without)
    finally:
        connection.close()


def _code(error: Exception) -> str:
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or FULL.search(str(error)):
        return "disk_full"
    if isinstance(error, duckdb.OutOfMemoryException):
        return "memory"
    return "interrupted" if isinstance(error, duckdb.InterruptException) else "failed"
