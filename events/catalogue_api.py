"""The catalogue over HTTP, for a project's read keys and its members."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from django.http import HttpResponse
from django.urls import re_path
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request
from rest_framework.views import APIView

from events.catalogue import tell
from events.insights_api import readable_project
from events.insights_schema import WRONG_KEY
from eventsite.api import NOT_AUTHENTICATED, NOT_FOUND, error_response
from projects.api import PROJECT_ID
from projects.drf import ReadKeyAuthentication, TokenAuthentication

MAX_SEARCH: Final = 200
TOO_LONG: Final = f"Ensure this field has no more than {MAX_SEARCH} characters."


class SearchSerializer(serializers.Serializer[Any]):
    """The query."""

    search = serializers.CharField(max_length=MAX_SEARCH, default="", allow_blank=True, trim_whitespace=False)


class MarkSerializer(serializers.Serializer[Any]):
    mark = serializers.ChoiceField(choices=["new", "vanished", "type_changed"])
    at = serializers.CharField(
        help_text="First or last receipt; of a change of type, the first of the new one."
    )
    # Of a change of type; not as attributes, for `from` is none.
    vars()["from"] = serializers.ListField(child=serializers.CharField(), required=False)
    to = serializers.CharField(required=False)


class NameSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    events = serializers.IntegerField()
    first_seen = serializers.DateTimeField(help_text="Of `occurred_at`.")
    last_seen = serializers.DateTimeField()
    days = serializers.ListField(
        child=serializers.IntegerField(), help_text="Events of each of the last 30 days (UTC), today last."
    )
    marks = MarkSerializer(many=True)


class MoreSerializer(serializers.Serializer[Any]):
    """What found no place."""

    more = serializers.IntegerField(help_text="How many different ones, about.")
    more_events = serializers.IntegerField(help_text="How often they came.")


class NamesSerializer(MoreSerializer):
    as_of = serializers.DateTimeField()
    names = NameSerializer(many=True, help_text="The most frequent first; at most 500 are known.")


class ValueSerializer(serializers.Serializer[Any]):
    value = serializers.CharField(help_text="Its text, at most 100 characters of it.")
    events = serializers.IntegerField(help_text="At least so many.")


class PropertySerializer(serializers.Serializer[Any]):
    property = serializers.CharField()
    events = serializers.IntegerField(help_text="Of the sampled ones, with this property, not null.")
    share = serializers.FloatField(help_text="Of the sampled ones, 0 to 1.")
    types = serializers.DictField(child=serializers.IntegerField())
    different_values = serializers.IntegerField(help_text="About (5 %); exact up to 40.")
    has_all_values = serializers.BooleanField(help_text="`values` holds every one that occurred.")
    values = ValueSerializer(many=True, help_text="The most frequent, at most 20.")
    example = serializers.CharField(help_text="Text of a recent value, at most 100 characters of it.")
    first_seen = serializers.DateTimeField(help_text="Of `occurred_at`.")
    last_seen = serializers.DateTimeField()
    marks = MarkSerializer(many=True)


class NamePropertiesSerializer(NameSerializer, MoreSerializer):
    as_of = serializers.DateTimeField()
    sampled = serializers.IntegerField(help_text="Events by which the properties are known.")
    properties = PropertySerializer(many=True, help_text="The most frequent first; at most 200 are known.")


_NAME: Final[dict[str, Any]] = {
    "name": "order_paid", "events": 48_211, "first_seen": "2025-11-02T08:11:09.120000Z",
    "last_seen": "2026-01-05T09:20:10.003000Z", "days": [1_402] * 29 + [611], "marks": [],
}  # fmt: skip
_PROPERTY: Final[dict[str, Any]] = {
    "property": "plan", "events": 9_870, "share": 0.987, "types": {"string": 9_866, "number": 4}, "different_values": 3,
    "has_all_values": True,
    "values": [{"value": "free", "events": 6_411}, {"value": "pro", "events": 3_455}, {"value": "2", "events": 4}],
    "example": "pro", "first_seen": "2025-11-02T08:11:09.120000Z", "last_seen": "2026-01-05T09:20:10.003000Z",
    "marks": [{"mark": "type_changed", "at": "2026-01-04T17:00:02.000000Z", "from": ["string"], "to": "number"}],
}  # fmt: skip
_AS_OF: Final = {"as_of": "2026-01-05T09:20:11.000000Z"}
INVALID: Final = error_response(
    "`search` is too long, or no text", "invalid", f"search: {TOO_LONG}", search=[TOO_LONG]
)
FAILURES: Final = {401: NOT_AUTHENTICATED, 403: WRONG_KEY, 404: NOT_FOUND}


class _CatalogueView(APIView):
    authentication_classes = (ReadKeyAuthentication, TokenAuthentication, SessionAuthentication)


class CatalogueView(_CatalogueView):
    @extend_schema(
        tags=["catalogue"],
        operation_id="catalogue_names",
        summary="Every event name of a project",
        description="Learned from every event as it is sealed, seconds after it was stored.",
        parameters=[
            PROJECT_ID,
            OpenApiParameter("search", str, description="A part of the name, in any case."),
        ],
        examples=[
            OpenApiExample(
                "Names", value=_AS_OF | {"names": [_NAME], "more": 0, "more_events": 0}, response_only=True
            )
        ],
        responses={200: OpenApiResponse(NamesSerializer), 400: INVALID, **FAILURES},
    )
    def get(self, request: Request, project_id: str) -> HttpResponse:
        project = readable_project(request, int(project_id))
        query = SearchSerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        now = datetime.now(UTC)
        found = tell.names(project.pk, search=query.validated_data["search"], now=now)
        more = {"more": found.more, "more_events": found.more_events}
        return _json({"as_of": now, "names": found.rows} | more)


class CatalogueNameView(_CatalogueView):
    @extend_schema(
        tags=["catalogue"],
        operation_id="catalogue_name",
        summary="The properties of an event name",
        description="Known by a sample: `sampled` says of how many events. A rare property appears when it is in it.",
        parameters=[
            PROJECT_ID,
            OpenApiParameter("name", str, OpenApiParameter.PATH, description="The event name."),
        ],
        examples=[
            OpenApiExample(
                "Properties",
                value=_AS_OF
                | _NAME
                | {"sampled": 10_000, "properties": [_PROPERTY], "more": 0, "more_events": 0},
                response_only=True,
            )
        ],
        responses={200: OpenApiResponse(NamePropertiesSerializer), **FAILURES},
    )
    def get(self, request: Request, project_id: str, name: str) -> HttpResponse:
        project = readable_project(request, int(project_id))
        now = datetime.now(UTC)
        found = tell.name(project.pk, name, now=now) if "\0" not in name else None
        if found is None:
            raise exceptions.NotFound
        row, properties = found
        more = {"more": properties.more, "more_events": properties.more_events}
        return _json(row | {"as_of": now, "properties": properties.rows} | more)


def _json(answer: dict[str, Any]) -> HttpResponse:
    """Hundreds of rows, plain already: DRF's renderer would take longer than all the rest."""
    return HttpResponse(msgspec.json.encode(answer), content_type="application/json")


_START: Final = r"^api/projects/(?P<project_id>[0-9]{1,18})/catalogue/"
urlpatterns = [
    re_path(rf"{_START}?\Z", CatalogueView.as_view(), name="api-catalogue"),
    re_path(
        rf"{_START}(?P<name>[\s\S]{{1,200}}?)/?\Z", CatalogueNameView.as_view(), name="api-catalogue-name"
    ),
]
