"""Purge: entries out of the queue, into a file first. The ledger counts them as discarded."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

import redis
from django import db
from django.conf import settings
from django.db import connection, transaction

from events import buffer, store
from events.buffer import Held
from events.envelope import split

REASON: Final = "a purge is under way"
CHUNK_ENTRIES: Final = 100
CHUNK_BYTES: Final = 8_000_000
WAIT_SECONDS: Final = 20.0  # longer than a store transaction may last
POLL_SECONDS: Final = 0.05

# The mark of a stored entry: a second delivery of it is only acked. Whoever marks it first decides what became of it.
MARK: Final = """
INSERT INTO events_inbox (epoch, ms, seq) SELECT %s, * FROM unnest(%s::bigint[], %s::bigint[]) AS e(ms, seq)
ORDER BY ms, seq ON CONFLICT DO NOTHING RETURNING ms, seq
"""
COUNT_DISCARDED: Final = """
INSERT INTO events_ledger (project_id, hour, accepted, discarded)
SELECT p, h, 0, d FROM unnest(%s::bigint[], %s::timestamptz[], %s::bigint[]) AS c(p, h, d) ORDER BY p, h
ON CONFLICT (project_id, hour) DO UPDATE SET discarded = events_ledger.discarded + excluded.discarded
"""


class PurgeRefused(Exception):
    """Nothing, or nothing more, was deleted; the text says why."""


@dataclass(slots=True)
class Purged:
    """`events` are in the file and gone from the queue; `stored_already` had been stored, and were only acknowledged."""

    path: Path
    entries: int = 0
    events: int = 0
    stored_already: int = 0
    counted: bool = True


def purge(
    client: redis.Redis,
    *,
    to: Path,
    project_id: int | None = None,
    force: bool = False,
    wait_seconds: float = WAIT_SECONDS,
) -> Purged:
    """Writes what the queue holds now to a new file, one envelope a line, then deletes it. Draining is paused meanwhile.

    Durable on return: the file, the ledger's count, the deletion. Chunk by chunk, the file first: a crash midway leaves
    draining paused, the rest in the queue, and in the file at most a chunk more than was deleted.
    Raises PurgeRefused, redis.RedisError, OSError. `force`: without the database; the ledger will then not balance.
    """
    paused_before = buffer.paused(client)
    if paused_before is None:
        buffer.pause(client, REASON)
    try:
        _wait_for_runs(client, wait_seconds, force=force)
        with _new_file(to) as file:
            purged = Purged(to, counted=not force)
            epoch = buffer.ensure_epoch(client)
            for chunk in _chunks(client, project_id):
                _take(client, epoch, chunk, file, purged)
        if project_id is None:
            buffer.forget_work(client, range(settings.EVENTS_DRAIN_SLOTS))
    finally:
        if paused_before is None and buffer.paused(client) == REASON:  # else somebody paused it meanwhile
            buffer.resume(client)
    return purged


def _wait_for_runs(client: redis.Redis, seconds: float, *, force: bool) -> None:
    """Until no run is at work. A mark whose slot nobody has locked for so long is that of a run that died."""
    deadline = time.monotonic() + seconds
    while buffer.standing(client).at_work:
        if time.monotonic() > deadline:
            if force or _slots_are_free():
                return
            raise PurgeRefused("A drain run is still at work. Nothing was deleted; try again.")
        time.sleep(POLL_SECONDS)


def _slots_are_free() -> bool:
    try:
        with transaction.atomic():
            return all(store.take_slot(slot) for slot in range(settings.EVENTS_DRAIN_SLOTS))
    except db.Error as error:
        raise _database_away(0) from error


def _chunks(client: redis.Redis, project_id: int | None) -> Iterator[list[Held]]:
    chunk: list[Held] = []
    size = 0
    for entry in buffer.entries(client):
        if project_id is not None and entry.project_id != project_id:
            continue
        if chunk and (len(chunk) >= CHUNK_ENTRIES or size + len(entry.payload) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += len(entry.payload)
    if chunk:
        yield chunk


def _take(client: redis.Redis, epoch: str, chunk: list[Held], file: IO[bytes], purged: Purged) -> None:
    """File, then the database's mark and count in one transaction, then the queue."""
    fresh = chunk
    if purged.counted:
        try:
            with transaction.atomic():
                fresh = _mark(epoch, chunk)
                _write(file, fresh)
                _count(fresh)
        except db.Error as error:
            connection.close()
            raise _database_away(purged.events) from error
    else:
        _write(file, fresh)
    buffer.discard(client, [entry.id for entry in chunk])
    purged.entries += len(fresh)
    purged.events += sum(entry.events for entry in fresh)
    purged.stored_already += sum(entry.events for entry in chunk) - sum(entry.events for entry in fresh)


def _mark(epoch: str, chunk: list[Held]) -> list[Held]:
    """Marks entries as done with; returns those that were not stored before."""
    ids = [entry.id.split("-") for entry in chunk]
    with connection.cursor() as cursor:
        # No knob: an entry is deleted from the queue once this commit is acknowledged.
        cursor.execute("SET LOCAL synchronous_commit = on")
        cursor.execute(MARK, [epoch, [int(ms) for ms, _ in ids], [int(seq) for _, seq in ids]])
        marked = {f"{ms}-{seq}" for ms, seq in cursor.fetchall()}
    return [entry for entry in chunk if entry.id in marked]


def _count(entries: list[Held]) -> None:
    counts: Counter[tuple[int, int]] = Counter()
    for entry in entries:
        counts[entry.project_id, entry.hour] += entry.events
    places = sorted(counts)
    with connection.cursor() as cursor:
        cursor.execute(
            COUNT_DISCARDED,
            [
                [project_id for project_id, _ in places],
                [datetime.fromtimestamp(hour * 3600, UTC) for _, hour in places],
                [counts[place] for place in places],
            ],
        )


def _write(file: IO[bytes], entries: list[Held]) -> None:
    """On the disk on return."""
    for entry in entries:
        for envelope in split(b"[" + entry.payload + b"]"):
            # A line break in JSON stands between tokens, never in a string: a space does as well.
            file.write(bytes(envelope).replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _new_file(path: Path) -> IO[bytes]:
    """Readable by its owner only: it holds what people sent."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise PurgeRefused(f"{path} exists. Nothing was deleted.") from None
    except OSError as error:
        raise PurgeRefused(f"{path}: {error.strerror}. Nothing was deleted.") from error
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return os.fdopen(descriptor, "wb")


def _database_away(events: int) -> PurgeRefused:
    done = f"{events} events were taken out before that." if events else "Nothing was deleted."
    return PurgeRefused(f"The database does not answer, so the ledger cannot count what is discarded. {done}")
