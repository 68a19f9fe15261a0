"""The numbers of the pipeline's page: as they stand, as text, for the page and for its refresh once a second.

`scope`: one project's own part, or None for all of it (staff). Members see of the shared machine how full and how busy it is,
not how much others send.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg2
import redis
from django import db
from django.conf import settings

from events import bottleneck, buffer, history, ledger
from events.bottleneck import Limit, Room
from events.buffer import Standing
from events.history import Sample
from events.ledger import Line
from events.views.glance import failures_waiting
from eventsite import health
from eventsite.liveness import drain_status
from eventsite.templatetags.pages import compact, number, seconds, size
from eventsite.valkey import sync_client

HOURS: Final = 24
TANK: Final = 200  # width of the tank's picture
OUTCOMES: Final = ("accepted", "stored", "duplicate", "dead", "discarded", "queued")
QUEUE_AWAY: Final = Limit(
    "buffer", "bad", "The queue does not answer",
    "Nothing can be accepted: senders get 503 and keep their events until it is back. What was accepted lies on its disk.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Now:
    """`texts`, `widths`: by the names of their places on the page. `tones`: of the stages. `came`, `left`: counters."""

    at: float
    came: int | None
    left: int | None
    limit: Limit
    texts: dict[str, str]
    tones: dict[str, str]
    paused: str | None = None
    widths: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "at": self.at, "came": self.came, "left": self.left, "texts": self.texts, "tones": self.tones,
            "widths": self.widths, "stage": self.limit.stage, "tone": self.limit.tone, "paused": self.paused,
        }  # fmt: skip


def now(scope: int | None) -> Now:
    """Reads the queue, the latest samples and the ledger; each may be away."""
    answers = _database_answers()
    client = sync_client()
    try:
        standing = buffer.standing(client)
        recent = history.samples(client, last=6)
        came, waits = _counts(client, scope, standing)
    except redis.RedisError:
        texts = _limit_texts(QUEUE_AWAY)
        tones = {"accept": "bad", "buffer": "bad", "drain": "warn", "store": "good" if answers else "bad"}
        return Now(datetime.now(UTC).timestamp(), None, None, QUEUE_AWAY, texts, tones)
    stalled = drain_status(standing) == "stalled"
    found = bottleneck.limit(standing, recent, database_answers=answers, stalled=stalled)
    room = bottleneck.room(standing, recent)
    paused = _paused(standing, scope)
    texts = _limit_texts(found)
    if paused is not None:
        texts["sentence"] += f" Why: {paused}"
    texts |= _queue_texts(standing, room, waits, scope)
    texts |= _sample_texts(recent[-1] if recent else None, scope)
    if answers:
        with suppress(db.Error):
            texts |= ledger_texts(client, scope)
    return Now(
        at=standing.now_ms / 1000,
        came=came,
        left=came - waits,
        limit=found,
        texts=texts,
        tones=_tones(standing, found, room, answers),
        paused=paused,
        widths={"fill": round(TANK * room.share, 1)},
    )


def _database_answers() -> bool:
    try:
        return bool(health.query("SELECT 1"))
    except (psycopg2.Error, TimeoutError):
        return False


def _counts(client: redis.Redis, scope: int | None, standing: Standing) -> tuple[int, int]:
    """Events accepted, of the latest hours or since ever, and those that wait now."""
    if scope is None:
        return standing.drained + standing.events, standing.events
    accepted, queued = buffer.hourly_counts(client)
    own = (sum(n for (project, _), n in counts.items() if project == scope) for counts in (accepted, queued))
    came, waits = own
    return came, waits


def _paused(standing: Standing, scope: int | None) -> str | None:
    """Why nothing is drained. Behind a colon the breaker repeats what PostgreSQL said of another's event, perhaps."""
    if standing.paused is None or scope is None:
        return standing.paused
    return standing.paused.partition(": ")[0]


def _limit_texts(found: Limit) -> dict[str, str]:
    says = found.sentence[:1].upper() + found.sentence[1:]
    return {"title": found.title, "sentence": says, "setting": found.setting}


def _tones(standing: Standing, found: Limit, room: Room, answers: bool) -> dict[str, str]:
    tones = {
        "accept": "good",
        "buffer": "bad" if room.share >= 1 else "warn" if room.share >= bottleneck.NEAR else "good",
        "drain": "good" if standing.paused is None else "warn",
        "store": "good" if answers else "bad",
    }
    return tones | ({found.stage: found.tone} if found.stage else {})


