"""What a web process refused, brought to the ledger once a second: no round trip on the request path."""

import asyncio
from collections import Counter

import redis
import redis.asyncio

from events import buffer

FLUSH_SECONDS = 1.0


class Tally:
    """Belongs to one event loop. A crash loses at most the last second's refusals; those clients were told all the same."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._counts: Counter[tuple[int, int, str]] = Counter()
        self._flusher: asyncio.Task[None] | None = None

    def add(self, project_id: int, received_ms: int, code: str, events: int) -> None:
        self._counts[project_id, buffer.hour_of(received_ms), str(code)] += events
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        try:
            while self._counts:
                await asyncio.sleep(FLUSH_SECONDS)
                counts, self._counts = self._counts, Counter()
                try:
                    await buffer.count_rejected_async(self._client, counts)
                except (redis.RedisError, OSError):
                    self._counts.update(counts)  # the queue is away: later, then
        finally:
            self._flusher = None
