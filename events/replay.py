"""Replay: dead letters sent again through the queue, chunk by chunk, under the same id.

A letter is marked before it is pushed. What a crash leaves marked is found by `settle`: in the events table, in a later
letter, or nowhere, and then it waits again. So a replay may stop anywhere, and no letter is lost or stored twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import redis
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max, Q
from django.db.models.functions import Length
from django.utils import timezone

from events import buffer, mending, times, verdict
from events.audit import audit, only_project
from events.codes import Code
from events.deadletter import Wanted, envelope_of
from events.envelope import encode
from events.models import DeadLetter, LetterOutcome, LetterState, Replay, ReplayState
from events.rehearsal import letter_verdict, mended_verdict
from events.settle import end, settle
from events.verdict import Verdict
from projects.access import alive

CHUNK: Final = 500
CHUNK_BYTES: Final = 4_000_000
STALE: Final = timedelta(seconds=15)  # nobody has run it since: its task was lost
MAX_WAIT_SECONDS: Final = 10  # less than STALE, or a waiting replay would be started twice
SETTLE_SECONDS: Final = 1.0
ACTIVE: Final = (ReplayState.SENDING, ReplayState.SETTLING)


@dataclass(frozen=True, slots=True)
class Ran:
    """What to do after one run: slots to ring, and when to run again; None: never, or the next look at stale ones."""

    ring: list[int] = field(default_factory=list)
    again_seconds: float | None = None


@dataclass(slots=True)
class _Row:
    """A letter on its way: its envelope with its new time of receipt."""

    letter: DeadLetter
    encoded: bytes


# --- beginning and ending one ---------------------------------------------------------------------------------------


def start(wanted: Wanted, *, by: str, rule: mending.Rule | None = None, rate: int | None = None) -> Replay:
    """Begins a replay of the waiting letters that match now. Durable on return; nothing is sent yet."""
    waiting = wanted.rows().filter(state=LetterState.WAITING)
    with transaction.atomic():
        matching = waiting.aggregate(letters=Count("id"), last=Max("id"))
        plain_rule = mending.plain(rule) if rule else None
        project_id = wanted.project_id or only_project(waiting)
        replay = Replay.objects.create(
            project_id=project_id,
            by_name=by[:150],
            filter=wanted.as_json(),
            rule=plain_rule,
            rate=rate or settings.EVENTS_REPLAY_RATE,
            total=matching["letters"],
            until_id=matching["last"] or 0,
        )
        what = {"replay": replay.pk, "filter": wanted.as_json()} | ({"rule": plain_rule} if rule else {})
        audit("replay", by=by, project_id=project_id, letters=matching["letters"], what=what)
    replay.refresh_from_db()
    return replay


def stop(replay: Replay, *, by: str) -> bool:
    """Sends no more; what is on its way arrives. False where it had ended already."""
    return _turn(replay, ACTIVE, ReplayState.STOPPED, "stop", by)


def resume(replay: Replay, *, by: str) -> bool:
    """Goes on where it was stopped; False where it was not."""
    return _turn(replay, (ReplayState.STOPPED,), ReplayState.SENDING, "resume", by)


def _turn(replay: Replay, before: Sequence[str], after: str, action: str, by: str) -> bool:
    with transaction.atomic():
        stopped = after == ReplayState.STOPPED
        changed = Replay.objects.filter(pk=replay.pk, state__in=before).update(
            state=after,
            note="",
            ended_at=timezone.now() if stopped else None,
            last_run_at=None,
            counts=progress(replay) if stopped else None,
        )
        if changed:
            sent = progress(replay)["sent"]
            audit(action, by=by, project_id=replay.project_id, letters=sent, what={"replay": replay.pk})
    replay.refresh_from_db()
    return bool(changed)


def send_edited(letter: DeadLetter, document: bytes, *, by: str) -> tuple[Verdict, Replay | None]:
    """Checks an edited event; where it would be stored, keeps it beside the original and begins its replay."""
    found = letter_verdict(letter, document)
    if not found.would_store or found.envelope is None:
        return found, None
    with transaction.atomic():
        kept = DeadLetter.objects.filter(pk=letter.pk, state=LetterState.WAITING).update(
            sent=encode(found.envelope)
        )
        if not kept:
            return found, None
        audit("edit", by=by, project_id=letter.project_id, letters=1, what={"letter": letter.pk})
        return found, start(Wanted(project_id=letter.project_id, ids=(letter.pk,)), by=by)


def progress(replay: Replay, *, project_id: int | None = None) -> dict[str, int]:
    """Returns how many of its letters, or those of one project, were sent, are on their way, and where the others went."""
    if project_id is None and replay.state == ReplayState.DONE and replay.counts is not None:
        return dict(replay.counts)
    letters = DeadLetter.objects.filter(replay_id=replay.pk)
    counts = (letters.filter(project_id=project_id) if project_id else letters).aggregate(
        sent=Count("id", filter=Q(replayed_at__isnull=False) & ~Q(state=LetterState.WAITING)),
        on_its_way=Count("id", filter=Q(state=LetterState.REPLAYING)),
        stored=Count("id", filter=Q(outcome=LetterOutcome.STORED)),
        duplicate=Count("id", filter=Q(outcome=LetterOutcome.DUPLICATE)),
        buried=Count("id", filter=Q(outcome=LetterOutcome.BURIED)),
        skipped=Count("id", filter=Q(state__in=[LetterState.WAITING, LetterState.DISCARDED])),
    )
    return {name: int(count) for name, count in counts.items()}


def stale() -> list[int]:
    """Returns the replays that ought to run and that nobody runs: their task was lost, or their worker died."""
    waits = Q(last_run_at__isnull=True, created_at__lt=timezone.now() - STALE)
    waits |= Q(last_run_at__lt=timezone.now() - STALE)
    return list(Replay.objects.filter(waits, state__in=ACTIVE).order_by("id").values_list("id", flat=True))


# --- running it -------------------------------------------------------------------------------------------------------


def run(client: redis.Redis, replay_id: int) -> Ran:
    """Sends one chunk, or looks where the last ones went. Safe at any time and twice at once.

    Durable on return: which letters are on their way. A crash midway leaves letters marked that were not pushed; they
    wait again once `settle` finds them nowhere. While the queue is away or full it says so and waits.
    """
    try:
        buffer.depth(client)
    except redis.RedisError:
        return _wait(replay_id, MAX_WAIT_SECONDS, "the queue does not answer")
    settle(client, replay_id=replay_id)
    with transaction.atomic():
        replay = (
            Replay.objects.select_for_update(skip_locked=True).filter(pk=replay_id, state__in=ACTIVE).first()
        )
        if replay is None:
            return Ran()
        if replay.state == ReplayState.SETTLING:
            return _settling(replay)
        pause = min(1.0, CHUNK / replay.rate)
        budget = _budget(replay, pause)
        if not budget:
            return Ran()  # another task has just run it, and goes on
        now = timezone.now()
        rows, is_last = _take(replay, budget, now)
        replay.last_run_at, replay.note = now, ""
        if is_last:
            replay.state = ReplayState.SETTLING
        replay.save(update_fields=["last_run_at", "note", "cursor", "state"])
    if not rows:
        return Ran(again_seconds=pause)
    return _push(client, replay, rows, now, pause)


def _budget(replay: Replay, pause: float) -> int:
    """How many may go now, so that the rate holds however often and by whomever it is run."""
    if replay.last_run_at is None:
        return min(CHUNK, replay.rate)
    since = (timezone.now() - replay.last_run_at).total_seconds()
    return min(CHUNK, round(replay.rate * min(since, pause))) if since > pause / 2 else 0


def _take(replay: Replay, budget: int, now: datetime) -> tuple[list[_Row], bool]:
    """Marks the next letters as on their way; returns them, and whether none come after them."""
    waiting = _candidates(replay).filter(id__gt=replay.cursor).order_by("id")
    sizes = list(waiting.annotate(size=Length("payload")).values_list("id", "size")[: budget + 1])
    chosen: list[int] = []
    size = 0
    for letter_id, letter_size in sizes[:budget]:
        size += letter_size
        if chosen and size > CHUNK_BYTES:
            break
        chosen.append(letter_id)
    if not chosen:
        # Those that a queue forgot wait again, behind the cursor.
        starts_over = bool(replay.cursor) and _candidates(replay).exists()
        replay.cursor = 0 if starts_over else replay.cursor
        return [], not starts_over
    letters = list(
        DeadLetter.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(id__in=chosen, state=LetterState.WAITING)
        .order_by("id")
    )
    rows = _ready(replay, letters, now)
    replay.cursor = chosen[-1]
    return rows, len(chosen) == len(sizes)


def _candidates(replay: Replay) -> Any:
    rows = Wanted.from_json(replay.filter).rows()
    return rows.filter(state=LetterState.WAITING, id__lte=replay.until_id).exclude(replay_id=replay.pk)


def _ready(replay: Replay, letters: list[DeadLetter], now: datetime) -> list[_Row]:
    """Sorts letters into those to push, those that are stored already and those that cannot be sent; saves all marks."""
    rule = mending.read(replay.rule) if replay.rule else None
    projects = set(
        alive().filter(id__in={letter.project_id for letter in letters}).values_list("id", flat=True)
    )
    stored = verdict.stored_times(
        (letter.project_id, str(letter.event_id))
        for letter in letters
        if letter.project_id and letter.event_id
    )
    # Within one millisecond, so that all are of one hour: the push counts them together.
    base = now.replace(microsecond=now.microsecond // 1000 * 1000)
    rows: list[_Row] = []
    for place, letter in enumerate(letters):
        letter.replay_id, letter.note = replay.pk, ""
        if letter.project_id not in projects:
            letter.note = "Its project is gone."
        elif (letter.project_id, str(letter.event_id)) in stored:
            end(letter, LetterOutcome.DUPLICATE, replay.by_name, now)
        elif row := _row(letter, rule, base + timedelta(microseconds=place), replay.by_name):
            rows.append(row)
    fields = ["replay", "note", "state", "outcome", "ended_at", "ended_by", "replayed_at", "event_id"]
    DeadLetter.objects.bulk_update(letters, fields + ["sent"] * bool(rule))
    return rows


def _row(letter: DeadLetter, rule: mending.Rule | None, received_at: datetime, by: str) -> _Row | None:
    """A letter's envelope as it is sent again; None, and why in its note, where it cannot be."""
    if rule:
        mended = mended_verdict(letter, rule)
        if not mended.would_store or mended.envelope is None:
            letter.note = f"Not sent: {mended.code or mended.outcome}: {mended.detail}"[:1_000]
            return None
        letter.sent = encode(mended.envelope)
    envelope = envelope_of(letter.sent or letter.payload)
    if envelope is None or envelope.project_id != letter.project_id:
        letter.note = f"Not sent: {Code.UNREADABLE}: the payload is no event any more; edit it."
        return None
    letter.event_id = UUID(envelope.event_id)  # one that had none got it when it was edited
    letter.state, letter.replayed_at = LetterState.REPLAYING, received_at
    letter.ended_by = by
    return _Row(letter, encode(msgspec.structs.replace(envelope, received_at=times.text(received_at))))


