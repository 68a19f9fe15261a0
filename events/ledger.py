"""The ledger: accepted = stored + duplicate + dead + discarded + queued, by project and hour of receipt.

Accepted and queued are counted by the queue's scripts, the rest by the store transaction: so the identity proves something.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import redis
from django.db import connection
from django.utils import timezone

from events import buffer
from events.codes import OF_WARNED
from events.models import Ledger, QueueState

KEPT: Final = timedelta(hours=2)  # in Valkey: no event of an hour longer over is accepted
CHECKED: Final = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Line:
    """One hour of one project, in events. `difference` is 0 unless something is wrong or under way this very moment.

    `unaccounted`: accepted events that a Valkey without its last seconds has forgotten; a lower bound.
    """

    project_id: int
    hour: datetime
    accepted: int
    stored: int
    duplicate: int
    dead: int
    discarded: int
    replayed: int
    queued: int
    unaccounted: int
    difference: int
    rejected: dict[str, int] = field(default_factory=dict)
    warned: dict[str, int] = field(default_factory=dict)


def lines(
    client: redis.Redis, *, since: datetime, project_id: int | None = None, unbalanced: bool = False
) -> list[Line]:
    """Returns the hours since a time, latest first. Raises redis.RedisError and django.db.Error."""
    accepted, queued = buffer.hourly_counts(client)
    rows = Ledger.objects.filter(hour__gte=since)
    if project_id is not None:
        rows = rows.filter(project_id=project_id)
    known = {(row.project_id, _hour_number(row.hour)): row for row in rows}
    # What the queue counted since the last copy belongs to the same moment as what it holds.
    for place in accepted.keys() - known.keys():
        if place[1] >= _hour_number(since) and project_id in (None, place[0]):
            known[place] = _empty_row(*place)
    found = [_line(row, accepted.get(place, 0), queued.get(place, 0)) for place, row in known.items()]
    found.sort(key=lambda line: (-line.hour.timestamp(), line.project_id))
    return [line for line in found if line.difference] if unbalanced else found


def _empty_row(project_id: int, hour: int) -> Ledger:
    counts = dict.fromkeys(
        ("accepted", "stored", "duplicate", "dead", "discarded", "replayed", "set_back"), 0
    )
    return Ledger(
        project_id=project_id, hour=datetime.fromtimestamp(hour * 3600, UTC), rejected={}, warned={}, **counts
    )


def _line(row: Ledger, counted: int, queued: int) -> Line:
    accepted = max(row.accepted, row.set_back + counted)
    missing = accepted - row.stored - row.duplicate - row.dead - row.discarded - queued
    unaccounted = max(0, min(missing, row.set_back))
    return Line(
        project_id=row.project_id,
        hour=row.hour,
        accepted=accepted,
        stored=row.stored,
        duplicate=row.duplicate,
        dead=row.dead,
        discarded=row.discarded,
        replayed=row.replayed,
        queued=queued,
        unaccounted=unaccounted,
        difference=missing - unaccounted,
        rejected=row.rejected,
        warned=row.warned,
    )


# `set_back` is what the queue's own count lacks: added to it, the count never shrinks here.
COPY: Final = """
INSERT INTO events_ledger AS l (project_id, hour, accepted, rejected, warned)
SELECT p, h, n, r, w FROM unnest(%s::bigint[], %s::timestamptz[], %s::bigint[], %s::jsonb[], %s::jsonb[]) AS c(p, h, n, r, w)
ORDER BY p, h
ON CONFLICT (project_id, hour) DO UPDATE SET
    set_back = l.set_back + greatest(0, l.accepted - l.set_back - excluded.accepted),
    accepted = greatest(l.accepted, l.set_back + excluded.accepted),
    rejected = l.rejected || excluded.rejected,
    warned = l.warned || excluded.warned
WHERE l.accepted <> l.set_back + excluded.accepted OR NOT l.rejected @> excluded.rejected OR NOT l.warned @> excluded.warned
"""


def copy(client: redis.Redis) -> None:
    """Brings the queue's counts and place into the database; counts of hours long over are then dropped from Valkey."""
    now = datetime.now(UTC)
    accepted, rejected = buffer.accepted_counts(client), buffer.rejected_counts(client)
    refused: dict[tuple[int, int], dict[str, int]] = defaultdict(dict)
    warned: dict[tuple[int, int], dict[str, int]] = defaultdict(dict)
    for (project_id, hour, code), events in rejected.items():
        of_kind = warned if code.startswith(OF_WARNED) else refused
        of_kind[project_id, hour][code.removeprefix(OF_WARNED)] = events
    current = Ledger.objects.filter(hour__gte=now - timedelta(hours=1), accepted__gt=0)
    known = {
        (row.project_id, _hour_number(row.hour)) for row in current
    }  # a replaced Valkey does not name them
    places = sorted(accepted.keys() | refused.keys() | warned.keys() | known)
    if places:
        hours = [datetime.fromtimestamp(hour * 3600, UTC) for _, hour in places]
        values: list[list[Any]] = [
            [project_id for project_id, _ in places],
            hours,
            [accepted.get(place, 0) for place in places],
            [json.dumps(refused.get(place, {})) for place in places],
            [json.dumps(warned.get(place, {})) for place in places],
        ]
        with connection.cursor() as cursor:
            cursor.execute(COPY, values)
        over = {place for place, hour in zip(places, hours, strict=True) if hour < now - KEPT}
        buffer.forget_accepted(client, over & accepted.keys())
        buffer.forget_rejected(client, [place for place in rejected if place[:2] in over])
    _copy_place(client)


def _copy_place(client: redis.Redis) -> None:
    """Keeps how far the stream has come, and when it was last found behind that."""
    epoch, ms, seq = buffer.place(client)
    state = QueueState.objects.first() or QueueState(epoch=None, last_ms=0, last_seq=0)
    replaced = state.epoch is not None and str(state.epoch) != str(epoch)
    if replaced or (ms, seq) < (state.last_ms, state.last_seq):
        state.set_back_at = timezone.now()
    state.epoch, state.last_ms, state.last_seq, state.copied_at = epoch, ms, seq, timezone.now()
    state.save()


def check(client: redis.Redis) -> list[Line]:
    """Returns the hours that do not balance and did not at the last call either, and keeps them for the alarm."""
    found = lines(client, since=datetime.now(UTC) - CHECKED, unbalanced=True)
    # Counts that move are read at slightly different moments: only an hour that rested from one look to the next is judged.
    counts = {_place(line): [line.accepted, line.queued, line.difference] for line in found}
    before = buffer.exchange_suspects(client, counts)
    standing = [line for line in found if before.get(_place(line)) == counts[_place(line)]]
    buffer.keep_unbalanced(client, {_place(line): line.difference for line in standing[:10]})
    buffer.set_alarm(client, "ledger", "; ".join(_told(line) for line in standing[:10]))
    return standing


def _place(line: Line) -> str:
    return f"{line.project_id} {line.hour:%Y-%m-%dT%H:00Z}"


def _told(line: Line) -> str:
    return f"project {line.project_id}, {line.hour:%Y-%m-%d %H}h: {line.difference:+d} events"


def _hour_number(hour: datetime) -> int:
    return int(hour.timestamp()) // 3600
