"""The documentation of questions: their types as OpenAPI, with examples and every way to fail."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from events.insights.kind import Kind
from events.insights.kinds import KINDS
from eventsite.api import NOT_AUTHENTICATED, NOT_FOUND, error_response
from projects.api import PROJECT_ID
from projects.codes import MESSAGE, Code

Method = TypeVar("Method", bound=Callable[..., Any])
_REFERENCE: Final = "#/components/schemas/{name}"
TOO_LARGE_CODE: Final = "question_too_large"
BAD_QUESTION: Final = error_response(
    "The question is not right (`invalid`), or too large for an answer (`question_too_large`)",
    "invalid",
    "period: It is empty: `until` must be later than `from` (and is not part of it).",
    period=["It is empty: `until` must be later than `from` (and is not part of it)."],
)
WRONG_KEY: Final = error_response(
    "A write key, or a revoked one", Code.WRONG_KEY_KIND, MESSAGE[Code.WRONG_KEY_KIND]
)
AWAY: Final = error_response(
    "The process that answers questions is not there, or busy; see `Retry-After`", "unavailable", "Try again."
)
ANSWER: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["as_of", "lag_seconds", "rows_scanned", "seconds", "cached"],
    "properties": {
        "as_of": {
            "type": "string",
            "format": "date-time",
            "description": "Events stored before are in the answer.",
        },
        "lag_seconds": {"type": "number", "description": "How far `as_of` lies behind now."},
        "rows_scanned": {
            "type": "integer",
            "description": "Events in the files that were read; parts of files are skipped.",
        },
        "seconds": {"type": "number"},
        "cached": {"type": "boolean", "description": "Nothing new was sealed since it was computed."},
    },
    "additionalProperties": True,
}
_EXAMPLE: Final = {
    "as_of": "2026-01-05T09:20:11.000000Z", "lag_seconds": 1.2, "rows_scanned": 412_077, "seconds": 0.031, "cached": False,
}  # fmt: skip


def documented(kind: Kind, *, is_get: bool) -> Callable[[Method], Method]:
    """Returns the decorator of a kind's view method."""
    failures = {400: BAD_QUESTION, 401: NOT_AUTHENTICATED, 403: WRONG_KEY, 404: NOT_FOUND, 503: AWAY}
    answers = OpenApiExample(
        "Answer", value=kind.example_answer | _EXAMPLE, response_only=True, status_codes=["200"]
    )
    shared: dict[str, Any] = {
        "tags": ["insights"],
        "summary": kind.summary,
        "operation_id": f"insights_{kind.name}{'_get' if is_get else ''}",
        "responses": {200: OpenApiResponse(ANSWER), **failures},
    }
    if is_get:
        fields = msgspec.structs.fields(kind.question)
        parameters = [
            OpenApiParameter(field.encode_name, str, description="As in the POST.") for field in fields
        ]
        return extend_schema(
            **shared,
            description=f"{kind.description} Each key of the question is a parameter: JSON where it parses as such, else a text.",
            parameters=[PROJECT_ID, *parameters],
            examples=[answers],
        )
    asks = [OpenApiExample(title, value=value, request_only=True) for title, value in kind.examples.items()]
    return extend_schema(
        **shared,
        description=kind.description,
        parameters=[PROJECT_ID],
        request={"application/json": {"$ref": _REFERENCE.format(name=kind.question.__name__)}},
        examples=[*asks, answers],
    )


def add_components(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """A hook of the schema's generator: the types of all questions, which refer to one another."""
    _, components = msgspec.json.schema_components(
        [kind.question for kind in KINDS.values()], ref_template=_REFERENCE
    )
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    result["components"]["schemas"] = dict(sorted((schemas | _as_openapi_3_0(components)).items()))
    return result


def _as_openapi_3_0(schema: Any) -> Any:
    """JSON Schema says null by a type of its own, OpenAPI 3.0 by a mark."""
    if isinstance(schema, list):
        return [_as_openapi_3_0(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _as_openapi_3_0(value) for name, value in schema.items() if name != "examples"}
    if not found.get("required", True):
        del found["required"]
    kinds = found.get("anyOf", [])
    if {"type": "null"} in kinds:
        rest = [kind for kind in kinds if kind != {"type": "null"}]
        del found["anyOf"]
        found |= {"nullable": True} | (
            rest[0] if len(rest) == 1 and "$ref" not in rest[0] else {"anyOf": rest}
        )
    return found
