"""What a web process refused, brought to the ledger and to /metrics once a second: no round trip on the request path."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable

import redis
import redis.asyncio

from events import buffer, figures
from events.codes import OF_WARNED, Code
from events.plan.tally import OffPlan, Tallied

FLUSH_SECONDS = 1.0


class Tally:
    """Belongs to one event loop. A crash loses at most the last second's refusals; those clients were told all the same."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._counts: Counter[tuple[int, int, str]] = Counter()
        self._events: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._off_plan = Tallied()
        self._flusher: asyncio.Task[None] | None = None

    def add(self, project_id: int, received_ms: int, code: str, events: int) -> None:
        """Counts refused events of a project."""
        self._counts[project_id, buffer.hour_of(received_ms), str(code)] += events
        self._events[str(code)] += events
        self._soon()

    def add_request(self, code: str) -> None:
        """Counts a request of which nothing was taken."""
        self._requests[str(code)] += 1
        self._soon()

    def add_warned(self, project_id: int, received_ms: int, events: int) -> None:
        """Counts events that were accepted though they do not follow the tracking plan."""
        if events:
            self._counts[project_id, buffer.hour_of(received_ms), OF_WARNED + Code.PLAN_VIOLATION] += events
            self._soon()

    def add_off_plan(self, found: Iterable[OffPlan]) -> None:
        """Counts by name and field what did not follow the tracking plan."""
        self._off_plan.add(found)
        self._soon()

    def _soon(self) -> None:
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        try:
            while self._counts or self._requests or self._off_plan:
                await asyncio.sleep(FLUSH_SECONDS)
                figures.count_refused_events(self._events)
                figures.count_refused_requests(self._requests)
                self._events, self._requests = Counter(), Counter()
                counts, self._counts = self._counts, Counter()
                with contextlib.suppress(redis.RedisError, OSError):
                    if self._off_plan:
                        await self._off_plan.send_async(self._client)
                try:
                    if counts:
                        await buffer.count_rejected_async(self._client, counts)
                except (redis.RedisError, OSError):
                    self._counts.update(counts)  # the queue is away: later, then
        finally:
            self._flusher = None
