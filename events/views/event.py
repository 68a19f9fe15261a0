"""One event: all that is stored of it. The address is its permalink; in a table it opens below its row."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from events.insights import found
from events.persons import person_of
from events.views import events as explorer
from events.views.asking import tried
from events.views.conditions import field
from events.views.state import Links
from eventsite.json_tree import tree
from eventsite.pages import page, project_or_404, signed_in
from projects.models import Project

FIELDS: Final = ("name", "user_id", "anonymous_id", "session_id")


@require_safe
@signed_in
def one(request: HttpRequest, project_id: int, event_id: UUID) -> HttpResponse:
    project = project_or_404(request, project_id)
    links = Links(reverse("events", args=[project.pk]), request.GET)
    context = tried(lambda: {"event": found.event(project.pk, str(event_id))}, times=2)
    if "failure" not in context:
        if context["event"] is None:
            raise Http404
        context = _shown(project, links, context["event"])
    return page(request, "events/one.html", {**context, "events_url": links.set()}, project=project)


def _shown(project: Project, links: Links, event: dict[str, Any]) -> dict[str, Any]:
    person = person_of(event["user_id"], event["anonymous_id"])
    times = {
        name: datetime.fromisoformat(event[name]) for name in ("occurred_at", "received_at", "stored_at")
    }
    return {
        "event": event,
        "times": times,
        "seconds": (times["stored_at"] - times["received_at"]).total_seconds(),
        "fields": [
            {"name": name, "value": event[name], "url": links.adding(field(name, event[name]))}
            for name in FIELDS if event[name] is not None
        ],
        "properties": tree(msgspec.json.decode(event["properties"])),
        "context": tree(msgspec.json.decode(event["context"])),
        "filter": links.filter,
        "json": msgspec.json.format(msgspec.json.encode(event), indent=2).decode(errors="replace"),
        "person": person,
        "person_url": explorer.person_url(project.pk, person) if person else "",
        "trace_url": f"{reverse('events-trace', args=[project.pk])}?id={event['id']}",
    }  # fmt: skip
