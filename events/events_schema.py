"""The documentation of single events and of their export."""

from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from events.insights.listing import EXAMPLE
from events.insights_schema import AWAY, BAD_QUESTION, WRONG_KEY
from eventsite.api import NOT_AUTHENTICATED, NOT_FOUND
from projects.api import PROJECT_ID

FAILURES: Final = {400: BAD_QUESTION, 401: NOT_AUTHENTICATED, 403: WRONG_KEY, 404: NOT_FOUND, 503: AWAY}
EVENT_ID: Final = OpenApiParameter(
    "event_id", str, OpenApiParameter.PATH, description="The UUID, or the id as sent."
)
_TEXT: Final = {"type": "string"}
_TEXT_OR_NULL: Final = {"type": "string", "nullable": True}
_TIME: Final = {"type": "string", "format": "date-time"}
EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "required": [name for name in EXAMPLE if name != "raw_base64"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "client_event_id": _TEXT_OR_NULL | {"description": "The id as sent, where it reads otherwise."},
        "name": _TEXT,
        "user_id": _TEXT_OR_NULL,
        "anonymous_id": _TEXT_OR_NULL,
        "session_id": _TEXT_OR_NULL,
        "occurred_at": _TIME,
        "received_at": _TIME,
        "stored_at": _TIME,
        "properties": {"type": "object", "additionalProperties": True},
        "context": {"type": "object", "additionalProperties": True},
        "raw_base64": _TEXT | {"description": "The exact bytes sent, where the row says less than they do."},
    },
}
ONE: Final = extend_schema(
    tags=["events"],
    operation_id="events_retrieve",
    summary="One event by its id",
    description="The latest, where an id came again after days. Seconds after it was accepted it is stored; where it is "
    "until then, `trace` tells.",
    parameters=[PROJECT_ID, EVENT_ID],
    examples=[OpenApiExample("Event", value=EXAMPLE, response_only=True, status_codes=["200"])],
    responses={200: OpenApiResponse(EVENT), **{code: FAILURES[code] for code in (400, 401, 403, 404, 503)}},
)


def _query(name: str, description: str, **options: Any) -> OpenApiParameter:
    return OpenApiParameter(name, str, description=description, **options)


_BINARY: Final = OpenApiResponse(
    OpenApiTypes.BINARY, description="The file. `X-As-Of`: what was stored before is in it."
)
EXPORT: Final = extend_schema(
    tags=["events"],
    operation_id="events_export",
    summary="All events that match, as a file",
    description="Streams, the oldest first: NDJSON (an event a line, as the API shows it) and CSV (properties and context as "
    "JSON text). Parquet has no order, its properties are JSON text, its times and ids typed. What was stored reads back "
    "as it is; so a CSV cell may begin with =, + or @, which a spreadsheet takes for a formula. An error midway cuts the "
    "connection.",
    parameters=[
        PROJECT_ID,
        _query("format", "Of the file; ndjson unless given.", enum=["ndjson", "csv", "parquet"]),
        _query("period", 'As in questions, JSON: `{"last": "30d"}`. All events unless given.'),
        _query("time_zone", "Of dates in `period` and `where`; the project's unless given."),
        _query("where", 'A filter, JSON: `{"property": "plan", "op": "=", "value": "pro"}`.'),
        _query("name", "One name, or several as a JSON list."),
        _query("person", "`user_id`, or `anonymous_id` where there is none."),
    ],
    responses={
        (200, "application/x-ndjson"): _BINARY,
        (200, "text/csv"): _BINARY,
        (200, "application/vnd.apache.parquet"): _BINARY,
        **FAILURES,
    },
)
