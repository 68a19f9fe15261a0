"""What limits the pipeline right now, in words: the stage, why, and the setting to change. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from django.conf import settings

from events.buffer import Standing
from events.history import Sample

WINDOW: Final = 3  # samples that are judged together: half a minute
USED_UP: Final = 0.85  # of a rate or of the slots' time
IN_STORE: Final = 0.7  # of what the slots are at work for
NEAR: Final = 0.8  # of the queue's bound
BACKLOG_SECONDS: Final = 2.0  # what waits less is no backlog

Stage = Literal["", "accept", "buffer", "drain", "store"]
Tone = Literal["good", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Limit:
    """`stage` is "" where nothing limits. `setting`: what to change, "" where nothing is to be changed."""

    stage: Stage
    tone: Tone
    title: str
    sentence: str
    setting: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """`share` of the bound that is used (0 to 1), `seconds` until it is full at this rate; None: it does not fill."""

    share: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class _Work:
    """Of the latest samples: drain runs a second, and which share of the slots' time was work, and was PostgreSQL's."""

    runs: float
    busy: float
    storing: float


def room(standing: Standing, recent: Sequence[Sample]) -> Room:
    """How far the queue is from its bound, by the nearer of its two, and how fast it fills."""
    by_events = standing.events / settings.EVENTS_QUEUE_MAX_EVENTS
    by_bytes = standing.bytes / settings.EVENTS_QUEUE_MAX_BYTES
    share, window = max(by_events, by_bytes), recent[-WINDOW:]
    if share >= 1:
        return Room(1.0, 0.0)
    if len(window) < 2:
        return Room(share, None)
    first, last = window[0], window[-1]
    if by_bytes > by_events:
        grown, left = last.bytes - first.bytes, settings.EVENTS_QUEUE_MAX_BYTES - standing.bytes
    else:
        grown, left = last.queued - first.queued, settings.EVENTS_QUEUE_MAX_EVENTS - standing.events
    still = standing.events >= last.queued  # else it has begun to empty since
    fills = grown > 0 and still and share > 0.001
    return Room(share, left * (last.at - first.at) / grown if fills else None)


def limit(standing: Standing, recent: Sequence[Sample], *, database_answers: bool, stalled: bool) -> Limit:
    """Names the stage that limits, from how the queue stands and the latest samples (the earliest first)."""
    window = recent[-WINDOW:]
    found = _trouble(standing, database_answers=database_answers, stalled=stalled)
    if found is None:
        waits = standing.oldest_seconds >= BACKLOG_SECONDS
        found = _of_backlog(standing, window) if waits else _of_senders(window)
    if found.stage in ("drain", "store") and window and window[-1].full:
        says = f"the queue has no room, so that senders are turned away: {found.sentence}"
        return Limit(found.stage, "bad", found.title, says, found.setting)
    return found


def _trouble(standing: Standing, *, database_answers: bool, stalled: bool) -> Limit | None:
    """What keeps events from being stored at all."""
    if not database_answers:
        says = "events are accepted and wait in the queue; they are stored when it is back."
        return Limit("store", "bad", "PostgreSQL does not answer", says)
    if standing.paused is not None:
        says = "events are accepted and wait in the queue until somebody resumes."
        return Limit("drain", "warn", "Draining is paused", says)
    if standing.held:
        of = f"{len(standing.held)} of {settings.EVENTS_DRAIN_SLOTS} slots are on hold"
        return Limit("store", "bad", "Batches wait for a retry", f"{of}: their last run failed, see below.")
    if stalled:
        since = f"events wait and none was drained for {standing.seconds_without_progress:.0f} s"
        return Limit("drain", "bad", "Nothing is drained", f"{since}: the drain worker is away or stuck.")
    return None


def _of_backlog(standing: Standing, window: Sequence[Sample]) -> Limit:
    """Events wait: the drain's rate limit, PostgreSQL, or the slots themselves."""
    slots, rate, work = settings.EVENTS_DRAIN_SLOTS, settings.EVENTS_DRAIN_RATE, _work(window)
    waited = f"the oldest event has waited {standing.oldest_seconds:.0f} s"
    if work is None:
        says = f"{waited}. Raise the slots while there are cores to spare:"
        return Limit("drain", "warn", "the drain", says, "EVENTS_DRAIN_SLOTS")
    named = "the one slot is" if slots == 1 else f"the {slots} slots are"
    busy = f"{named} busy {100 * work.busy:.0f} % of the time"
    stored = f"{100 * work.storing:.0f} % of it in PostgreSQL"
    if work.runs >= USED_UP * rate and work.busy < USED_UP:
        says = f"its rate limit is used up, {work.runs:.1f} of {rate} runs a second, while {busy}. Raise"
        return Limit("drain", "warn", "the drain", says, "EVENTS_DRAIN_RATE or EVENTS_BATCH_SIZE")
    if work.storing >= IN_STORE * max(work.busy, USED_UP):
        says = f"{busy}, {stored}. Give it a faster disk or more cores, or while it has some to spare raise"
        return Limit("store", "warn", "the store", says, "EVENTS_DRAIN_SLOTS")
    if work.busy >= USED_UP:
        says = f"{busy}, only {stored}. While there are cores to spare raise"
        return Limit("drain", "warn", "the drain", says, "EVENTS_DRAIN_SLOTS")
    says = f"{waited}, though {busy}: the workers get too little of the processor, or have just begun."
    return Limit("drain", "warn", "the drain", says)


def _of_senders(window: Sequence[Sample]) -> Limit:
    """Nothing waits: what is stored is what is let in."""
    if not window:
        return Limit("", "good", "No figures yet", "the first come within twenty seconds of a start.")
    if window[-1].full:
        says = "senders are turned away, for too much came at once. Raise"
        return Limit("buffer", "bad", "the buffer", says, "EVENTS_QUEUE_MAX_EVENTS or EVENTS_QUEUE_MAX_BYTES")
    if window[-1].limited:
        says = "senders are slowed down with 429, for a project has come to its own quota. Raise"
        return Limit("accept", "warn", "accept", says, "EVENTS_QUOTA_PER_SECOND or EVENTS_QUOTA_PER_DAY")
    return Limit("", "good", "Nothing limits it", "what comes is stored as it comes.")


def _work(window: Sequence[Sample]) -> _Work | None:
    """None where the counting files are elsewhere or say nothing yet."""
    known = [sample for sample in window if sample.runs is not None and sample.busy is not None]
    seconds = sum(sample.seconds for sample in known)
    if not seconds:
        return None

    def share(of: list[float]) -> float:
        worked = sum(part * sample.seconds for part, sample in zip(of, known, strict=True))
        return min(1.0, worked / seconds / settings.EVENTS_DRAIN_SLOTS)

    runs = sum(sample.runs or 0 for sample in known) / seconds
    return _Work(
        runs, share([one.busy or 0.0 for one in known]), share([one.storing or 0.0 for one in known])
    )
