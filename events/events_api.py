"""Events over HTTP, beside the kind `events` of the insights: one by its id, and all of them as a file."""

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import re_path
from rest_framework import exceptions
from rest_framework.authentication import SessionAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from events import events_schema as shapes
from events import times
from events.insights import found, question
from events.insights.client import Format
from events.insights.errors import QuestionError
from events.insights.export import Export, ExportWanted
from events.insights.which import which
from events.insights_api import of_parameters, readable_project, refusal
from projects.drf import ReadKeyAuthentication, TokenAuthentication

_TYPES: Final[dict[Format, str]] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}


class OwnFormat(BaseContentNegotiation):
    """`format` is the file's here, not the one that errors are rendered in."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        return first, str(first.media_type)


class ReadView(APIView):
    authentication_classes = (ReadKeyAuthentication, TokenAuthentication, SessionAuthentication)


class EventView(ReadView):
    @shapes.ONE
    def get(self, request: Request, project_id: str, event_id: str) -> HttpResponse:
        project = readable_project(request, int(project_id))
        try:
            event = found.event(project.pk, event_id)
        except QuestionError as error:
            raise refusal(error, "event") from error
        if event is None:
            raise exceptions.NotFound
        # Not by DRF's renderer: numbers keep the digits that were sent.
        return HttpResponse(msgspec.json.encode(event), content_type="application/json")


class ExportView(ReadView):
    content_negotiation_class = OwnFormat

    @shapes.EXPORT
    def get(self, request: Request, project_id: str) -> StreamingHttpResponse:
        project = readable_project(request, int(project_id))
        try:
            wanted = question.read(ExportWanted, of_parameters(request))
            asked = which(wanted, time_zone=project.time_zone, now=datetime.now(UTC))
            export = Export(project.pk, asked, wanted.format)
            as_of = export.start()
        except QuestionError as error:
            raise refusal(error, "export") from error
        # Under ASGI Django would first gather what a plain iterator yields.
        is_async = isinstance(request._request, ASGIRequest)
        blocks: Any = _awaited_blocks(export) if is_async else _blocks(export)
        response = StreamingHttpResponse(blocks, content_type=_TYPES[wanted.format])
        response["Content-Disposition"] = f'attachment; filename="events-{project.pk}.{wanted.format}"'
        response["X-As-Of"] = times.text(as_of)
        return response


def _blocks(export: Export) -> Iterator[bytes]:
    """An error midway is raised into the server, which cuts the connection: a part never looks like the whole."""
    try:
        while block := export.read():
            yield block
    finally:
        export.close()


async def _awaited_blocks(export: Export) -> AsyncIterator[bytes]:
    """In the request's own thread; a client that leaves ends the wait, and `close` what is under way there."""
    try:
        while block := await sync_to_async(export.read)():
            yield block
    finally:
        export.close()


_START: Final = r"^api/projects/(?P<project_id>[0-9]{1,18})/events/"
urlpatterns = [
    re_path(rf"{_START}export/?$", ExportView.as_view(), name="api-events-export"),
    re_path(rf"{_START}(?P<event_id>.{{1,200}}?)/?$", EventView.as_view(), name="api-event"),
]
