"""Group commit: concurrent requests of one web process share one push, and each waits until Valkey has confirmed it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis.asyncio
from django.conf import settings

from events import buffer, figures

MAX_FLUSH_BYTES = 4_000_000  # one push: Valkey runs it alone, and its socket has a second


Settled = tuple[buffer.Outcome, buffer.Pushed]


@dataclass(slots=True)
class _Waiting:
    """A unit to be pushed, and a future for each request in it (one for all needs a shield, which costs more)."""

    unit: buffer.Unit
    done: list[asyncio.Future[Settled]]


class GroupCommit:
    """Belongs to one event loop. One push is under way at a time; what comes meanwhile goes with the next."""

    def __init__(self, client: redis.asyncio.Redis, ring: Callable[[int], None]) -> None:
        self._client = client
        self._ring = ring
        self._entry_events = buffer.entry_events()
        self._linger_seconds = settings.EVENTS_LINGER_MS / 1000
        self._waiting: list[_Waiting] = []
        self._open: dict[tuple[int, int], _Waiting] = {}  # entries that still take rows, by project and hour
        self._flusher: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.figures = figures.Pushes()
        self._pouring: asyncio.TimerHandle | None = None

    async def push(self, project_id: int, rows: list[bytes], received_ms: int) -> Settled:
        """Takes encoded envelopes of one request; returns what became of them, all or none, and the queue's state.

        Durable on return: all, when they were taken. Raises redis.RedisError when Valkey did not confirm: then nothing is known.
        """
        done = self._loop.create_future()
        self._join(project_id, rows, received_ms, done)
        if self._flusher is None:
            self._flusher = self._loop.create_task(self._flush())
        settled: Settled = await done
        return settled

    def _join(
        self,
        project_id: int,
        rows: list[bytes],
        received_ms: int,
        done: asyncio.Future[Settled],
    ) -> None:
        place = project_id, buffer.hour_of(received_ms)
        waiting = self._open.get(place)
        if (
            len(rows) == 1
            and waiting is not None
            and waiting.unit.entries[0].takes(rows[0], self._entry_events)
        ):
            waiting.unit.entries[0].add(rows[0], received_ms)
            waiting.done.append(done)
            return
        waiting = _Waiting(buffer.unit(project_id, rows, received_ms), [done])
        self._waiting.append(waiting)
        if len(rows) == 1:
            self._open[place] = waiting

    async def _flush(self) -> None:
        try:
            await asyncio.sleep(self._linger_seconds)
            while self._waiting:
                await self._push_waiting()
        finally:
            self._flusher = None

    async def _push_waiting(self) -> None:
        batch = self._take()
        started = time.perf_counter()
        try:
            pushed = await buffer.push_async(self._client, [waiting.unit for waiting in batch])
        except Exception as error:
            # Who came meanwhile would wait for the same dead server: all are told now.
            for waiting in batch + self._waiting:
                _settle(waiting.done, error)
            self._count(batch + self._waiting, None, started)
            self._waiting, self._open = [], {}
            return
        self._count(batch, pushed, started)
        for waiting, outcome in zip(batch, pushed.outcomes, strict=True):
            if outcome.is_taken or len(waiting.done) == 1:
                _settle(waiting.done, (outcome, pushed))
            else:
                self._part(waiting)
        if pushed.ring is not None:
            self._loop.run_in_executor(None, self._ring, pushed.ring)

    def _count(self, batch: list[_Waiting], pushed: buffer.Pushed | None, started: float) -> None:
        """Counts a push. Requests that part are counted when they come again."""
        gathered = self.figures
        gathered.seconds.append(time.perf_counter() - started)
        if pushed is None:
            gathered.events[figures.UNCONFIRMED] += sum(waiting.unit.events for waiting in batch)
        else:
            for waiting, outcome in zip(batch, pushed.outcomes, strict=True):
                if outcome.is_taken:
                    gathered.events[figures.TAKEN] += waiting.unit.events
                    gathered.taken_requests += len(waiting.done)
                elif len(waiting.done) == 1:
                    gathered.events[outcome.code] += waiting.unit.events
        if self._pouring is None:
            self._pouring = self._loop.call_later(figures.POUR_SECONDS, self._pour)

    def _pour(self) -> None:
        self._pouring = None
        self.figures.pour()

    def _part(self, waiting: _Waiting) -> None:
        """Requests that were refused together may fit one by one: a quota is exact, whoever shared a push."""
        (entry,) = waiting.unit.entries
        for row, done in zip(entry.rows, waiting.done, strict=True):
            self._waiting.append(
                _Waiting(buffer.unit(waiting.unit.project_id, [row], entry.first_ms), [done])
            )

    def _take(self) -> list[_Waiting]:
        size = 0
        count = 0
        for waiting in self._waiting:
            count += 1
            size += sum(entry.size for entry in waiting.unit.entries)
            if size >= MAX_FLUSH_BYTES:
                break
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._open = {}
        return batch


def _settle(futures: list[asyncio.Future[Settled]], outcome: Settled | Exception) -> None:
    for future in futures:
        if future.done():  # its request went away
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
