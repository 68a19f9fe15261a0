"""Questions over HTTP: one address for each kind, for a project's read keys and its members."""

import json
import logging
from typing import Any

import msgspec
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, re_path
from rest_framework import exceptions, status
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request
from rest_framework.views import APIView

from events import insights_schema
from events.insights import errors
from events.insights.ask import ask
from events.insights.kind import Kind
from events.insights.kinds import KINDS
from eventsite.api import Unavailable
from projects.access import alive
from projects.api import project_or_404
from projects.drf import KeyHolder, ReadKeyAuthentication, TokenAuthentication
from projects.models import Project

logger = logging.getLogger(__name__)


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_code = insights_schema.TOO_LARGE_CODE


NARROW = "Narrow it: a shorter period, one name, a filter, or fewer groups."
_TOO_LARGE = {
    errors.TooSlow: f"It took too long and was stopped. {NARROW}",
    errors.TooLarge: f"It needs more memory than a question may. {NARROW}",
    errors.TooManyRows: f"It has more rows than an answer may. {NARROW}",
}


class InsightView(APIView):
    """Of one kind, which `routes` sets."""

    authentication_classes = (ReadKeyAuthentication, TokenAuthentication, SessionAuthentication)
    kind: Kind

    def answer(self, request: Request, project_id: str, sent: Any) -> HttpResponse:
        project = readable_project(request, int(project_id))
        try:
            found = ask(project, self.kind, sent)
        except errors.QuestionError as error:
            raise refusal(error, self.kind.name) from error
        return HttpResponse(msgspec.json.encode(found), content_type="application/json")


def refusal(error: errors.QuestionError, kind: str) -> exceptions.APIException:
    """What no answer is over HTTP."""
    if isinstance(error, errors.BadQuestion):
        return exceptions.ValidationError({error.field: [error.message]})
    if isinstance(error, errors.Invalid):
        logger.error("a question of kind %s was refused by DuckDB: %s", kind, error.message)
        return exceptions.ValidationError({"body": ["It cannot be computed over these events."]})
    if too_large := _TOO_LARGE.get(type(error)):
        return TooLarge(too_large)
    if isinstance(error, errors.Busy):
        return Unavailable("Too many questions are under way. Try again.")
    return Unavailable("Questions cannot be answered at the moment. Try again.")


def readable_project(request: Request, project_id: int) -> Project:
    """Returns the project where the caller may read it; another's is as absent as none."""
    if isinstance(request.user, KeyHolder):
        if request.user.project_id != project_id:
            raise exceptions.NotFound
        return get_object_or_404(alive(), pk=project_id)
    return project_or_404(request, project_id)


def of_parameters(request: Request) -> dict[str, Any]:
    """A question from the query string: each value JSON where it parses as JSON, else a text. `key` is the reader's key."""
    return {name: _parsed(text) for name, text in request.query_params.dict().items() if name != "key"}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def view_of(kind: Kind) -> type[InsightView]:
    class View(InsightView):
        @insights_schema.documented(kind, is_get=False)
        def post(self, request: Request, project_id: str) -> HttpResponse:
            return self.answer(request, project_id, request.data)

        @insights_schema.documented(kind, is_get=True)
        def get(self, request: Request, project_id: str) -> HttpResponse:
            return self.answer(request, project_id, of_parameters(request))

    View.kind = kind
    View.__name__ = View.__qualname__ = f"{kind.name.title()}InsightView"
    return View


def routes() -> list[URLPattern]:
    start = r"^api/projects/(?P<project_id>[0-9]{1,19})/insights/"
    return [
        re_path(rf"{start}{kind.name}/?$", view_of(kind).as_view(), name=f"api-insights-{kind.name}")
        for kind in KINDS.values()
    ]
