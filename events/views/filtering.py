"""The form that adds a filter: without JavaScript it is sent as its three fields, and becomes an address with one more `f`."""

from typing import Any, Final

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from events.catalogue import suggest
from events.views import known
from events.views.asking import Failure
from events.views.conditions import FIELDS, WORDS
from events.views.state import Links, State
from eventsite.json_tree import place
from projects.models import Project

FIELDS_OF_FORM: Final = ("what", "op", "value")
NOT_ASKED: Final = Failure("Nothing was asked.", "A filter or the period above is not right.", may_help=False)


def added(request: HttpRequest, project: Project, path: str) -> HttpResponse | None:
    """Takes what the form sent, returns the way to the address it means; None where nothing was sent."""
    if "what" not in request.GET:
        return None
    query = request.GET.copy()
    what, op, value = (query.pop(name, [""])[0] for name in FIELDS_OF_FORM)
    links = Links(path, query)
    if not what.strip():
        return HttpResponseRedirect(links.set())
    text = f"{known.path(project.pk, what)}:{op or 'eq'}:{value.strip()}"
    return HttpResponseRedirect(links.adding(text))


def form(asked: State) -> dict[str, Any]:
    """What templates/parts/_filters.html needs."""
    kept = [
        (name, value)
        for name, values in asked.links.query.lists()
        if name not in ("after", *FIELDS_OF_FORM)
        for value in values
    ]
    return {
        "kept": kept,
        "ops": WORDS.items(),
        "suggestions": asked.links.at(reverse("events-suggestions", args=[asked.project.pk])).set(),
    }


def suggestions(asked: State) -> list[str]:
    """Paths to filter by: fields, and the properties that occur, with the name that is asked for if it is one."""
    project_id, of_name = asked.project.pk, asked.of_name
    found = suggest.properties(project_id, of_name) if of_name else known.properties(project_id)
    return [f"@{name}" for name in FIELDS] + [place([one.name]) for one in found]
