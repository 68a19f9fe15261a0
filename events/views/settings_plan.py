"""Settings, Tracking plan: what events of a name are to look like, who changed it, and what did not follow it."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from events import plan_change
from events.accept import MAX_TEXT
from events.catalogue_models import CatalogueName
from events.plan import mirror
from events.plan_models import PlanVersion, PlanViolation
from events.views import settings_plan_form as forms
from events.views.settings_plan_shown import Mode, history, mode_of, modes, violations
from events.views.settings_plan_text import BadText, read
from eventsite.pages import go, is_owner, owned_project, page, person, project_or_404, signed_in
from projects.codes import MESSAGE, Code

SUGGESTED: Final = 200


@dataclass(frozen=True, slots=True)
class Planned:
    """A name in the list; `violations`: events, of all its fields."""

    version: PlanVersion
    mode: Mode
    violations: int


@require_safe
@signed_in
def plan(request: HttpRequest, project_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    rows = PlanViolation.objects.filter(project_id=project.pk).order_by().values_list("name")
    counts = dict(rows.annotate(events=Sum("events")))
    versions = mirror.in_force(project.pk).defer("schema", "changes")
    planned = [Planned(one, mode_of(one.mode), counts.get(one.name, 0)) for one in versions]
    have_plan = {one.version.name for one in planned}
    known = CatalogueName.objects.filter(project_id=project.pk).order_by("-events", "name")
    names = [name for name in known.values_list("name", flat=True)[:SUGGESTED] if name not in have_plan]
    context = {"tab": "plan", "planned": planned, "names": names, "most": plan_change.MAX_NAMES}
    return page(request, "settings/plan.html", context, project=project)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def plan_name(request: HttpRequest, project_id: int) -> HttpResponse:
    """One name, `?name=`: its plan, its versions, and what did not follow it. `&draft=1` drafts a schema, POST saves one."""
    project, name = project_or_404(request, project_id), _name(request)
    latest = mirror.in_force(project.pk).filter(name=name).first()
    form = forms.in_force(latest, wanted=request.GET.get("version"))
    if request.method == "POST":
        if not is_owner(project):
            raise PermissionDenied(MESSAGE[Code.NOT_OWNER])
        form = forms.typed(request.POST, latest)
        if made := forms.save(form, project, name, by=person(request).get_username()):
            messages.success(request, _told(made, form.based_on))
            own = reverse("settings-plan-name", args=[project.pk])
            return go(request, f"{own}?{urlencode({'name': name})}")
    elif "draft" in request.GET and is_owner(project):
        forms.fill(form, project, name)
    context = {
        "tab": "plan",
        "name": name,
        "latest": latest,
        "mode": mode_of(latest.mode) if latest else None,
        "modes": modes(),
        "form": form,
        **history(request, project, name),
        "violations": violations(project, name),
    }
    status = 422 if form.is_refused else 200
    return page(request, "settings/plan_name.html", context, project=project, status=status)


@require_POST
@signed_in
def plan_check(request: HttpRequest, project_id: int) -> HttpResponse:
    """The verdict alone, while it is typed."""
    project = owned_project(request, project_id)
    fault = None
    try:
        read(forms.lines_of(request.POST.get("schema", "")))
    except BadText as error:
        fault = error.fault
    context = {"fault": fault, "is_checked": True}
    return page(request, "settings/_plan_fault.html", context, project=project)


def _told(made: PlanVersion, based_on: int) -> str:
    if made.version == based_on:
        return f"Nothing differs from version {made.version}: it stays."
    return f"Version {made.version} is saved; it is in force within 5 s."


def _name(request: HttpRequest) -> str:
    """What no event can be called is absent."""
    name = request.GET.get("name", "")
    if len(name) > MAX_TEXT or not name.strip() or "\0" in name:
        raise Http404
    return name
