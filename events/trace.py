"""Trace: the way of one event, step by step, with the time between. Reads the queue, the tables, and nothing else."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import redis

from events import buffer
from events.accept import MAX_TEXT, ids_of
from events.models import Batch, DeadLetter, Event, LetterOutcome, LetterState

SCANNED_ENTRIES: Final = 5_000
SCAN_SECONDS: Final = 0.5
FOUND_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class Step:
    """`ms`: since the step before; None for the first. `about` says more, by names that depend on the step."""

    step: str
    at: datetime
    ms: float | None = None
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace:
    """`now`: stored, queued, dead, replaying, discarded or unseen. `queue_scanned` entries were looked through.

    `queue_complete` is False where more lie there than were looked through, or the queue does not answer.
    """

    project_id: int
    sent_id: str
    event_ids: list[str]
    now: str
    steps: list[Step]
    queue_scanned: int
    queue_complete: bool

    @property
    def seen(self) -> bool:
        return bool(self.steps)


def trace(client: redis.Redis, project_id: int, sent_id: str) -> Trace:
    """Takes an event's UUID or its id as sent, returns all that is known of it. Raises django.db.Error."""
    ids = ids_of(project_id, sent_id) if 0 < len(sent_id) <= MAX_TEXT else []
    # The queue first: what leaves it meanwhile is then in the tables.
    queued, scanned, complete = _queued(client, project_id, ids) if ids else ([], 0, True)
    events = list(
        Event.objects.filter(project_id=project_id, event_id__in=ids)
        .defer("properties", "context", "raw")
        .order_by("received_at")[:FOUND_AT_ONCE]
    )
    letters = list(
        DeadLetter.objects.filter(project_id=project_id, event_id__in=ids)
        .defer("payload", "sent")
        .order_by("id")[:FOUND_AT_ONCE]
    )
    steps = [*_of_rows(events), *_of_letters(letters)]
    known = {step.at for step in steps if step.step in ("accepted", "sent again")}
    steps += [step for step in queued if step.step != "accepted" or step.at not in known]
    return Trace(project_id, sent_id, ids, _now(events, letters, queued), _timed(steps), scanned, complete)


def _queued(client: redis.Redis, project_id: int, ids: list[str]) -> tuple[list[Step], int, bool]:
    """Looks through the oldest entries, bounded in number and time; the queue may hold half a million events."""
    marks = [f'"event_id":"{event_id}"'.encode() for event_id in ids]
    steps: list[Step] = []
    scanned, until = 0, time.monotonic() + SCAN_SECONDS
    try:
        for entry in buffer.entries(client):
            if scanned >= SCANNED_ENTRIES or time.monotonic() > until:
                return steps, scanned, False
            scanned += 1
            if entry.project_id == project_id and any(mark in entry.payload for mark in marks):
                about = {"entry": entry.id} | _claim(client, entry.id)
                receipts = list(_in_entry(entry.payload, marks))
                steps += _failed_so_far(client, entry.id, about.get("slot"))
                # An entry's id is a time to the millisecond, a receipt's to the microsecond.
                at = max([_entry_time(entry.id), *(step.at for step in receipts)])
                steps += [*receipts, Step("queued", at, about=about)]
    except redis.RedisError:
        return steps, scanned, False
    return steps, scanned, True


def _in_entry(payload: bytes, marks: list[bytes]) -> Iterable[Step]:
    for mark in marks:
        row = payload.partition(mark)[2]
        stamp = (
            row.partition(b'"received_at":"')[2].partition(b'"')[0].decode(errors="replace") if row else ""
        )
        try:
            yield Step("accepted", datetime.fromisoformat(stamp))
        except ValueError:
            continue


def _claim(client: redis.Redis, entry_id: str) -> dict[str, Any]:
    """Which slot has it, since when, and how often workers died at it."""
    holder = buffer.holder(client, entry_id)
    if holder is None:
        return {"claimed": False}
    return {"claimed": True, "slot": holder.slot, "idle_ms": holder.idle_ms, "deaths": holder.deaths}


