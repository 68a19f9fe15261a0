"""Settings of a project: its name and zone, its limits and what is used of them, and who did what."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import redis
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods, require_safe

from events import buffer
from events.codes import Code
from events.models import AuditEntry, Ledger
from events.refusals import reason
from eventsite.pages import go, is_owner, page, project_or_404, signed_in
from eventsite.valkey import sync_client
from projects import services
from projects.codes import MESSAGE
from projects.codes import Code as ProjectCode
from projects.forms import ProjectForm
from projects.models import ApiKey, Project
from projects.quotas import quota_of

ENTRIES: Final = 200
TURNED_AWAY: Final = (Code.RATE_LIMITED, Code.QUOTA_EXCEEDED, Code.PROJECT_BACKLOG, Code.QUEUE_FULL)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def settings(request: HttpRequest, project_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    if request.method == "POST":
        if not is_owner(project):
            raise PermissionDenied(MESSAGE[ProjectCode.NOT_OWNER])
        form = ProjectForm(request.POST, instance=Project.objects.get(pk=project.pk))
        if form.is_valid():
            services.change_project(project, **form.cleaned_data)
            messages.success(request, "Saved.")
            return go(request, "settings", project.pk)
    else:
        form = ProjectForm(instance=project)
    context = {"form": form, "tab": "general"}
    return page(
        request, "settings/general.html", context, project=project, status=422 if form.is_bound else 200
    )


@dataclass(frozen=True, slots=True)
class Usage:
    """Events of a UTC day. `turned_away`: by code, with its reason."""

    today: int
    held: int | None
    turned_away: list[tuple[str, int, str]]


@require_safe
@signed_in
def limits(request: HttpRequest, project_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    context = {"tab": "limits", "quota": quota_of(project), "usage": usage(project)}
    return page(request, "settings/limits.html", context, project=project)


def usage(project: Project) -> Usage:
    """The day's events by the ledger, which the quota's own count is a second ahead of."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = Ledger.objects.filter(project_id=project.pk, hour__gte=midnight)
    today = rows.aggregate(events=Sum("accepted"))["events"] or 0
    away: dict[str, int] = {}
    for rejected in rows.values_list("rejected", flat=True):
        for code in TURNED_AWAY:
            away[code] = away.get(code, 0) + rejected.get(code, 0)
    try:
        counts = buffer.queued_counts(sync_client())
        held = sum(events for (owner, _), events in counts.items() if owner == project.pk)
    except redis.RedisError:
        held = None
    return Usage(today, held, [(code, events, reason(code)) for code, events in away.items() if events])


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody did something. `by` is "" where that is not kept."""

    at: datetime
    by: str
    did: str
    about: str


@require_safe
@signed_in
def audit_log(request: HttpRequest, project_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    context = {"tab": "audit", "entries": entries(project), "most": ENTRIES}
    return page(request, "settings/audit.html", context, project=project)


def entries(project: Project) -> list[Entry]:
    """The latest of the audit log, and of what the keys themselves tell."""
    logged = AuditEntry.objects.filter(project_id=project.pk)[:ENTRIES]
    found = [Entry(entry.at, entry.by_name, _did(entry), _about(entry.what)) for entry in logged]
    for key in project.keys.select_related("created_by").order_by("-id")[:ENTRIES]:
        found += _of_key(key)
    found.append(Entry(project.created_at, "", "Created the project", ""))
    return sorted(found, key=lambda entry: entry.at, reverse=True)[:ENTRIES]


def _of_key(key: ApiKey) -> list[Entry]:
    about = f"{key.prefix}…" + (f" ({key.name})" if key.name else "")
    by = key.created_by.get_username() if key.created_by else ""
    made = [Entry(key.created_at, by, f"Created a {key.kind} key", about)]
    if key.revoked_at and key.revoked_at - key.created_at >= timedelta(0):
        made.append(Entry(key.revoked_at, "", f"Revoked a {key.kind} key", about))
    return made


def _did(entry: AuditEntry) -> str:
    if entry.action == "plan":
        return "Changed the tracking plan"
    letters = "1 failure" if entry.letters == 1 else f"{entry.letters:,} failures"
    return f"{entry.action.replace('_', ' ').capitalize()}: {letters}"


def _about(what: dict[str, Any]) -> str:
    told = {**what, **what.get("filter", {})} if isinstance(what.get("filter"), dict) else dict(what)
    told.pop("filter", None)
    return ", ".join(f"{name} {value}" for name, value in told.items() if value not in ("", None))
