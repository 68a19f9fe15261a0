"""What every endpoint under /api/ shares: the shape of an error, and its documentation."""

import logging
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema, inline_serializer
from rest_framework import exceptions, serializers, status
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import exception_handler

from eventsite.parsers import BodyTooLarge

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = "5"

ErrorBody = inline_serializer(
    "Error",
    {
        "code": serializers.CharField(help_text="Short and stable: what a program looks at."),
        "message": serializers.CharField(help_text="For people."),
        "detail": serializers.CharField(
            help_text="The same as `message`; clients differ in what they look for."
        ),
        "error": serializers.CharField(help_text="The same as `code`."),
        "fields": serializers.DictField(
            child=serializers.ListField(child=serializers.CharField()),
            help_text="By name of the field: what is wrong with it.",
        ),
    },
)


class Unavailable(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = "The database cannot be reached at the moment. Try again."


def error_body(code: str, message: str, fields: dict[str, list[str]] | None = None) -> dict[str, Any]:
    """Returns the one shape of every error."""
    message = _sendable(message)
    shown = {_sendable(name): [_sendable(text) for text in texts] for name, texts in (fields or {}).items()}
    return {"code": code, "message": message, "detail": message, "error": code, "fields": shown}


def handle_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's handler, its answer put into our shape. What is no API error stays an error of ours: logged,
    500.
    """
    if isinstance(exc, OperationalError | InterfaceError):
        logger.error("database not reached: %s", type(exc).__name__)
        exc = Unavailable()
    if isinstance(
        exc, RequestDataTooBig
    ):  # Django's own limit, where the body was read before a parser came to it
        exc = BodyTooLarge(str(exc))
    response = exception_handler(exc, context)
    if response is None:
        return None
    if response.status_code == status.HTTP_503_SERVICE_UNAVAILABLE:
        response["Retry-After"] = RETRY_AFTER_SECONDS
    if isinstance(exc, exceptions.ValidationError):
        fields = _fields(exc.detail)
        message = " ".join(f"{name}: {' '.join(texts)}" for name, texts in fields.items())
        response.data = error_body("invalid", message, fields)
    else:
        detail = response.data["detail"]
        response.data = error_body(getattr(detail, "code", "error"), str(detail))
    return response


def _sendable(text: str) -> str:
    """An error repeats what was sent, and JSON can say what UTF-8 cannot: half a surrogate pair."""
    return text.encode(errors="replace").decode()


def _fields(detail: Any) -> dict[str, list[str]]:
    """Flattens DRF's errors to one level; what belongs to no field is filed under `body`."""
    if not isinstance(detail, dict):
        return {"body": _texts(detail)}
    return {
        "body" if name == "non_field_errors" else str(name): _texts(texts) for name, texts in detail.items()
    }


def _texts(detail: Any) -> list[str]:
    if isinstance(detail, dict):
        return [f"{name}: {text}" for name, texts in detail.items() for text in _texts(texts)]
    if isinstance(detail, list):
        return [text for item in detail for text in _texts(item)]
    return [str(detail)]


def error_response(description: str, code: str, message: str, **fields: list[str]) -> OpenApiResponse:
    """Returns the documentation of one way to fail, with its example."""
    example = OpenApiExample(code, value=error_body(code, message, fields), response_only=True)
    return OpenApiResponse(ErrorBody, description=description, examples=[example])


NOT_AUTHENTICATED = error_response(
    "No login, or a wrong one", "not_authenticated", "Authentication credentials were not provided."
)
NOT_FOUND = error_response("It does not exist, or is another person's", "not_found", "Not found.")
INVALID = error_response(
    "The body is not right",
    "invalid",
    "name: This field may not be blank.",
    name=["This field may not be blank."],
)


@extend_schema(exclude=True)
@api_view(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
@authentication_classes([])
@permission_classes([])
def unknown_route(request: Request, *args: Any, **kwargs: Any) -> Response:
    """Everything under /api/ that is nothing: 404 in the API's shape."""
    raise exceptions.NotFound