def _push(client: redis.Redis, replay: Replay, rows: list[_Row], now: datetime, pause: float) -> Ran:
    """Pushes marked letters, a unit for each project; those that are not taken wait again."""
    by_project: dict[int, list[_Row]] = {}
    for row in rows:
        by_project.setdefault(row.letter.project_id or 0, []).append(row)
    received_ms = int(now.timestamp() * 1000)
    units = [
        buffer.unit(project_id, [row.encoded for row in own], received_ms)
        for project_id, own in by_project.items()
    ]
    try:
        pushed = buffer.push(client, units)
    except (
        redis.ResponseError
    ) as error:  # refused before anything was written: out of memory, read-only, loading
        _give_back(replay, rows)
        return _wait(replay.pk, MAX_WAIT_SECONDS, f"the queue refuses: {str(error)[:80]}")
    except redis.RedisError:  # nothing is known: they stay marked, and settle finds out
        return _wait(replay.pk, MAX_WAIT_SECONDS, "the queue does not answer")
    refused = {
        project_id: outcome
        for project_id, outcome in zip(by_project, pushed.outcomes, strict=True)
        if not outcome.is_taken
    }
    ring = [pushed.ring] if pushed.ring is not None else []
    if not refused:
        return Ran(ring, pause)
    _give_back(replay, [row for project_id in refused for row in by_project[project_id]])
    wait = max(outcome.wait_seconds for outcome in refused.values()) or buffer.retry_after_seconds(
        pushed.events, pushed.drained_per_second, 0.5
    )
    reasons = ", ".join(sorted({outcome.code for outcome in refused.values()}))
    ran = _wait(replay.pk, wait, f"{reasons}: again in {wait} s")
    return Ran(ring, ran.again_seconds)


