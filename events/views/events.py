"""Events: the explorer. A histogram and rows, each asked for by itself; or, with `live=1`, events as they are stored."""

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe

from events.insights.errors import QuestionError
from events.persons import person_of
from events.views import filtering, known, live, state
from events.views.asking import answer, tried
from events.views.conditions import field
from events.views.overview_chart import over_time
from events.views.parts import Part, asked_alone
from events.views.state import Links, State
from eventsite.pages import page, project_or_404, signed_in
from eventsite.templatetags.pages import number

ROWS: Final = 50
COLUMNS: Final = 2
MAX_COLUMNS: Final = 6
CELL: Final = 200
EXPORTS: Final = (("csv", "CSV"), ("ndjson", "NDJSON"), ("parquet", "Parquet"))


@dataclass(frozen=True, slots=True)
class Row:
    """An event as the table shows it. `cells`: texts of the chosen properties."""

    id: str
    name: str
    at: datetime
    shown_at: str
    person: str
    cells: list[str]
    url: str
    person_url: str


@require_safe
@signed_in
def events(request: HttpRequest, project_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    path = reverse("events", args=[project.pk])
    if added := filtering.added(request, project, path):
        return added
    asked = state.read(request, project, path)
    is_live = request.GET.get("live") == "1"
    is_whole = "whole" in request.GET or "after" in request.GET
    parts = [
        Part(
            name=name,
            template=f"events/_{name}.html",
            url=asked.links.at(reverse("events-part", args=[project.pk, name])).set(),
            context=made(request, asked, name, times=2) if is_whole else None,
        )
        for name in (PARTS if asked.is_right and not is_live else ())
    ]
    context = {
        "asked": asked,
        "parts": parts,
        "live": live.listening(asked) if is_live and asked.is_right else None,
        "live_url": asked.links.set(live="1"),
        "still_url": asked.links.set(),
        "exports": [(label, _export(asked, format)) for format, label in EXPORTS],
        "trace_url": reverse("events-trace", args=[project.pk]),
        **filtering.form(asked),
    }
    return page(request, "events/page.html", context, project=project)


@require_safe
@signed_in
def events_part(request: HttpRequest, project_id: int, name: str) -> HttpResponse:
    if name not in PARTS:
        raise Http404
    project = project_or_404(request, project_id)
    asked = state.read(request, project, reverse("events", args=[project.pk]))
    part = asked_alone(request, name, f"events/_{name}.html", made(request, asked, name))
    fragments = {"more": "events/_more.html"}  # further rows, in place of the link to them
    return page(request, "parts/page.html", {"part": part}, project=project, fragments=fragments)


@require_safe
@signed_in
def suggestions(request: HttpRequest, project_id: int) -> HttpResponse:
    """Options of the filter's form: paths or, of the path `what`, values."""
    project = project_or_404(request, project_id)
    asked = state.read(request, project, reverse("events", args=[project.pk]))
    options: list[str] = []
    if what := request.GET.get("what", ""):
        with contextlib.suppress(QuestionError):  # then nothing is suggested; one can type
            options = known.values(asked, known.path(project.pk, what)) if asked.is_right else []
    else:
        options = filtering.suggestions(asked)
    response = render(request, "parts/_options.html", {"options": options})
    patch_cache_control(response, private=True, max_age=30)
    return response


def made(request: HttpRequest, asked: State, name: str, *, times: int = 1) -> dict[str, Any]:
    """Returns what a part shows, or its failure."""
    if not asked.is_right:
        return {"failure": filtering.NOT_ASKED}
    if name == "histogram":
        return tried(lambda: histogram(asked), times=times)
    after, columns = request.GET.get("after"), request.GET.getlist("col")
    return tried(lambda: rows(asked, after, columns[:MAX_COLUMNS]), times=times)


def histogram(asked: State) -> dict[str, Any]:
    found = answer(asked.project, "trends", asked.question(interval=asked.interval))
    (line,) = found["series"]
    shown = {"n": "events", "v": line["values"], "color": "--c1", "key": "k1", "fill": True}
    return over_time(asked, found, "Events", [shown]) | {
        "total": number(line["total"]),
        "is_empty": not line["total"],
    }


def rows(asked: State, after: str | None, columns: Sequence[str]) -> dict[str, Any]:
    found = answer(asked.project, "events", asked.question(limit=ROWS, **({"after": after} if after else {})))
    decoded = [(event, msgspec.json.decode(event["properties"])) for event in found["events"]]
    shown = [name for name in columns if name] or _frequent([properties for _, properties in decoded])
    following = None
    if found["next"]:
        query = asked.links.query.copy()
        query["after"] = found["next"]
        query.setlist("col", shown)
        following = {"url": f"{asked.links.path}?{query.urlencode()}", "query": query.urlencode()}
    return {
        "rows": [
            row(asked.links, asked.project.pk, event, properties, asked.zone, shown)
            for event, properties in decoded
        ],
        "columns": shown,
        "next": following,
        "rows_url": reverse("events-part", args=[asked.project.pk, "rows"]),
        "is_empty": not decoded and not after,
        "is_last_page": bool(after) and not decoded,
        "wider": asked.wider,
        "start_url": reverse("start-here", args=[asked.project.pk]),
        "first_page": asked.links.set() if after else "",
    }


def row(
    links: Links,
    project_id: int,
    event: dict[str, Any],
    properties: dict[str, Any],
    zone: ZoneInfo,
    columns: Sequence[str] = (),
) -> Row:
    """Takes an event of an answer. The addresses keep the state, so that one comes back to it."""
    person = person_of(event["user_id"], event["anonymous_id"]) or ""
    at = datetime.fromisoformat(event["occurred_at"])
    local = at.astimezone(zone)
    return Row(
        id=event["id"],
        name=event["name"],
        at=at,
        shown_at=f"{local:%d %b %H:%M:%S}.{local.microsecond // 1000:03d}",
        person=person,
        cells=[cell(properties.get(name)) for name in columns],
        url=links.at(reverse("events-one", args=[project_id, event["id"]])).set(),
        person_url=person_url(project_id, person) if person else "",
    )


def person_url(project_id: int, person: str) -> str:
    return f"{reverse('events-person', args=[project_id])}?{urlencode({'who': person})}"


def person_filter(person: str) -> str:
    return field("person", person)


def cell(value: Any) -> str:
    """A property's value on one line; nothing where it is absent."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode(errors="replace")
    return text if len(text) <= CELL else f"{text[:CELL]}…"


def _frequent(found: Sequence[dict[str, Any]]) -> list[str]:
    """The properties that most of these events have, in the order they came."""
    counts = Counter(name for properties in found for name in properties)
    return [name for name, _ in counts.most_common(COLUMNS)]


def _export(asked: State, format: str) -> str:
    address = reverse("api-events-export", args=[asked.project.pk])
    return f"{address}?{urlencode({'format': format, **asked.asked()})}"


PARTS: Final = ("histogram", "rows")
