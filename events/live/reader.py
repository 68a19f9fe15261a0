"""One reader of a project: where it has come to, what waits for it, and what it is told."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from events.live import names
from events.live.entry import Cursor, Entry
from events.live.filters import Filter

HELLO: Final = ": live\nretry: 1000\nid: {}\n\n"
HEARTBEAT: Final = ": nothing new\nid: {}\n\n"  # a frame without data only moves the reader's last id
_encode = msgspec.json.Encoder().encode


class Shared(Protocol):
    """What a project's readers have in common."""

    def events_frame(self, wanted: Filter, entries: Sequence[Entry], most: int) -> bytes: ...
    def counters(self) -> tuple[bytes, bytes]:
        """What is compared, and the data of the frame."""


class Reader:
    """Belongs to one event loop. `offer` is called by the hub, `next` by the one connection it serves."""

    def __init__(self, shared: Shared, wanted: Filter) -> None:
        self.wanted = wanted
        self.is_over = False
        self._shared = shared
        self._pending: deque[Entry] = deque()
        self._pending_bytes = 0
        self._cursor = Cursor(0, 0)
        self._gaps: dict[str, int | None] = {}
        self._most = names.FRAME_EVENTS
        self._counters = b""
        self._counters_at = 0.0
        self._taken_at = 0.0
        self._wake = asyncio.Event()

    def begin(self, at: Cursor, *, missed: Sequence[Entry] = (), is_lost: bool = False) -> bytes:
        """Takes where it starts, what the stream holds since then, and whether it had seen another stream before."""
        self._cursor = at
        if is_lost:
            self._gaps["restarted"] = None
        self._pending.extend(missed)
        self._pending_bytes = sum(entry.size for entry in missed)
        self._most = names.RESUMED_EVENTS
        return HELLO.format(self._cursor).encode()

    def restart(self, at: Cursor) -> None:
        """The stream began anew, and its ids with it."""
        self._pending.clear()
        self._pending_bytes = 0
        self._cursor = at
        self._add_gap("restarted", None)

    def offer(self, entries: Sequence[Entry]) -> None:
        """Adds what came. A reader that takes too little keeps the newest, and learns how many it did not get."""
        for entry in entries:
            self._pending.append(entry)
            self._pending_bytes += entry.size
        while self._pending_bytes > names.MAX_PENDING_BYTES and len(self._pending) > 1:
            entry = self._pending.popleft()
            self._pending_bytes -= entry.size
            if self._advance(entry):
                matched = self.wanted.match(entry)
                self._add_gap("slow", matched.of + matched.unchecked)
        self._wake.set()

    def wake(self) -> None:
        """There may be something to tell: other counters, or the end."""
        self._wake.set()

    def end(self) -> None:
        self.is_over = True
        self._wake.set()

    async def next(self) -> bytes:
        """Returns what to send: frames, or a heartbeat when nothing came for long. Two frames, twice a second at most."""
        loop = asyncio.get_running_loop()
        heartbeat_at = loop.time() + names.HEARTBEAT_SECONDS
        while not self.is_over:
            wait = max(0.0, self._taken_at + names.FRAME_SECONDS - loop.time())
            if wait:
                await asyncio.sleep(wait)
            if frames := self._take(loop.time()):
                self._taken_at = loop.time()
                return frames
            if self.is_over or loop.time() >= heartbeat_at:  # the sleep above may have seen its end come
                break
            self._wake.clear()
            timer = loop.call_at(heartbeat_at, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()
        return HEARTBEAT.format(self._cursor).encode()

    def _take(self, now: float) -> bytes:
        entries = [entry for entry in self._pending if self._advance(entry)]
        self._pending.clear()
        self._pending_bytes = 0
        frames, gaps = b"", self._gaps
        if entries:
            frames = self._shared.events_frame(self.wanted, entries, self._most)
            self._most = names.FRAME_EVENTS
        if gaps:
            unknown = any(count is None for count in gaps.values())
            total = None if unknown else sum(count or 0 for count in gaps.values())
            # Its place is told by the last frame: who loses the connection between them is told both again.
            told = frame("gap", {"count": total, "why": sorted(gaps)}, None if frames else self._cursor)
            frames, self._gaps = told + frames, {}
        if not gaps and now >= self._counters_at:
            compared, data = self._shared.counters()
            if compared != self._counters:
                frames += f"event: counters\nid: {self._cursor}\ndata: ".encode() + data + b"\n\n"
                self._counters, self._counters_at = compared, now + 1
        return frames

    def _advance(self, entry: Entry) -> bool:
        """Moves the cursor over an entry and notes what lies between. False: it was seen before."""
        last, end = self._cursor, entry.end
        if end <= last:
            return False
        self._cursor = end
        if end.epoch != last.epoch:
            self._add_gap("restarted", None)
        elif (between := entry.first - 1 - last.number) > 0:
            lost = min(between, entry.skipped)
            self._add_gap("not_published", lost)
            self._add_gap("trimmed", between - lost)
        return True

    def _add_gap(self, why: str, count: int | None) -> None:
        known = self._gaps.get(why, 0)
        if count != 0:
            self._gaps[why] = None if count is None or known is None else known + count


def frame(event: str, data: dict[str, Any], at: Cursor | None = None) -> bytes:
    """One server-sent event. JSON of ours has no line breaks."""
    place = f"id: {at}\n" if at else ""
    return f"event: {event}\n{place}data: ".encode() + _encode(data) + b"\n\n"


def events_frame(wanted: Filter, entries: Sequence[Entry], most: int) -> bytes:
    """The newest events of these entries that match; b"" where there is nothing to tell."""
    matches = [wanted.match(entry) for entry in entries]
    of = sum(matched.of for matched in matches)
    unchecked = sum(matched.unchecked for matched in matches)
    if not of and not unchecked:
        return b""
    texts = [text for matched in matches for text in matched.texts][-most:]
    events = [msgspec.Raw(text) for text in texts]
    data: dict[str, Any] = {"shown": len(events), "of": of, "unchecked": unchecked, "events": events}
    return frame("events", data, entries[-1].end)