def _give_back(replay: Replay, rows: list[_Row]) -> None:
    with transaction.atomic():
        ids = [row.letter.pk for row in rows]
        DeadLetter.objects.filter(id__in=ids, state=LetterState.REPLAYING).update(
            state=LetterState.WAITING, replay=None, replayed_at=None
        )
        Replay.objects.filter(pk=replay.pk, cursor__gte=min(ids)).update(cursor=min(ids) - 1)
        Replay.objects.filter(pk=replay.pk, state=ReplayState.SETTLING).update(state=ReplayState.SENDING)


def _wait(replay_id: int, seconds: float, why: str) -> Ran:
    Replay.objects.filter(pk=replay_id, state__in=ACTIVE).update(last_run_at=timezone.now(), note=why)
    return Ran(again_seconds=min(seconds, MAX_WAIT_SECONDS))


def _settling(replay: Replay) -> Ran:
    """All are sent: ends the replay when all have arrived, sends again what a queue forgot."""
    if DeadLetter.objects.filter(replay_id=replay.pk, state=LetterState.REPLAYING).exists():
        fresh = replay.last_run_at is not None and timezone.now() - replay.last_run_at < STALE
        return Ran(again_seconds=SETTLE_SECONDS if fresh else None)
    if _candidates(replay).exists():
        replay.state, replay.cursor = ReplayState.SENDING, 0
        replay.save(update_fields=["state", "cursor"])
        return Ran(again_seconds=SETTLE_SECONDS)
    replay.counts = progress(replay)
    replay.state, replay.ended_at, replay.note = ReplayState.DONE, timezone.now(), ""
    replay.save(update_fields=["state", "counts", "ended_at", "note"])
    return Ran()
