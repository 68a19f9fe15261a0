"""Who may go next: a number of places, and a short line before them. Whoever leaves the line makes room in it."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

_LOOK_SECONDS: Final = 0.2  # how often who waits is looked after


class Full(Exception):
    """The line is too long, or took too long."""


class Line:
    def __init__(self, *, places: int, waiting: int, seconds: float) -> None:
        self._free, self._waiting, self._seconds = places, waiting, seconds
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def place(self, *, has_left: Callable[[], bool]) -> Iterator[None]:
        """Holds a place, given in the order of arrival. Errors: Full, at the latest soon after who waits `has_left`."""
        with self._changed:
            self._wait(has_left)
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()

    def _wait(self, has_left: Callable[[], bool]) -> None:
        if not self._free and len(self._line) >= self._waiting:
            raise Full
        ticket = object()
        self._line.append(ticket)
        last = time.monotonic() + self._seconds
        try:
            while not (self._free and self._line[0] is ticket):
                if time.monotonic() >= last or has_left():
                    raise Full
                self._changed.wait(_LOOK_SECONDS)
            self._free -= 1
        finally:
            self._line.remove(ticket)
            self._changed.notify_all()
