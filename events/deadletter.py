"""Dead letters as people handle them: found, read in their sender's form, grouped by cause, discarded, expired.

Their replay is in replay.py. A letter stays counted as `dead` whatever becomes of it: what is sent again is accepted again.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Max, Min, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from events.audit import audit, only_project
from events.envelope import Envelope, decode
from events.models import DeadLetter, LetterState

GROUPED: Final = 100_000  # the latest so many are grouped: 70 ms, of 300,000 that waited
GROUPS: Final = 200
EXPIRE_CHUNK: Final = 5_000
EXPIRE_CHUNKS_A_RUN: Final = 20
SYSTEM: Final = "retention"
LISTS: Final = ("ids", "event_ids")
_IN_DEFINITION: Final = re.compile(r"""\(?"?(\w+)"?\)?(?:\s*->>?\s*'([^']+)'(?:::text)?)?""")
_QUOTED: Final = re.compile(r'"([^"]{1,200})"')


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: all that match. Times are of the last failure."""

    project_id: int | None = None
    ids: Sequence[int] = ()
    state: str = ""
    code: str = ""
    sqlstate: str = ""
    fingerprint: str = ""
    name: str = ""
    event_ids: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None

    def rows(self) -> QuerySet[DeadLetter]:
        exact = {
            name: value
            for name in ("project_id", "state", "code", "sqlstate", "fingerprint", "name")
            if (value := getattr(self, name))
        }
        rows = DeadLetter.objects.filter(**exact)
        if self.ids:
            rows = rows.filter(id__in=list(self.ids))
        if self.event_ids:
            rows = rows.filter(event_id__in=list(self.event_ids))
        if self.since:
            rows = rows.filter(last_failed_at__gte=self.since)
        if self.until:
            rows = rows.filter(last_failed_at__lt=self.until)
        return rows

    def as_json(self) -> dict[str, Any]:
        """Only what was asked for."""
        given = {name: value for name, value in asdict(self).items() if value}
        return {
            name: value.isoformat()
            if isinstance(value, datetime)
            else list(value)
            if name in LISTS
            else value
            for name, value in given.items()
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Wanted":
        fields: dict[str, Any] = dict(kept)
        for name in ("since", "until"):
            if name in kept:
                fields[name] = parse_datetime(kept[name])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Group:
    """Letters with one cause; `example` is the latest of them, `error` its error."""

    fingerprint: str
    code: str
    sqlstate: str
    field: str
    letters: int
    first_at: datetime
    last_at: datetime
    example: int
    error: str


@dataclass(frozen=True, slots=True)
class Groups:
    """`is_partial`: there are more letters than were looked at."""

    groups: list[Group]
    is_partial: bool


def groups(wanted: Wanted) -> Groups:
    """Returns the causes of the latest letters, the most frequent first."""
    rows = wanted.rows()
    # The id behind which the latest begin, instead of a join with them: a tenth of the time.
    oldest = rows.order_by("-id").values_list("id", flat=True)[GROUPED - 1 : GROUPED]
    cutoff = list(oldest)
    found = list(
        (rows.filter(id__gte=cutoff[0]) if cutoff else rows)
        .order_by()
        .values("fingerprint", "code", "sqlstate", "field")
        .annotate(
            letters=Count("id"),
            first_at=Min("first_failed_at"),
            last_at=Max("last_failed_at"),
            example=Max("id"),
        )
        .order_by("-letters", "fingerprint")[:GROUPS]
    )
    examples = DeadLetter.objects.only("error").in_bulk([row["example"] for row in found])
    made = [Group(**row, error=examples[row["example"]].cause) for row in found if row["example"] in examples]
    return Groups(made, is_partial=bool(cutoff))


# --- one letter, as its sender would know it ------------------------------------------------------------------------


def envelope_of(payload: bytes | memoryview | None) -> Envelope | None:
    """Returns what a payload holds, None where it is no envelope."""
    try:
        return None if payload is None else decode(bytes(payload))
    except (msgspec.MsgspecError, RecursionError):
        return None


def client_form(payload: bytes | memoryview) -> bytes:
    """Takes an envelope, returns the event as its sender would write it, indented; anything else as it is."""
    envelope = envelope_of(payload)
    if envelope is None:
        return bytes(payload)
    fields: dict[str, Any] = {"id": envelope.client_event_id or envelope.event_id, "name": envelope.name}
    for name in ("user_id", "anonymous_id", "session_id"):
        if (value := getattr(envelope, name)) is not None:
            fields[name] = value
    fields |= {
        "occurred_at": envelope.occurred_at,
        "properties": envelope.properties,
        "context": envelope.context,
    }
    return msgspec.json.format(msgspec.json.encode(fields), indent=2)


def curl(letter: DeadLetter) -> str | None:
    """Returns a shell line that sends the event again with a key in $KEY; None where the payload is no event."""
    if envelope_of(letter.sent or letter.payload) is None:
        return None
    event = msgspec.json.format(client_form(letter.sent or letter.payload), indent=-1).decode()
    return (
        f'curl {shlex.quote(settings.PUBLIC_URL + "/v1/events")} -H "Authorization: Bearer $KEY"'
        f" -H 'Content-Type: application/json' --data-binary {shlex.quote(event)}"
    )


def offending(letter: DeadLetter) -> list[str]:
    """Returns the paths, like properties.amount, of what the error is about, as far as that can be known."""
    envelope = envelope_of(letter.payload)
    if not letter.field:
        quoted = set(_QUOTED.findall(letter.cause))
        return _holding(bytes(letter.payload), quoted) if envelope and quoted else []
    if letter.field in Envelope.__struct_fields__ or "." in letter.field:
        return [letter.field]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = 'events_event'::regclass AND conname = %s",
            [letter.field],
        )
        found = cursor.fetchone()
    places = _IN_DEFINITION.findall(found[0]) if found else []
    return sorted(
        {
            f"{column}.{key}" if key else column
            for column, key in places
            if column in Envelope.__struct_fields__
        }
    )


def _holding(payload: bytes, values: set[str]) -> list[str]:
    """The paths of texts in a JSON document that are one of these."""
    found: list[str] = []

    def look(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                look(item, f"{path}.{key}" if path else str(key))
        elif isinstance(value, list):
            for place, item in enumerate(value):
                look(item, f"{path}.{place}")
        elif isinstance(value, str) and value in values:
            found.append(path)

    look(msgspec.json.decode(payload), "")
    return found


def story(letter: DeadLetter) -> list[DeadLetter]:
    """Returns every letter of the same event, the earliest first: each is one failure."""
    if letter.event_id is None:
        return [letter]
    same = DeadLetter.objects.filter(event_id=letter.event_id, project=letter.project_id)
    return list(same.defer("payload", "sent").order_by("id")[:100])


# --- what people do to them -------------------------------------------------------------------------------------------


def discard(wanted: Wanted, *, reason: str, by: str) -> int:
    """Gives up waiting letters for good; returns how many. They stay to be read until they expire."""
    with transaction.atomic():
        waiting = wanted.rows().filter(state=LetterState.WAITING)
        project_id = wanted.project_id or only_project(waiting)
        discarded = waiting.update(
            state=LetterState.DISCARDED, note=reason, ended_at=timezone.now(), ended_by=by[:150]
        )
        what = {"filter": wanted.as_json(), "reason": reason}
        audit("discard", by=by, project_id=project_id, letters=discarded, what=what)
    return discarded


# Plan: an index scan of last_failed_at that stops after a chunk. What is under way is not cut off.
EXPIRE: Final = """
WITH gone AS (
    DELETE FROM events_deadletter WHERE id IN (
        SELECT id FROM events_deadletter WHERE last_failed_at < %s AND state <> 'replaying' ORDER BY last_failed_at LIMIT %s)
    RETURNING project_id, state)
SELECT project_id, state, count(*) FROM gone GROUP BY 1, 2 ORDER BY 1, 2
"""


def expire() -> int:
    """Removes letters older than EVENTS_DEAD_DAYS, chunk by chunk, each with its lines in the audit log; returns how many."""
    before = timezone.now() - timedelta(days=settings.EVENTS_DEAD_DAYS)
    expired = 0
    for _ in range(EXPIRE_CHUNKS_A_RUN):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(EXPIRE, [before, EXPIRE_CHUNK])
            counts = cursor.fetchall()
            for project_id, state, letters in counts:
                what = {"state": state, "failed_before": before.isoformat()}
                audit("expire", by=SYSTEM, project_id=project_id, letters=letters, what=what)
        chunk = sum(letters for _, _, letters in counts)
        expired += chunk
        if chunk < EXPIRE_CHUNK:
            break
    return expired
