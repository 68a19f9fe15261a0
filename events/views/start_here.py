"""Start here: the key, the first event in the sender's language, and what became of it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import redis
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from events import ledger
from events.models import Event
from events.refusals import reason
from events.views.snippets import snippets
from eventsite.pages import go, is_owner, page, project_or_404, signed_in
from eventsite.valkey import sync_client
from projects.models import Project
from projects.views.shown_once import forget, shown

LOOKED_BACK: Final = timedelta(hours=2)
STOP_POLLING: Final = 286  # htmx's


@dataclass(frozen=True, slots=True)
class Refusal:
    code: str
    events: int
    reason: str


@dataclass(frozen=True, slots=True)
class First:
    """What became of the first events. `state`: waiting, queued, stored, lost (dead letters only) or unknown."""

    state: str
    event: Event | None
    queued: int
    dead: int
    refusals: list[Refusal]

    @property
    def seconds(self) -> float | None:
        """From accepted to stored."""
        return (self.event.stored_at - self.event.received_at).total_seconds() if self.event else None


@require_safe
@signed_in
def start_here(request: HttpRequest, project_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    key = shown(request, project.pk) if is_owner(project) else None
    write_key = key if key and key.startswith("es_w_") else None
    context = {
        "secret": key,
        "prefix": project.keys.filter(kind="write", revoked_at=None).values_list("prefix", flat=True).last(),
        "tabs": snippets(write_key),
        "first": first(project),
    }
    response = page(request, "start_here/page.html", context, project=project)
    if key:
        response["Cache-Control"] = "no-store"
    return response


@require_safe
@signed_in
def first_event(request: HttpRequest, project_id: int) -> HttpResponse:
    """The part that waits, asked for every second until it is green."""
    project = project_or_404(request, project_id)
    found = first(project)
    return page(
        request,
        "start_here/_first.html",
        {"first": found},
        project=project,
        status=STOP_POLLING if found.state == "stored" else 200,
    )


@require_POST
@signed_in
def saved_key(request: HttpRequest, project_id: int) -> HttpResponse:
    """ "I saved it": the key is shown no more."""
    project = project_or_404(request, project_id)
    response = go(request, "start-here", project.pk)
    forget(response, project.pk)
    return response


def first(project: Project) -> First:
    """Looks for the latest stored event, else at the ledger: what waits, what was refused and why."""
    event = Event.objects.filter(project_id=project.pk).order_by("-occurred_at").first()
    try:
        lines = ledger.lines(sync_client(), since=datetime.now(UTC) - LOOKED_BACK, project_id=project.pk)
    except redis.RedisError:
        return First("stored" if event else "unknown", event, 0, 0, [])
    rejected: dict[str, int] = {}
    for line in lines:
        for code, events in line.rejected.items():
            rejected[code] = rejected.get(code, 0) + events
    queued, dead = sum(line.queued for line in lines), sum(line.dead for line in lines)
    refusals = [Refusal(code, events, reason(code)) for code, events in sorted(rejected.items())]
    state = "stored" if event else "queued" if queued else "lost" if dead else "waiting"
    return First(state, event, queued, dead, refusals)
