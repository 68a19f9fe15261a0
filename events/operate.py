"""What operators ask and order, whatever they use: the command line or the admin."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import redis
from django.conf import settings

from events import buffer, ledger
from events.buffer import Standing
from events.ledger import Line

HOURS: Final = 24
BREAKER: Final = "failed as data"  # in the reason of every pause that the breaker made

GO_ON: Final = (
    "Too many events failed as data, in several projects at once: probably the code or the table is wrong, not the data. "
    "Look at the dead letters and their causes, mend the cause, then resume. "
    "If these events really are bad, resume and bury: for ten minutes whatever fails is buried, however much."
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A slot's run that failed and is not healed yet."""

    slot: int
    attempts: int
    sqlstate: str
    error: str


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour over all projects. `wrong` holds the lines of those projects that do not balance."""

    hour: datetime
    accepted: int
    stored: int
    duplicate: int
    dead: int
    discarded: int
    queued: int
    unaccounted: int
    difference: int
    wrong: list[Line]

    @property
    def in_words(self) -> str:
        parts = f"{self.stored:,} stored + {self.duplicate:,} duplicate + {self.dead:,} dead + {self.discarded:,} discarded"
        lost = f" + {self.unaccounted:,} unaccounted" if self.unaccounted else ""
        verdict = "balanced, but for what the queue forgot" if lost else "balanced"
        if self.wrong:
            verdict = f"off by {self.difference:+,}"
        return f"{self.accepted:,} accepted = {parts} + {self.queued:,} queued{lost}: {verdict}"


def failures(client: redis.Redis) -> list[Failure]:
    """Returns what keeps slots waiting, the database's words included."""
    found = buffer.failures(client).items()
    return [
        Failure(slot, int(failure["attempts"]), failure["sqlstate"], failure["error"])
        for slot, failure in found
        if not failure.get("healed_at")
    ]


def how_to_go_on(standing: Standing) -> str:
    """Returns what a person may do about a pause; "" where there is none."""
    if standing.paused is None:
        return ""
    return GO_ON if BREAKER in standing.paused else "Draining goes on when somebody resumes it."


def told(standing: Standing) -> list[tuple[str, str]]:
    """Returns the lines of a status: what it is about, and how it stands."""
    share = 100 * max(
        standing.events / settings.EVENTS_QUEUE_MAX_EVENTS, standing.bytes / settings.EVENTS_QUEUE_MAX_BYTES
    )
    bounds = f"{settings.EVENTS_QUEUE_MAX_EVENTS:,} events, {settings.EVENTS_QUEUE_MAX_BYTES:,} bytes"
    lines = [
        ("queue", f"{standing.events:,} events, {standing.bytes:,} bytes, {standing.entries:,} entries"),
        ("bound", f"{bounds}: {share:.1f} % used"),
        ("oldest", f"{standing.oldest_seconds:.1f} s" if standing.oldest_ms else "nothing waits"),
        ("rate", f"{standing.drained_per_second:,.1f} events/s drained"),
        ("slots", ", ".join(_slot_told(standing, slot) for slot in slots())),
        ("doorbells", f"{standing.messages} under way"),
        (
            "tick",
            f"{(standing.now_ms - standing.ticked_ms) / 1000:.1f} s ago"
            if standing.ticked_ms
            else "none yet",
        ),
        ("draining", "running" if standing.paused is None else f"PAUSED: {standing.paused}"),
    ]
    if standing.paused is not None:
        lines.append(("", how_to_go_on(standing)))
    return lines


def _slot_told(standing: Standing, slot: int) -> str:
    at_work = "at work" if slot in standing.at_work else "idle"
    return f"slot {slot} {'on hold' if slot in standing.held else at_work}"


def hours(client: redis.Redis, *, back: int = HOURS) -> list[Hour]:
    """Returns the ledger's latest hours, latest first. Raises redis.RedisError and django.db.Error."""
    since = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=back - 1)
    by_hour: dict[datetime, list[Line]] = {}
    for line in ledger.lines(client, since=since):
        by_hour.setdefault(line.hour, []).append(line)
    return [_hour(hour, lines) for hour, lines in by_hour.items()]


def _hour(hour: datetime, lines: Iterable[Line]) -> Hour:
    lines = list(lines)
    names = ("accepted", "stored", "duplicate", "dead", "discarded", "queued", "unaccounted", "difference")
    sums = {name: sum(getattr(line, name) for line in lines) for name in names}
    return Hour(hour, **sums, wrong=[line for line in lines if line.difference])


def slots() -> range:
    return range(settings.EVENTS_DRAIN_SLOTS)
