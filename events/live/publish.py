"""Publish: what a committed batch stored goes to the streams of the projects that somebody looks at.

Nobody looks: one question to Valkey a batch. The drain neither fails nor waits for it: what cannot be published is
counted, and the count goes with what is published next.
"""

import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import redis
from django.db import Error, connection, transaction

from events.buffer import Claimed
from events.envelope import Envelope
from events.live import names
from events.live.entry import LiveEvent
from events.store import Stored

STATEMENT_MS: Final = 500
MAX_MISSED: Final = 10_000  # projects whose missed events a drain process remembers
_HEAD: Final = b'{"project_id":'  # an envelope is encoded in this order, and an entry is one project's
_envelopes = msgspec.json.Decoder(list[Envelope]).decode
_encode = msgspec.json.Encoder().encode

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Missed:
    """Events of a project that were stored and not published. `unknown`: and others, nobody can say how many."""

    at: float
    events: int = 0
    unknown: bool = False


_missed: dict[int, _Missed] = {}  # of this process


def publish(client: redis.Redis, batch: Claimed, stored: Stored) -> int:
    """Takes a batch whose transaction has committed, returns how many events of it were published.

    Durable on return: nothing that must be. A crash before it shows to readers as a gap, when the batch comes again.
    """
    counts: Counter[int] = Counter()
    for (project_id, _), count in stored.stored.items():
        counts[project_id] += count
    try:
        watched = _look(client)
    except redis.RedisError:
        for project_id, count in counts.items():
            _miss(project_id, count)
        return 0
    _forget_unwatched(watched)
    if not watched:
        return 0
    published = 0
    came_again = (
        stored.received.total() < batch.events
    )  # stored by a run that died: published or not, who knows
    for project_id in watched.keys() & (_projects(batch) if came_again else counts.keys()):
        published += _publish_project(
            client, batch, stored, project_id, counts[project_id], len(watched), came_again
        )
    return published


def _publish_project(
    client: redis.Redis,
    batch: Claimed,
    stored: Stored,
    project_id: int,
    count: int,
    watched: int,
    came_again: bool,
) -> int:
    missed = _missed.get(project_id) or _Missed(time.monotonic())
    try:
        rows = _rows(batch, stored, project_id, count) if count else []
        split, events = _contents(rows)
        keys = [names.place(project_id), names.stream(project_id)]
        most_bytes = min(names.MAX_STREAM_BYTES, names.MAX_BYTES // watched)
        restart = int(came_again or missed.unknown)
        skipped = missed.events + count - len(rows)
        limits = [most_bytes, names.MAX_ENTRIES, names.KEEP_SECONDS * 1000]
        script = client.register_script(names.script("publish"))
        script(keys=keys, args=[len(rows), skipped, restart, split, events, *limits])
    except (redis.RedisError, Error, msgspec.MsgspecError, ValueError) as error:
        # Not worth a try more: who looks is told how many there were.
        log.debug("live events were not published: %s", type(error).__name__)
        _miss(project_id, count, unknown=came_again)
        return 0
    if rows or restart:
        _missed.pop(project_id, None)
    elif count:
        _miss(project_id, count)
    return len(rows)


def _look(client: redis.Redis) -> dict[int, float]:
    """Returns the watched projects, and by this process' clock since when."""
    now, *flat = client.register_script(names.script("look"))(keys=[names.WATCHED])
    ahead = time.monotonic() - int(now) / 1000
    return {
        int(project): int(since) / 1000 + ahead for project, since in zip(flat[::2], flat[1::2], strict=True)
    }


def _miss(project_id: int, count: int, *, unknown: bool = False) -> None:
    if project_id not in _missed and len(_missed) >= MAX_MISSED:
        return
    missed = _missed.setdefault(project_id, _Missed(0.0))
    missed.at = time.monotonic()
    missed.events += count
    missed.unknown |= unknown


def _forget_unwatched(watched: dict[int, float]) -> None:
    """What was missed before somebody looked is nobody's gap."""
    for project_id in [
        known for known, missed in _missed.items() if known not in watched or missed.at < watched[known]
    ]:
        del _missed[project_id]


def _projects(batch: Claimed) -> set[int]:
    return {_project(payload) for payload in batch.payloads}


def _project(payload: bytes) -> int:
    """The project that an entry belongs to, read from its first bytes; 0 where it cannot be."""
    number = payload[len(_HEAD) : len(_HEAD) + 20].split(b",", 1)[0]
    return int(number) if payload.startswith(_HEAD) and number.isdigit() else 0


def _rows(batch: Claimed, stored: Stored, project_id: int, count: int) -> list[Envelope]:
    """The project's events that became rows, in the order of their coming.

    From the batch as it lies in memory. Only where some did not become rows is the database asked which did.
    """
    rows = [
        row
        for payload in batch.payloads
        if _project(payload) == project_id
        for row in _envelopes(b"[" + payload + b"]")
    ]
    if len(rows) == count:
        return rows
    wanted = _stored_ids(stored, project_id)
    # An id that stands twice in a batch is one row.
    by_id = {row.event_id: row for row in reversed(rows) if row.event_id in wanted}
    return list(reversed(by_id.values()))


# Plan: the primary key's index over the batch's range of ids, among those of concurrent batches.
_STORED_IDS: Final = """
SELECT event_id::text FROM events_event WHERE id BETWEEN %s AND %s AND batch_id = %s AND project_id + 0 = %s
"""


def _stored_ids(stored: Stored, project_id: int) -> set[str]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = %s", [STATEMENT_MS])
        cursor.execute(_STORED_IDS, [stored.first_id, stored.last_id, stored.batch_id, project_id])
        return {event_id for (event_id,) in cursor.fetchall()}


def _contents(rows: list[Envelope]) -> tuple[bytes, bytes]:
    """Returns the rows' count by name, and the events that are carried, both as JSON of bounded size."""
    counts = Counter(row.name for row in rows)
    return _encode(_bounded(counts)), b"[" + b",".join(_carried(rows)) + b"]"


def _bounded(counts: Counter[str]) -> dict[str, int]:
    """The frequent names. Those that are left out are known from the sum."""
    size, kept = 0, {}
    for name, count in counts.most_common():
        size += len(name) * 4 + 12
        if size > names.MAX_NAMES_BYTES:
            break
        kept[name] = count
    return kept


def _carried(rows: list[Envelope]) -> list[bytes]:
    """The newest events of each name in turn, so that a rare one is seen among thousands; in the order of their coming."""
    places: list[Any] = list(range(len(rows)))
    if len(rows) > names.MAX_ENTRY_EVENTS:
        seen: Counter[str] = Counter()
        ranked = []
        for place in reversed(places):
            seen[rows[place].name] += 1
            ranked.append((seen[rows[place].name], -place))
        ranked.sort()
        places = [-place for _, place in ranked[: names.MAX_ENTRY_EVENTS]]
    else:
        places.reverse()
    size, kept = 0, {}
    for place in places:
        event = _encode(LiveEvent.of(rows[place]))
        size += len(event) + 1
        if size > names.MAX_ENTRY_BYTES:
            break
        kept[place] = event
    return [kept[place] for place in sorted(kept)]