def _failed_so_far(client: redis.Redis, entry_id: str, slot: str | None) -> list[Step]:
    """Attempts at an entry that waits for the next one."""
    if slot is None:
        return []
    found = buffer.attempts(client, int(slot.rpartition("-")[2]), entry_id)
    return [
        _failed(
            {"attempt": one.number, "at": one.at.isoformat(), "sqlstate": one.sqlstate, "error": one.error}
        )
        for one in found
        if one.had_batch
    ]


def _of_rows(events: list[Event]) -> list[Step]:
    batches = {batch.pk: batch for batch in Batch.objects.filter(pk__in=[event.batch_id for event in events])}
    steps = []
    for event in events:
        steps.append(Step("accepted", event.received_at, about={"occurred_at": event.occurred_at}))
        about = {"row": event.pk, "name": event.name, "client_event_id": event.client_event_id}
        steps.append(Step("stored", event.stored_at, about=about))
        if batch := batches.get(event.batch_id):
            about = {
                "batch": batch.pk, "slot": batch.slot, "attempts": batch.attempts, "events": batch.events,
                "stored": batch.stored, "duplicate": batch.duplicate, "dead": batch.dead,
            }  # fmt: skip
            steps.append(Step("batch", batch.stored_at, about=about))
    return steps


def _of_letters(letters: list[DeadLetter]) -> list[Step]:
    steps = []
    replayed = {letter.replayed_at for letter in letters}
    for letter in letters:
        if letter.received_at not in replayed:  # else it is the end of the replay before it
            steps.append(Step("accepted", letter.received_at))
        about = {
            "letter": letter.pk, "code": letter.code, "sqlstate": letter.sqlstate, "field": letter.field,
            "error": letter.cause, "stage": letter.stage, "attempts": letter.attempts,
        }  # fmt: skip
        steps += [_failed(one) for one in letter.failures]
        steps.append(Step("buried", letter.last_failed_at, about=about))
        if letter.replayed_at:
            about = {"letter": letter.pk, "replay": letter.replay_id, "by": letter.ended_by}
            steps.append(Step("sent again", letter.replayed_at, about=about))
        if letter.ended_at:
            what = "discarded" if letter.state == LetterState.DISCARDED else "replayed"
            about = {
                "letter": letter.pk,
                "outcome": letter.outcome,
                "note": letter.note,
                "by": letter.ended_by,
            }
            steps.append(Step(what, letter.ended_at, about=about))
    return steps


def _failed(attempt: dict[str, Any]) -> Step:
    about = {name: attempt[name] for name in ("attempt", "sqlstate", "error") if attempt[name]}
    return Step("failed", datetime.fromisoformat(attempt["at"]), about=about)


def _now(events: list[Event], letters: list[DeadLetter], queued: list[Step]) -> str:
    if events or any(letter.outcome in (LetterOutcome.STORED, LetterOutcome.DUPLICATE) for letter in letters):
        return "stored"
    if not letters:
        return "queued" if queued else "unseen"
    last = letters[-1]
    if last.state == LetterState.WAITING:
        return "queued" if queued else "dead"
    return str(last.state)


# In this order where times are equal. A batch is written after its rows.
_ORDER: Final = (
    "accepted",
    "sent again",
    "queued",
    "failed",
    "stored",
    "batch",
    "buried",
    "replayed",
    "discarded",
)


def _timed(steps: list[Step]) -> list[Step]:
    ordered = sorted(_without_doubles(steps), key=lambda step: (step.at, _ORDER.index(step.step)))
    timed: list[Step] = []
    before: datetime | None = None
    for step in ordered:
        ms = None if before is None else round((step.at - before).total_seconds() * 1000, 3)
        timed.append(Step(step.step, step.at, ms, step.about))
        before = step.at
    return timed


def _without_doubles(steps: list[Step]) -> list[Step]:
    """A stored replay is known from its letter and from its row: one receipt, told once.

    A failed attempt stands in each letter of its event; the one that buried it is a step of its own.
    """
    sent_again = {step.at for step in steps if step.step == "sent again"}
    failed = {step.at for step in steps if step.step == "buried"}
    told = []
    for step in steps:
        if step.step == "failed":
            if step.at in failed:
                continue
            failed.add(step.at)
        if step.step != "accepted" or step.at not in sent_again:
            told.append(step)
    return told


def _entry_time(entry_id: str) -> datetime:
    return datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, UTC)
