"""Watches the workers' progress from the supervisor: one that is alive but deaf is ended, and so started again.

Lean like the supervisor itself: a bare socket, no Django.
"""

import time
from collections.abc import Iterable
from typing import Final

from eventsite import parts
from eventsite.parts import Options
from eventsite.processes import Child

# 503 of the page means that this part makes no progress.
PAGES: Final = {"drain": "/livez/drain", "worker": "/livez/tick", "lake": "/livez/lake"}
LONGEST_PAUSE_SECONDS: Final = 5.0


class Watch:
    """Judges only while web, database and queue answer: otherwise it is not the worker that is deaf."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._stalled_since: dict[str, float] = {}
        self._next = 0.0

    def due_in(self) -> float:
        return self._next - time.monotonic()

    def look(self, children: Iterable[Child]) -> list[Child]:
        """Returns the workers to end: stalled by their page for as long again as the page itself waited."""
        deaf = [child for child in children if child.name in PAGES and self._is_deaf(child)]
        for child in deaf:
            del self._stalled_since[child.name]
        self._next = time.monotonic() + min(LONGEST_PAUSE_SECONDS, self._options.stall_seconds / 4)
        return deaf

    def _is_deaf(self, child: Child) -> bool:
        stalled = child.is_ready and self._status(PAGES[child.name]) == 503 and self._status("/readyz") == 200
        if not stalled:
            self._stalled_since.pop(child.name, None)
            return False
        since = self._stalled_since.setdefault(child.name, time.monotonic())
        return time.monotonic() - since >= self._options.stall_seconds

    def _status(self, path: str) -> int:
        return parts.status_of(self._options.connect_host, self._options.port, path)
