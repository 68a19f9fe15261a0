"""Projects: a card each, with what came in within a day."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import redis
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from events import buffer
from events.models import DeadLetter, Event, Ledger, LetterState
from eventsite import pages
from eventsite.pages import page, signed_in
from eventsite.valkey import sync_client
from projects.access import projects_of
from projects.models import Project

HOURS: Final = 24
CARDS: Final = 48


@dataclass(frozen=True, slots=True)
class Card:
    """`hours`: events accepted, the latest last; `queued` is None where the queue does not answer."""

    project: Project
    url: str
    hours: list[int]
    today: int
    failures: int
    queued: int | None
    last_at: datetime | None


@require_safe
@signed_in
def projects(request: HttpRequest) -> HttpResponse:
    latest = Event.objects.filter(project_id=OuterRef("pk")).order_by("-occurred_at")
    mine = projects_of(request.user).annotate(last_at=Subquery(latest.values("received_at")[:1]))
    shown = Paginator(mine, CARDS).get_page(request.GET.get("page"))
    context = {"cards": cards(list(shown)), "shown": shown}
    return page(request, "projects/list.html", context, fragments={"cards": "projects/_cards.html"})


@require_safe
@signed_in
def project(request: HttpRequest, project_id: int) -> HttpResponse:
    """The address of a project as a whole: its first page."""
    return redirect(pages.landing(pages.project_or_404(request, project_id).pk))


def cards(of: Sequence[Any]) -> list[Card]:
    """Takes projects with `last_at`, returns a card for each: two queries and a look at the queue, however many."""
    now = datetime.now(UTC)
    ids = [project.pk for project in of]
    hours = _accepted(ids, now)
    waiting = DeadLetter.objects.filter(project_id__in=ids, state=LetterState.WAITING)
    failures = dict(waiting.order_by().values_list("project_id").annotate(Count("id")))
    queued = _queued()
    newest = now.replace(minute=0, second=0, microsecond=0)
    return [
        Card(
            project=project,
            url=pages.landing(project.pk),
            hours=[hours[project.pk].get(newest - timedelta(hours=ago), 0) for ago in reversed(range(HOURS))],
            today=_today(hours[project.pk], project.time_zone, now),
            failures=failures.get(project.pk, 0),
            queued=None if queued is None else queued.get(project.pk, 0),
            last_at=project.last_at,
        )
        for project in of
    ]


def _accepted(ids: Sequence[int], now: datetime) -> dict[int, dict[datetime, int]]:
    rows = Ledger.objects.filter(project_id__in=ids, hour__gte=now - timedelta(hours=HOURS + 1))
    found: dict[int, dict[datetime, int]] = defaultdict(dict)
    for project_id, hour, accepted in rows.order_by().values_list("project_id", "hour", "accepted"):
        found[project_id][hour] = accepted
    return found


def _today(hours: dict[datetime, int], time_zone: str, now: datetime) -> int:
    """Of the project's day; the ledger counts by hours, so a zone of half hours begins its day within one."""
    midnight = now.astimezone(ZoneInfo(time_zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    return sum(accepted for hour, accepted in hours.items() if hour >= midnight)


def _queued() -> dict[int, int] | None:
    try:
        counts = buffer.queued_counts(sync_client())
    except redis.RedisError:
        return None
    by_project: dict[int, int] = defaultdict(int)
    for (project_id, _), events in counts.items():
        by_project[project_id] += events
    return by_project
