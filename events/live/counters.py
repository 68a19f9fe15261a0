"""How many events came in the last minute, by name."""

from collections import Counter, deque
from typing import Final

import msgspec

from events.live import names
from events.live.entry import Entry

MAX_NAMES: Final = 300  # of one second: memory stays small whatever clients send
OTHER: Final = ""  # events whose name is not counted; no event has an empty one
_encode = msgspec.json.Encoder().encode


class Counters:
    """Counts by the second of arrival, on the event loop's clock."""

    def __init__(self, since: float) -> None:
        self._since = since
        self._seconds: deque[tuple[int, Counter[str]]] = deque()
        self._made: tuple[int, bytes, bytes] = (-1, b"", b"")

    def add(self, entry: Entry, at: float, *, unseen: int = 0) -> None:
        """Counts an entry, and events before it that are only known to be."""
        second = int(at)
        if not self._seconds or self._seconds[-1][0] < second:
            self._seconds.append((second, Counter()))
        counts = self._seconds[-1][1]
        for name, count in entry.named.items():
            counts[name if name in counts or len(counts) < MAX_NAMES else OTHER] += count
        counts[OTHER] += entry.unnamed + unseen

    def restart(self, since: float) -> None:
        self._since = since
        self._seconds.clear()

    def covers_from(self, since: float) -> None:
        """It is known what came since then."""
        self._since = min(self._since, since)

    def told(self, now: float) -> tuple[bytes, bytes]:
        """Returns what a change is seen by, and the frame's data. Worked out once a second."""
        second = int(now)
        if self._made[0] != second:
            self._made = (second, *self._tell(now))
        return self._made[1:]

    def _tell(self, now: float) -> tuple[bytes, bytes]:
        while self._seconds and self._seconds[0][0] <= int(now) - names.COUNTED_SECONDS:
            self._seconds.popleft()
        summed: Counter[str] = Counter()
        for _, counts in self._seconds:
            summed.update(counts)
        total = summed.total()
        summed.pop(OTHER, None)
        # By count, then by name: what did not change looks the same.
        top = dict(sorted(summed.items(), key=lambda one: (-one[1], one[0]))[: names.COUNTED_NAMES])
        counted = {"total": total, "names": top, "other": total - sum(top.values())}
        covers = min(names.COUNTED_SECONDS, int(now - self._since))
        data = {"seconds": names.COUNTED_SECONDS, "covers": covers, **counted}
        return _encode(counted), _encode(data)
