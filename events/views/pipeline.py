"""Pipeline: how the machine stands, what limits it, its last hour; pause and resume, for staff."""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from events import deadletter, history, operate
from events.deadletter import Wanted
from events.models import DrainFailure, LetterState, Pipeline
from events.pipeline_admin import FORMS, ORDERS, QUESTIONS
from events.views import pipeline_numbers
from events.views.pipeline_charts import PERIODS, charts, sparks
from eventsite import state
from eventsite.pages import go, page, person, project_or_404, signed_in
from eventsite.valkey import sync_client
from projects.models import Project

FAILED_HOURS: Final = 24


@dataclass(frozen=True, slots=True)
class Process:
    """One of the stack's on this machine, as its supervisor tells."""

    name: str
    state: str
    restarts: int
    since: datetime | None

    @property
    def tone(self) -> str:
        return "good" if self.state == "running" else "bad"


@require_safe
@signed_in
def pipeline(request: HttpRequest, project_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    scope = scope_of(request, project)
    period = request.GET.get("period", "")
    period = period if period in PERIODS else "1h"
    samples = _samples(period)
    context: dict[str, Any] = {
        "charts": charts(samples, scope, project.time_zone),
        "sparks": sparks(samples, scope),
    }
    if request.headers.get("HX-Target") != "charts":
        context |= _bury(project, scope) | _failed(person(request).is_staff)
        context |= {
            "now": pipeline_numbers.now(scope),
            "scope": "all" if scope is None else "project",
            "is_staff": person(request).is_staff,
            "period": period,
            "choices": [(name, label) for name, (label, _) in PERIODS.items()],
            "tank": pipeline_numbers.TANK,
            "wrong_hours": pipeline_numbers.wrong_hours(scope),
            "processes": _processes(),
            "flower": _flower(),
        }
    fragments = {"charts": "pipeline/_charts.html"}
    return page(request, "pipeline/page.html", context, project=project, fragments=fragments)


@never_cache
@require_safe
@signed_in
def pipeline_now(request: HttpRequest, project_id: int) -> HttpResponse:
    """The numbers alone, once a second."""
    project = project_or_404(request, project_id)
    return JsonResponse(pipeline_numbers.now(scope_of(request, project)).as_json())


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def pipeline_order(request: HttpRequest, project_id: int, order: str) -> HttpResponse:
    """Pause or resume: GET asks, POST does it. For staff, because everybody's events wait then."""
    project = project_or_404(request, project_id)
    if not person(request).is_staff:
        raise PermissionDenied("Only staff pause and resume: everybody's events wait then.")
    form = FORMS[order](request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            done = ORDERS[order](sync_client(), form.cleaned_data)
        except redis.RedisError as error:
            messages.error(request, f"It could not be done: {type(error).__name__}.")
        else:
            _log(request, done)
            messages.success(request, done)
        return go(request, "pipeline", project.pk)
    context = {"form": form, "order": order, "question": QUESTIONS[order]}
    fragments = {"dialog": "pipeline/_order.html"}
    status = 422 if form.is_bound else 200
    return page(request, "pipeline/order.html", context, project=project, fragments=fragments, status=status)


def scope_of(request: HttpRequest, project: Project) -> int | None:
    """Staff see all projects unless they ask for this one; others see their project's part."""
    is_all = person(request).is_staff and request.GET.get("scope") != "project"
    return None if is_all else project.pk


def _log(request: HttpRequest, done: str) -> None:
    """Where the administration's own orders are kept."""
    LogEntry.objects.log_actions(
        person(request).pk, [Pipeline.objects.first() or Pipeline()], CHANGE, done, single_object=True
    )


def _samples(period: str) -> list[history.Sample]:
    with suppress(redis.RedisError):
        return history.samples(sync_client(), last=PERIODS[period][1])
    return []


def _bury(project: Project, scope: int | None) -> dict[str, Any]:
    found = deadletter.groups(Wanted(project_id=scope, state=LetterState.WAITING)).groups
    return {
        "causes": len(found),
        "newest": max((group.last_at for group in found), default=None),
        "buried": sum(group.letters for group in found),
    }


def _failed(is_staff: bool) -> dict[str, Any]:
    """Runs that failed within a day. What PostgreSQL said may quote an event of another project: for staff alone."""
    since = datetime.now(UTC) - timedelta(hours=FAILED_HOURS)
    runs = list(DrainFailure.objects.filter(last_at__gte=since)[:20])
    unhealed: list[operate.Failure] = []
    with suppress(redis.RedisError):
        unhealed = operate.failures(sync_client())
    return {"failed_runs": runs, "unhealed": unhealed, "shows_errors": is_staff}


def _processes() -> list[Process]:
    """Nothing where they run elsewhere, in containers for example."""
    try:
        told = json.loads(state.places(settings.VAR_DIR).status.read_text())
        return [
            Process(
                part["name"],
                part["state"],
                part["restarts"],
                datetime.fromtimestamp(part["since"], UTC) if part["since"] else None,
            )
            for part in told["children"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _flower() -> str:
    """Flower listens beside us; where a proxy stands before us, what it is called outside is the operator's to know."""
    public = urlsplit(settings.PUBLIC_URL)
    return f"http://{public.hostname}:{settings.FLOWER_PORT}" if public.port == settings.PORT else ""
