"""One for a web process: reads the streams of all projects that its readers look at, with one command four times a second."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio

from events.live import names
from events.live.counters import Counters
from events.live.entry import Cursor, Entry, read_entries
from events.live.filters import Filter
from events.live.reader import Reader, events_frame

READ_ENTRIES = 200  # of a project at a time; more comes with the next look
LINGER_SECONDS = names.WATCH_SECONDS  # a project without readers: one that comes back finds its counters


class TooManyReaders(Exception):
    """This process, this project or Valkey serves as many as it may."""


class Unavailable(Exception):
    """Valkey could not be asked."""


class Room:
    """A project's readers, and what they share. Entries are decoded once; those kept in memory are the stream's latest."""

    def __init__(self, project_id: int) -> None:
        self.project_id = project_id
        self.readers: set[Reader] = set()
        self.at = Cursor(0, 0)
        self.recent: deque[Entry] = deque()
        self.recent_bytes = 0
        self.refreshed_at = float("-inf")
        self.left_at = asyncio.get_running_loop().time()
        self.is_read = False
        self.lock = asyncio.Lock()
        self._counters = Counters(self.left_at)
        self._told = b""
        self._frames: dict[tuple[Filter, Cursor, Cursor, int], bytes] = {}

    def events_frame(self, wanted: Filter, entries: Sequence[Entry], most: int) -> bytes:
        """Most readers want the same of the same entries: it is written once."""
        key = wanted, entries[0].end, entries[-1].end, most
        if key not in self._frames:
            self._frames[key] = events_frame(wanted, entries, most)
        return self._frames[key]

    def counters(self) -> tuple[bytes, bytes]:
        return self._counters.told(asyncio.get_running_loop().time())

    def take(self, entries: Sequence[Entry], *, most_bytes: int, now_ms: int | None = None) -> None:
        """Entries that follow on `at`. `now_ms`: they are of the past, by that clock."""
        now = asyncio.get_running_loop().time()
        self._frames.clear()
        for entry in entries:
            age = 0.0 if now_ms is None else (now_ms - entry.published_ms) / 1000
            if age <= names.COUNTED_SECONDS:
                is_next = entry.end.epoch == self.at.epoch and now_ms is None
                between = entry.first - 1 - self.at.number if is_next else 0
                self._counters.add(entry, now - age, unseen=between)
            self._counters.covers_from(now - age)
            self.at = entry.end
            self.recent.append(entry)
            self.recent_bytes += entry.size
        while len(self.recent) > 1 and (
            self.recent_bytes > most_bytes or len(self.recent) > names.MAX_ENTRIES
        ):
            self.recent_bytes -= self.recent.popleft().size
        for reader in self.readers:
            reader.offer(entries)

    def forget(self, *, before_ms: int) -> None:
        """Drops what the stream has dropped for its age."""
        while self.recent and self.recent[0].published_ms < before_ms:
            self.recent_bytes -= self.recent.popleft().size

    def restart(self, epoch: int) -> None:
        """Its ids began anew: what came meanwhile is not known."""
        self.at = Cursor(epoch, 0)
        self.recent.clear()
        self.recent_bytes = 0
        self._frames.clear()
        self._counters.restart(asyncio.get_running_loop().time())
        for reader in self.readers:
            reader.restart(self.at)

    def tell_counters(self) -> None:
        """Wakes its readers when the counters have changed."""
        compared, _ = self.counters()
        if compared != self._told:
            self._told = compared
            for reader in self.readers:
                reader.wake()


class Hub:
    """Belongs to one event loop."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._rooms: dict[int, Room] = {}
        self._readers = 0
        self._task: asyncio.Task[None] | None = None
        self.is_closed = False

    async def join(self, project_id: int, wanted: Filter, last_event_id: str) -> tuple[Reader, bytes]:
        """Returns a reader and the first thing to send to it. Raises TooManyReaders, or Unavailable.

        It starts where it says it had come to, as far as the stream still holds that; else now.
        """
        room = self._rooms.get(project_id)
        if self._readers >= names.MAX_READERS or (room and len(room.readers) >= names.MAX_PROJECT_READERS):
            raise TooManyReaders
        if room is None:
            room = self._rooms[project_id] = Room(project_id)
        self._readers += 1  # before the first wait: many may come at once
        try:
            await self._freshen(room)
        except BaseException:
            self._readers -= 1
            if not room.is_read and not room.lock.locked():
                self._rooms.pop(project_id, None)
            raise
        reader = Reader(room, wanted)
        hello = _begin(reader, room, last_event_id)
        room.readers.add(reader)
        # The room may have been given up while it was asked for.
        self._rooms.setdefault(project_id, room)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        return reader, hello

    def leave(self, project_id: int, reader: Reader) -> None:
        self._readers -= 1
        room = self._rooms.get(project_id)
        if room is not None:
            room.readers.discard(reader)
            room.left_at = asyncio.get_running_loop().time()

    def close(self) -> None:
        """Ends every reader, and takes no more."""
        self.is_closed = True
        self._end_readers()

    def _end_readers(self) -> None:
        for room in self._rooms.values():
            for reader in room.readers:
                reader.end()

    async def _freshen(self, room: Room) -> None:
        """Says that somebody looks, where that was not said lately; reads what the stream holds, the first time."""
        try:
            async with room.lock:
                if asyncio.get_running_loop().time() - room.refreshed_at > names.REFRESH_SECONDS:
                    await self._refresh(room)
        except (redis.RedisError, OSError) as error:
            raise Unavailable from error

    async def _refresh(self, room: Room) -> None:
        keys = [names.WATCHED, names.place(room.project_id), names.stream(room.project_id)]
        seconds = names.WATCH_SECONDS, names.KEEP_SECONDS
        limits = [seconds[0] * 1000, seconds[1] * 1000, names.MAX_PROJECTS, names.MAX_AGE_SECONDS * 1000]
        script = self._client.register_script(names.script("watch"))
        answer: Any = await script(keys=keys, args=[room.project_id, *limits])
        if not answer:
            raise TooManyReaders
        epoch, number, now_ms = map(int, answer)
        if room.is_read:
            if epoch != room.at.epoch or number < room.at.number:
                room.restart(epoch)
        else:
            held: Any = await self._client.xrange(keys[2])
            room.at = Cursor(epoch, number)
            entries = [entry for entry in read_entries(held) if entry.end <= room.at]
            room.take(entries, most_bytes=self._most_bytes(), now_ms=now_ms)
            room.at = Cursor(epoch, number)
            room.is_read = True
        room.forget(before_ms=now_ms - names.MAX_AGE_SECONDS * 1000)
        room.refreshed_at = asyncio.get_running_loop().time()

    async def _run(self) -> None:
        try:
            while self._rooms and not self.is_closed:
                await asyncio.sleep(names.POLL_SECONDS)
                try:
                    await self._look()
                except (redis.RedisError, OSError):
                    # It may come back without what it had: that is asked before anything is read.
                    for room in self._rooms.values():
                        room.refreshed_at = float("-inf")
        finally:  # without it nobody is told anything: who comes again starts it again
            self._end_readers()

    async def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for room in list(self._rooms.values()):
            if not room.readers and now - room.left_at > LINGER_SECONDS:
                del self._rooms[room.project_id]
            elif room.readers and now - room.refreshed_at > names.REFRESH_SECONDS:
                with contextlib.suppress(Unavailable, TooManyReaders):
                    await self._freshen(room)
            room.tell_counters()
        rooms = [room for room in self._rooms.values() if room.is_read]
        if rooms:
            await self._read(rooms)

    async def _read(self, rooms: list[Room]) -> None:
        by_stream = {names.stream(room.project_id).encode(): room for room in rooms}
        pipe = self._client.pipeline(transaction=False)
        pipe.hmget(names.WATCHED, [str(room.project_id) for room in rooms])
        places: Any = {name: str(room.at) for name, room in by_stream.items()}
        pipe.xread(places, count=READ_ENTRIES)
        marks, answer = await pipe.execute()
        for name, held in answer:
            by_stream[name].take(read_entries(held), most_bytes=self._most_bytes())
        for room, mark in zip(rooms, marks, strict=True):
            if mark is None and room.readers:  # Valkey has lost it
                room.refreshed_at = float("-inf")

    def _most_bytes(self) -> int:
        return min(names.MAX_STREAM_BYTES, names.MAX_BYTES // max(1, len(self._rooms)))


def _begin(reader: Reader, room: Room, last_event_id: str) -> bytes:
    if not last_event_id:
        return reader.begin(room.at)
    since = Cursor.read(last_event_id)
    if since is None or since.epoch != room.at.epoch or since > room.at:
        return reader.begin(room.at, is_lost=True)
    return reader.begin(since, missed=[entry for entry in room.recent if entry.end > since])
