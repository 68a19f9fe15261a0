"""Live events: who may read them, and their documentation. The stream itself is written by live/asgi.py."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, status
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from events.deadletter_api import ReadView, readable
from events.live import filters
from events.live.asgi import MARK
from eventsite.api import INVALID, NOT_AUTHENTICATED, NOT_FOUND, error_response
from projects.api import PROJECT_ID

DESCRIPTION = """A stream of server-sent events (`text/event-stream`), for `EventSource` or `curl -N`: at most four frames
a second.

- `events`: `{"shown", "of", "unchecked", "events"}`. `of` events were stored that match, the newest `shown` are in `events`.
  Of `unchecked` ones it is not known whether they match: only their number came this way.
- `gap`: `{"count", "why"}`. So many events of the project were stored that this stream does not tell of; `null`: nobody knows
  how many. `why` lists `trimmed` (you came too late), `slow` (you read too slowly), `not_published`, `restarted`.
- `counters`: events of the last 60 s by name, whatever the filter. They know the last `covers` seconds.

Each frame's id is a place in the stream: with `Last-Event-ID` it goes on there, without repeats. A comment comes every
15 s where nothing else does. A read key may be given as `?key=`."""
EXAMPLE = """id: 1764100000000-42
event: events
data: {"shown":1,"of":1,"unchecked":0,"events":[{"id":"0197…","name":"order_paid","occurred_at":"2025-11-25T20:00:00.000000Z",…}]}
"""


class NeedsAsgi(exceptions.APIException):
    status_code = status.HTTP_501_NOT_IMPLEMENTED
    default_code = "needs_asgi"
    default_detail = "Live events need the ASGI application: this server runs the WSGI one."


class AnyAccepted(BaseContentNegotiation):
    """EventSource accepts event streams only; a refusal is JSON all the same."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


@extend_schema(tags=["live"])
class LiveView(ReadView):
    content_negotiation_class = AnyAccepted

    @extend_schema(
        operation_id="live",
        summary="Events as they are stored",
        description=DESCRIPTION,
        parameters=[
            PROJECT_ID,
            OpenApiParameter(
                "name", str, many=True, description="One of these names. May stand several times."
            ),
            OpenApiParameter("person", str, description="`user_id`, or `anonymous_id` where there is none."),
            OpenApiParameter(
                "property.*",
                str,
                description="`property.plan=pro`: the property's text is this. May stand several times.",
            ),
            OpenApiParameter(
                "Last-Event-ID", str, OpenApiParameter.HEADER, description="The id to go on after."
            ),
            OpenApiParameter("last_event_id", str, description="The same, where a header cannot be set."),
        ],
        responses={
            (200, "text/event-stream"): OpenApiResponse(
                str, description="The stream", examples=[OpenApiExample("A frame", value=EXAMPLE)]
            ),
            400: INVALID,
            401: NOT_AUTHENTICATED,
            404: NOT_FOUND,
            501: error_response("Served by WSGI", "needs_asgi", str(NeedsAsgi.default_detail)),
            503: error_response(
                "As many readers as may be",
                "too_many_readers",
                "As many read live events here as may. Try again later.",
            ),
        },
    )
    def get(self, request: Request, project_id: str) -> Response:
        own = readable(request, project_id)
        try:
            filters.read((name, value) for name, values in request.query_params.lists() for value in values)
        except filters.BadFilter as error:
            raise exceptions.ValidationError({error.field: [str(error)]}) from error
        if not getattr(request._request, "scope", {}).get(MARK):
            raise NeedsAsgi
        return Response({"project_id": own})