def _queue_texts(standing: Standing, room: Room, waits: int, scope: int | None) -> dict[str, str]:
    busy, slots = len(standing.at_work), settings.EVENTS_DRAIN_SLOTS
    filling = "does not fill" if room.seconds is None else f"full in {seconds(max(1, room.seconds))}"
    return {
        "depth": compact(waits),
        "bound": f"of {compact(settings.EVENTS_QUEUE_MAX_EVENTS)}" if scope is None else "of yours wait",
        "full": f"{100 * room.share:.0f} % full",
        "oldest": seconds(round(standing.oldest_seconds, 1)) if standing.oldest_ms else "nothing waits",
        "bytes": f"{size(standing.bytes)} of {size(settings.EVENTS_QUEUE_MAX_BYTES)}"
        if scope is None
        else f"{100 * standing.bytes / settings.EVENTS_QUEUE_MAX_BYTES:.0f} %",
        "room": filling if room.share < 1 else "full",
        "slots": f"{busy} of {slots} at work" + (f", {len(standing.held)} on hold" if standing.held else ""),
    }


def _sample_texts(sample: Sample | None, scope: int | None) -> dict[str, str]:
    names = ("came", "left", "limited", "full_rate", "refused", "push", "batches", "batch_size", "retries", "busy",
             "store_p95", "duplicates", "storing", "dead_rate", "lag", "p50", "p95", "p99")  # fmt: skip
    if sample is None:
        return dict.fromkeys(names, "–")
    per = 1 / sample.seconds
    accepted = sample.accepted if scope is None else sample.projects.get(scope, (0, 0))[0]
    left = sample.drained if scope is None else accepted
    slots = settings.EVENTS_DRAIN_SLOTS
    return {
        "came": rate(accepted * per),
        "left": rate(left * per),
        "limited": rate(sample.limited * per),
        "full_rate": rate(sample.full * per),
        "refused": rate(sample.refused * per),
        "push": seconds(sample.push_p99),
        "batches": rate(None if sample.batches is None else sample.batches * per),
        "batch_size": number(sample.drained / sample.batches) if sample.batches else "–",
        "retries": rate(None if sample.retried is None else sample.retried * per),
        "busy": _percent(sample.busy, slots),
        "store_p95": seconds(sample.store_p95),
        "duplicates": rate(None if sample.duplicate is None else sample.duplicate * per),
        "storing": _percent(sample.storing, slots),
        "dead_rate": rate(None if sample.dead is None else sample.dead * per),
        "lag": seconds(sample.lag_seconds) if sample.lag_seconds else "none",
        "p50": seconds(sample.p50),
        "p95": seconds(sample.p95),
        "p99": seconds(sample.p99),
    }


def rate(per_second: float | None) -> str:
    if per_second is None:
        return "–"
    return f"{per_second:,.0f}" if per_second >= 100 or not per_second else f"{per_second:.3g}"


def _percent(slot_seconds: float | None, slots: int) -> str:
    return "–" if slot_seconds is None else f"{min(100, 100 * slot_seconds / slots):.0f} %"


def ledger_texts(client: redis.Redis, scope: int | None) -> dict[str, str]:
    """A day's identity: accepted = stored + duplicate + dead + discarded + queued, and the verdict."""
    since = datetime.now(UTC) - timedelta(hours=HOURS)
    lines = ledger.lines(client, since=since, project_id=scope)
    texts = {f"ledger_{name}": number(sum(getattr(line, name) for line in lines)) for name in OUTCOMES}
    standing_wrong = buffer.unbalanced(client)
    wrong = sum(
        difference
        for place, difference in standing_wrong.items()
        if scope is None or place.split(" ")[0] == str(scope)
    )
    texts["ledger_verdict"], texts["ledger_tone"] = _verdict(lines, wrong)
    if scope is not None:
        waiting = failures_waiting(scope)
        texts["waiting"] = f"{waiting:,}" if waiting < 1_000 else "999+"
    return texts


def wrong_hours(scope: int | None) -> list[Line]:
    """The hours that the ledger's last check found wrong, as they stand now."""
    client, since = sync_client(), datetime.now(UTC) - ledger.CHECKED
    try:
        standing_wrong = buffer.unbalanced(client)
        lines = ledger.lines(client, since=since, project_id=scope) if standing_wrong else []
    except redis.RedisError:
        return []
    return [line for line in lines if f"{line.project_id} {line.hour:%Y-%m-%dT%H:00Z}" in standing_wrong]


def _verdict(lines: Sequence[Line], wrong: int) -> tuple[str, str]:
    lost = sum(line.unaccounted for line in lines)
    if wrong:
        return f"Off by {wrong:+,}: see the hours below", "bad"
    if lost:
        return f"Balanced, but for {lost:,} that the queue forgot", "warn"
    return "Balanced: every event is accounted for", "good"
