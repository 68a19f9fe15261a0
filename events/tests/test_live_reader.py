"""What one reader is told, and when."""

import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from events.live import names
from events.live.entry import Cursor, Entry
from events.live.filters import Filter
from events.live.reader import Reader, events_frame

EPOCH = 1_700_000_000_000


def entry(first: int, last: int, *, epoch: int = EPOCH, skipped: int = 0, size: int = 10) -> Entry:
    texts = [
        {"id": str(n), "name": "a", "occurred_at": "", "received_at": "x" * size}
        for n in range(first, last + 1)
    ]
    count = last - first + 1
    return Entry(Cursor(epoch, last), count, skipped, 0, {"a": count}, json.dumps(texts).encode())


class Room:
    told = b""

    def events_frame(self, wanted: Filter, entries: Sequence[Entry], most: int) -> bytes:
        return events_frame(wanted, entries, most)

    def counters(self) -> tuple[bytes, bytes]:
        return self.told, self.told


def reader(number: int = 0, *, room: Room | None = None, **begin: Any) -> Reader:
    made = Reader(room or Room(), Filter())
    made.begin(Cursor(EPOCH, number), **begin)
    return made


def frames(chunk: bytes) -> list[tuple[str, Any]]:
    """Event and data of each frame."""
    found = []
    for text in chunk.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in text.split("\n") if not line.startswith(":"))
        if "data" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def ids(chunk: bytes) -> list[str]:
    return [event["id"] for name, data in frames(chunk) if name == "events" for event in data["events"]]


def next_of(one: Reader) -> bytes:
    return asyncio.run(one.next())


def test_what_was_seen_is_not_repeated_and_nothing_is_left_out() -> None:
    one = reader(2, missed=[entry(3, 4)])
    one.offer([entry(1, 2), entry(3, 4), entry(5, 6)])
    assert ids(next_of(one)) == ["3", "4", "5", "6"]


def test_a_place_that_was_made_up_is_no_gap_below_zero() -> None:
    one = reader(2, missed=[entry(1, 4)])
    assert [name for name, _ in frames(next_of(one))] == ["events"]


@pytest.mark.parametrize(
    ("came", "gap"),
    [
        ([entry(11, 12)], {"count": 10, "why": ["trimmed"]}),
        ([entry(4, 4, skipped=3)], {"count": 3, "why": ["not_published"]}),
        ([entry(6, 6, skipped=3)], {"count": 5, "why": ["not_published", "trimmed"]}),
        ([entry(1, 1), entry(5, 5)], {"count": 3, "why": ["trimmed"]}),
        ([entry(1, 1), entry(1, 1, epoch=EPOCH + 1)], {"count": None, "why": ["restarted"]}),
        ([entry(2, 2), entry(1, 1, epoch=EPOCH + 1)], {"count": None, "why": ["restarted", "trimmed"]}),
    ],
)
def test_every_omission_is_a_gap_with_its_count(came: list[Entry], gap: dict[str, Any]) -> None:
    one = reader()
    one.offer(came)
    assert frames(next_of(one))[0] == ("gap", gap)


def test_of_many_the_newest_are_shown_with_their_number() -> None:
    one = reader(missed=[entry(1, 10)])
    next_of(one)
    one.offer([entry(11, 200), entry(201, 300)])
    ((name, data),) = frames(next_of(one))
    assert (name, data["shown"], data["of"], data["events"][-1]["id"]) == ("events", 50, 290, "300")


def test_a_reader_that_takes_too_little_keeps_the_newest_and_its_memory_is_bounded() -> None:
    one = reader()
    for number in range(1, 401):
        one.offer([entry(number, number, size=10_000)])
    assert one._pending_bytes <= names.MAX_PENDING_BYTES
    gap, (_, data) = frames(next_of(one))
    assert gap == ("gap", {"count": 400 - data["of"], "why": ["slow"]})
    assert data["events"][-1]["id"] == "400"


def test_two_chunks_of_at_most_two_frames_come_in_a_second() -> None:
    room = Room()

    async def read() -> list[tuple[float, int]]:
        one = reader(room=room)
        taken = []
        for number in range(1, 5):
            room.told = str(number).encode()
            one.offer([entry(2 * number, 2 * number)])  # and a gap each time
            chunk = await one.next()
            taken.append((time.monotonic(), len(frames(chunk))))
        return taken

    taken = asyncio.run(read())
    assert all(count <= 2 for _, count in taken)
    waits = [after - before for (before, _), (after, _) in itertools.pairwise(taken)]
    assert min(waits) >= names.FRAME_SECONDS * 0.98


def test_where_nothing_comes_a_heartbeat_tells_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "HEARTBEAT_SECONDS", 0.05)
    assert next_of(reader(7)) == f": nothing new\nid: {EPOCH}-7\n\n".encode()


def test_an_end_that_comes_while_it_waits_for_the_next_frames_time_ends_it() -> None:
    async def read() -> float:
        one = reader(missed=[entry(1, 1)])
        await one.next()
        loop = asyncio.get_running_loop()
        begin = loop.time()
        loop.call_later(0.05, one.end)
        await one.next()
        return loop.time() - begin

    assert asyncio.run(read()) < 1


def test_a_stream_that_began_anew_is_a_gap_and_goes_on() -> None:
    one = reader(90)
    one.restart(Cursor(EPOCH - 5, 0))  # Valkey's clock went back
    one.offer([entry(1, 1, epoch=EPOCH - 5)])
    assert [name for name, _ in frames(next_of(one))] == ["gap", "events"]


@pytest.mark.parametrize("text", ["", "x", "1", "1-", "-1", "1-2-3", "1-2 ", "١-٢", "9" * 50 + "-1", "1-2\n"])
def test_what_is_no_place_is_told_from_one(text: str) -> None:
    assert Cursor.read(text) is None
