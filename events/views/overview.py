"""Overview: what came, from whom, what went wrong and what was slow. Its parts are asked for one by one (overview_parts.py)."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from events.views import filtering, state
from events.views.asking import tried
from events.views.guesses import guesses
from events.views.overview_asked import MEASURES, Asked
from events.views.overview_parts import PARTS
from events.views.parts import Part, asked_alone
from events.views.state import State
from eventsite.pages import page, place_exists, project_or_404, signed_in

WIDTHS = {"top": "w4", "slowest": "w4", "failures": "w4"}


@require_safe
@signed_in
def overview(request: HttpRequest, project_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    path = reverse("overview", args=[project.pk])
    if added := filtering.added(request, project, path):
        return added
    asked = state.read(request, project, path, compares=True)
    parts = [
        Part(
            name=name,
            template=f"overview/_{name}.html",
            url=asked.links.at(reverse("overview-part", args=[project.pk, name])).set(),
            width=WIDTHS.get(name, ""),
            context=made(request, asked, name, times=2) if "whole" in request.GET else None,
        )
        for name in (PARTS if asked.is_right else ())
    ]
    context = {"asked": asked, "parts": parts, **filtering.form(asked), **_around(asked)}
    return page(request, "overview/page.html", context, project=project)


@require_safe
@signed_in
def overview_part(request: HttpRequest, project_id: int, name: str) -> HttpResponse:
    if name not in PARTS:
        raise Http404
    project = project_or_404(request, project_id)
    asked = state.read(request, project, reverse("overview", args=[project.pk]), compares=True)
    part = asked_alone(request, name, f"overview/_{name}.html", made(request, asked, name))
    return page(request, "parts/page.html", {"part": part}, project=project)


def made(request: HttpRequest, asked: State, name: str, *, times: int = 1) -> dict[str, Any]:
    """Returns what a part shows, or its failure."""
    if not asked.is_right:
        return {"failure": filtering.NOT_ASKED}
    measure = request.GET.get("measure", "")

    def make() -> dict[str, Any]:
        known = guesses(asked, request.GET)
        chosen = measure if measure in MEASURES and (measure != "latency" or known.latency) else "events"
        return PARTS[name](Asked(asked, known, chosen)) | _around(asked)

    return tried(make, times=times)


def _around(asked: State) -> dict[str, Any]:
    """Addresses of other pages, the state kept where they have one."""
    project = asked.project
    return {
        "events_url": asked.links.at(reverse("events", args=[project.pk])).set(measure=None, compare=None),
        "failures_url": reverse("failures", args=[project.pk]) if place_exists("failures") else "",
        "start_url": reverse("start-here", args=[project.pk]),
        "live_url": f"/api/projects/{project.pk}/live/",
        "wider": asked.wider,
    }
