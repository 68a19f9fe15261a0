"""What every page of a project says besides: whether its ledger balances, and how many failures wait."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import redis
from django import db
from django.db import connection
from django.db.models import Sum

from events import buffer
from events.models import DeadLetter, Ledger, LetterState
from eventsite.templatetags.pages import compact
from eventsite.valkey import sync_client

HOURS: Final = 24
COUNTED: Final = 1_000  # more are "999+": counting all of 300,000 would cost each page 40 ms


@dataclass(frozen=True, slots=True)
class Verdict:
    """`tone`: good, bad, or warn where it is not known."""

    tone: Literal["good", "bad", "warn"]
    title: str
    detail: str


def verdict(project_id: int) -> Verdict:
    """Says in words what the ledger's last check found of this project, and what came in within a day."""
    latest = Ledger.objects.filter(
        project_id=project_id, hour__gte=datetime.now(UTC) - timedelta(hours=HOURS)
    )
    try:
        accepted = latest.aggregate(events=Sum("accepted"))["events"]
    except db.Error:
        connection.close_if_unusable_or_obsolete()
        return Verdict("warn", "Ledger unknown", "The database does not answer.")
    came = f"{compact(accepted or 0)} in {HOURS} h"
    try:
        differences = buffer.unbalanced(sync_client())
    except redis.RedisError:
        return Verdict("warn", "Ledger unknown", "The queue does not answer.")
    ours = {place: number for place, number in differences.items() if place.split(" ")[0] == str(project_id)}
    if ours:
        hour = max(ours, key=lambda place: abs(ours[place])).split(" ")[1]
        return Verdict("bad", f"Ledger off by {sum(ours.values()):+,d}", f"In the hour of {hour}")
    return Verdict("good", "Ledger balanced", f"{came}, 0 missing")


def failures_waiting(project_id: int) -> int:
    """Returns how many dead letters wait for somebody, at most COUNTED; 0 where nobody knows."""
    waiting = DeadLetter.objects.filter(project_id=project_id, state=LetterState.WAITING)
    try:
        return waiting.order_by()[:COUNTED].count()
    except db.Error:  # the page says so where it matters
        connection.close_if_unusable_or_obsolete()
        return 0
