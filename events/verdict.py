"""Would it be stored? Asked of the code that accepts and of the statement that stores; what that inserts is rolled back."""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec
from django.db import connection, transaction

from events import jsonb, retry, store, times
from events.accept import accept
from events.codes import Code
from events.envelope import Envelope, Problem, Refused, encode
from events.limits import Limits
from events.plan import mirror
from events.plan.book import ProjectPlan
from events.plan.check import Check
from events.protocols import native

_PLACE: Final = re.compile(r"line (\d+), column (\d+)")
TRY_SECONDS: Final = 5

# As in the store: by index, whatever the statistics of a young partition say.
BY_INDEX: Final = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;"
    f"SET LOCAL statement_timeout = '{TRY_SECONDS}s'"
)
# Plan: one look into the unique index of every partition for each id, however old.
FIND: Final = """
SELECT e.project_id, e.event_id, e.received_at FROM unnest(%s::bigint[], %s::uuid[]) AS s(p, i)
JOIN events_event AS e ON e.event_id = s.i AND e.project_id + 0 = s.p
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`outcome`: stored, duplicate (it is stored already), refused (not even accepted) or dead (accepted, not storable).

    `line` and `column` (from 1) are places in the document that was asked about, where one can be named.
    """

    outcome: str
    code: str = ""
    field: str = ""
    detail: str = ""
    sqlstate: str = ""
    line: int | None = None
    column: int | None = None
    warnings: list[Problem] = dataclasses.field(default_factory=list)
    envelope: Envelope | None = None

    @property
    def would_store(self) -> bool:
        return self.outcome == "stored"


def check(
    document: bytes,
    *,
    project_id: int,
    received_at: datetime,
    event_id: str | None = None,
    original: Envelope | None = None,
) -> Verdict:
    """Takes one event in its sender's form, returns what would become of it. Durable on return: nothing.

    The id stays `event_id`, and what could not be sent faithfully stays with it. Raises what the database raises for
    infrastructure errors.
    """
    try:
        request = native.split(document)
        if not request.single:
            raise Refused(400, Code.INVALID_BODY, "One event object is wanted here.")
    except Refused as refusal:
        return _refused(document, refusal.code, refusal.field, refusal.detail)
    plan = _plan(project_id)
    decision = accept(
        request,
        project_id=project_id,
        limits=Limits.from_settings(),
        received_at=received_at,
        plan=plan.at_door,
    )
    if decision.errors:
        (problem,) = decision.errors
        return _refused(document, problem.code, problem.field, problem.detail)
    (envelope,) = decision.envelopes
    if event_id is not None:
        draft, _ = native.read(jsonb.clean(document))
        if draft.id not in (None, "") and envelope.event_id != event_id:
            return _refused(
                document, Code.ID_CHANGED, "id", f"The id stays {event_id}: leave it, or leave it out."
            )
        kept = original.client_event_id if original else envelope.client_event_id
        envelope = msgspec.structs.replace(envelope, event_id=event_id, client_event_id=kept)
    if original and original.raw and not envelope.raw:
        envelope = msgspec.structs.replace(envelope, raw=original.raw)
    return _planned(document, envelope, decision.warnings, plan) or _tried(
        document, envelope, decision.warnings
    )


def _plan(project_id: int) -> ProjectPlan:
    """The plan as it is in the database, which is ahead of what processes know by some seconds."""
    versions = mirror.in_force(project_id)
    return ProjectPlan(b"", [_check(one.name, one.mode, one.version, one.schema) for one in versions])


@lru_cache(maxsize=200)
def _check(name: str, mode: str, version: int, schema: str) -> Check:
    """Kept, for a rehearsal asks hundreds of times."""
    return Check(name, mode, version, schema.encode())


def _planned(
    document: bytes, envelope: Envelope, warnings: list[Problem], plan: ProjectPlan
) -> Verdict | None:
    """What the store would bury for the plan's sake; None where it would not."""
    check = plan.at_store.get(envelope.name)
    found = check.violation(envelope.properties) if check else None
    if found is None:
        return None
    line, column = _place_of(document, found.field)
    return Verdict("dead", Code.PLAN_VIOLATION, found.field, found.detail, "", line, column, warnings)


def stored_times(events: Iterable[tuple[int, str]]) -> dict[tuple[int, str], set[datetime]]:
    """Takes project and event ids, returns the times of receipt of those that are stored, in whatever partition."""
    wanted = sorted(set(events))
    found: dict[tuple[int, str], set[datetime]] = {}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"{BY_INDEX};" + FIND, [[p for p, _ in wanted], [UUID(e) for _, e in wanted]])
        for project_id, event_id, received_at in cursor.fetchall():
            found.setdefault((project_id, str(event_id)), set()).add(received_at)
    return found


def _tried(document: bytes, envelope: Envelope, warnings: list[Problem]) -> Verdict:
    now = datetime.now(UTC)  # as a replay would: today's partition and its neighbours
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    row = encode(msgspec.structs.replace(envelope, received_at=times.text(now)))
    values: dict[str, Any] = {
        "rows": f"[{row.decode()}]",
        "batch_id": 0,
        "dedup_from": today - timedelta(days=1),
        "dedup_until": today + timedelta(days=2),
    }
    if stored_times([(envelope.project_id, envelope.event_id)]):
        return Verdict("duplicate", warnings=warnings, envelope=envelope)
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(BY_INDEX)
                cursor.execute(store.INSERT_ROWS, values)
            transaction.set_rollback(True)
    except Exception as error:
        meaning = retry.classify(error)
        if not isinstance(meaning, retry.BadData):
            raise
        line, column = _place_of(document, meaning.field or "")
        return Verdict(
            "dead",
            Code.DATA_ERROR,
            meaning.field or "",
            meaning.detail,
            meaning.sqlstate,
            line,
            column,
            warnings,
        )
    return Verdict("stored", warnings=warnings, envelope=envelope)


def _refused(document: bytes, code: str, field_name: str | None, detail: str) -> Verdict:
    place = _PLACE.search(detail)
    line, column = (int(place[1]), int(place[2])) if place else _place_of(document, field_name or "")
    return Verdict("refused", str(code), field_name or "", detail, line=line, column=column)


def _place_of(document: bytes, field_name: str) -> tuple[int | None, int | None]:
    """Where a field stands in a document, by its key."""
    text = document.decode(errors="replace")
    key = field_name.rpartition(".")[2]
    found = re.search(rf'"{re.escape(key)}"\s*:', text) if key else None
    if found is None:
        return None, None
    before = text[: found.start()]
    return before.count("\n") + 1, len(before) - before.rfind("\n")
