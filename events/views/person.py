"""One person's timeline: events, the latest first, with the silences between them written out."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_safe

from events.insights.periods import EARLIEST
from events.views import events as explorer
from events.views.asking import answer, tried
from events.views.conditions import field
from events.views.events import Row
from events.views.parts import Part, asked_alone
from events.views.state import Links
from eventsite.pages import page, project_or_404, signed_in
from projects.models import Project

ROWS: Final = 100
SILENCE: Final = timedelta(minutes=30)  # what ends a session
NAMES: Final = 8


@dataclass(frozen=True, slots=True)
class Moment:
    """An event, its first few properties on one line, and how long it was silent after it where that is long."""

    row: Row
    said: str
    silence: float | None


@require_safe
@signed_in
def person(request: HttpRequest, project_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    who = request.GET.get("who", "").strip()
    links = Links(reverse("events", args=[project.pk]), QueryDict())
    context: dict[str, Any] = {"who": who, "events_url": links.path}
    if who:
        after = request.GET.get("after")
        context |= tried(lambda: _timeline(project, who, after), times=2)
        context["filter_url"] = links.adding(field("person", who))
        context["names"] = Part(
            "names",
            "events/_names.html",
            f"{reverse('events-person-names', args=[project.pk])}?{request.GET.urlencode()}",
            "w4",
            tried(lambda: _names(project, who), times=2) if "whole" in request.GET else None,
        )
    return page(request, "events/person.html", context, project=project)


@require_safe
@signed_in
def person_names(request: HttpRequest, project_id: int) -> HttpResponse:
    """What a person did, by name: a question of its own, for the lake takes longer than the latest events."""
    project = project_or_404(request, project_id)
    who = request.GET.get("who", "").strip()
    part = asked_alone(request, "names", "events/_names.html", tried(lambda: _names(project, who)))
    return page(request, "parts/page.html", {"part": part}, project=project)


def _timeline(project: Project, who: str, after: str | None) -> dict[str, Any]:
    found = answer(project, "events", {"person": who, "limit": ROWS, **({"after": after} if after else {})})
    nowhere = Links("", QueryDict())
    moments: list[Moment] = []
    newer = None
    for event in found["events"]:
        properties = msgspec.json.decode(event["properties"])
        row = explorer.row(nowhere, project.pk, event, properties, ZoneInfo(project.time_zone))
        passed = newer - row.at if newer else timedelta()
        moments.append(Moment(row, _said(properties), passed.total_seconds() if passed > SILENCE else None))
        newer = row.at
    return {"moments": moments, "next": found["next"], "is_first": not after}


def _names(project: Project, who: str) -> dict[str, Any]:
    question = {
        "period": {"from": f"{EARLIEST:%Y-%m-%d}"}, "interval": None,
        "where": {"field": "person", "op": "=", "value": who}, "breakdown": {"field": "name", "limit": NAMES},
    }  # fmt: skip
    (series,) = answer(project, "trends", question)["series"]
    groups = [group for group in series["groups"] if group["total"]]
    return {"groups": groups, "most": max((group["total"] for group in groups), default=0),
            "total": sum(group["total"] for group in groups)}  # fmt: skip


def _said(properties: dict[str, Any]) -> str:
    return " · ".join(f"{name} {explorer.cell(value)}" for name, value in list(properties.items())[:4])
