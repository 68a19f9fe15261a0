"""The API of dead letters, reading: for a project's members and its read keys."""

import base64
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events import deadletter, deadletter_export
from events import deadletter_examples as examples
from events import deadletter_requests as requests
from events import deadletter_schema as shapes
from events.deadletter import Wanted
from events.models import AuditEntry, DeadLetter, LetterState
from eventsite.api import NOT_AUTHENTICATED, NOT_FOUND
from projects.api import PROJECT_ID, person, project_or_404
from projects.drf import KeyHolder, ReadKeyAuthentication, TokenAuthentication
from projects.keyring import Grant

LETTER_ID = OpenApiParameter("letter_id", int, OpenApiParameter.PATH)
FAILURES = {401: NOT_AUTHENTICATED, 404: NOT_FOUND}
LATEST = 100


class ReadView(APIView):
    """For a project's members, and for its read keys."""

    authentication_classes = (ReadKeyAuthentication, TokenAuthentication, SessionAuthentication)


def readable(request: Request, project_id: str) -> int:
    """Returns the id of a project that the caller may read; 404 for a key of another one."""
    if isinstance(request.user, KeyHolder):
        if request.user.project_id != int(project_id):
            raise exceptions.NotFound
        return request.user.project_id
    return project_or_404(request, project_id).pk


def caller(request: Request) -> str:
    """Who asks, for the audit log: a person's name, or which key."""
    if isinstance(request.user, KeyHolder):
        return f"read key {cast(Grant, request.auth).key_id}"
    return person(request).get_username()


def validated(serializer: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    body = serializer(data=data)
    body.is_valid(raise_exception=True)
    return cast(dict[str, Any], body.validated_data)


def asked(request: Request, project_id: int) -> tuple[Wanted, dict[str, Any]]:
    """The filter in the query string, and all of its fields."""
    query = {name: value for name, value in request.query_params.items() if name != "key"}
    fields = validated(requests.FilterQuerySerializer, query)
    return requests.wanted_of(project_id, fields), fields


@extend_schema(tags=["failures"])
class FailureListView(ReadView):
    @extend_schema(
        operation_id="failures_list",
        summary="Dead letters, the latest first",
        parameters=[PROJECT_ID, requests.FilterQuerySerializer],
        examples=[examples.answers("Page", {"next": None, "results": [examples.FAILURE]})],
        responses={200: shapes.FailurePageSerializer, 400: examples.BAD_FILTER, **FAILURES},
    )
    def get(self, request: Request, project_id: str) -> Response:
        wanted, fields = asked(request, readable(request, project_id))
        rows = wanted.rows().defer("payload", "sent").order_by("-id")
        if "before" in fields:
            rows = rows.filter(id__lt=fields["before"])
        limit = fields["limit"]
        page = list(rows[: limit + 1])
        following = None
        if len(page) > limit:
            query = request.query_params.copy()
            query["before"] = str(page[limit - 1].pk)
            following = request.build_absolute_uri(f"?{query.urlencode()}")
        return Response(
            {"next": following, "results": shapes.FailureSerializer(page[:limit], many=True).data}
        )


@extend_schema(tags=["failures"])
class FailureView(ReadView):
    @extend_schema(
        operation_id="failures_retrieve",
        summary="One dead letter, with its payload and its story",
        parameters=[PROJECT_ID, LETTER_ID],
        examples=[examples.answers("Letter", examples.DETAIL)],
        responses={200: shapes.FailureDetailSerializer, **FAILURES},
    )
    def get(self, request: Request, project_id: str, letter_id: str) -> HttpResponse:
        letter = get_object_or_404(DeadLetter, project_id=readable(request, project_id), pk=letter_id)
        # Not by DRF's renderer: numbers keep the digits that were sent.
        return HttpResponse(msgspec.json.encode(_detail(letter)), content_type="application/json")


def _detail(letter: DeadLetter) -> dict[str, Any]:
    payload, sent = bytes(letter.payload), letter.sent
    event = deadletter.client_form(payload)
    is_event = deadletter.envelope_of(payload) is not None
    fields: dict[str, Any] = dict(shapes.FailureSerializer(letter).data)
    return fields | {
        "event": msgspec.Raw(event) if is_event else None,
        "event_text": event.decode(errors="backslashreplace"),
        "sent_text": None if sent is None else deadletter.client_form(sent).decode(errors="backslashreplace"),
        "payload_base64": base64.b64encode(payload).decode(),
        "offending": deadletter.offending(letter),
        "curl": deadletter.curl(letter),
        "story": [dict(shapes.FailureSerializer(told).data) for told in deadletter.story(letter)],
    }


@extend_schema(tags=["failures"])
class FailureGroupsView(ReadView):
    @extend_schema(
        operation_id="failures_groups",
        summary="Dead letters by cause, the most frequent first",
        description="Waiting ones, unless `state` asks for others.",
        parameters=[PROJECT_ID, requests.FilterSerializer],
        examples=[examples.answers("Groups", {"groups": [examples.GROUP], "is_partial": False})],
        responses={200: shapes.GroupsSerializer, 400: examples.BAD_FILTER, **FAILURES},
    )
    def get(self, request: Request, project_id: str) -> Response:
        own = readable(request, project_id)
        query = {name: value for name, value in request.query_params.items() if name != "key"}
        fields = {"state": LetterState.WAITING} | validated(requests.FilterSerializer, query)
        return Response(shapes.GroupsSerializer(deadletter.groups(requests.wanted_of(own, fields))).data)


@extend_schema(tags=["failures"])
class FailureExportView(ReadView):
    @extend_schema(
        operation_id="failures_export",
        summary="Dead letters as NDJSON, oldest first",
        description="One letter a line, with its `event` as its sender would write it and its `envelope`. Streams.",
        parameters=[PROJECT_ID, requests.FilterSerializer],
        responses={
            200: OpenApiResponse(description="application/x-ndjson"),
            400: examples.BAD_FILTER,
            **FAILURES,
        },
    )
    def get(self, request: Request, project_id: str) -> StreamingHttpResponse:
        own = readable(request, project_id)
        query = {name: value for name, value in request.query_params.items() if name != "key"}
        wanted = requests.wanted_of(own, validated(requests.FilterSerializer, query))
        deadletter_export.begin(wanted, by=caller(request))
        # Under ASGI Django would first gather what a plain iterator yields.
        is_async = isinstance(request._request, ASGIRequest)
        pages: Any = _pages(wanted) if is_async else deadletter_export.export(wanted)
        response = StreamingHttpResponse(pages, content_type="application/x-ndjson")
        response["Content-Disposition"] = f'attachment; filename="dead-letters-{own}.ndjson"'
        return response


async def _pages(wanted: Wanted) -> AsyncIterator[bytes]:
    after: int | None = 0
    while after is not None:
        lines, after = await sync_to_async(deadletter_export.export_page)(wanted, after)
        yield lines


@extend_schema(tags=["failures"])
class FailureAuditView(ReadView):
    @extend_schema(
        operation_id="failures_audit",
        summary="Who did what to dead letters, the latest first",
        parameters=[PROJECT_ID],
        examples=[examples.answers("Audit log", {"results": [examples.AUDIT]})],
        responses={200: shapes.AuditPageSerializer, **FAILURES},
    )
    def get(self, request: Request, project_id: str) -> Response:
        rows = AuditEntry.objects.filter(project_id=readable(request, project_id)).order_by("-id")[:LATEST]
        return Response({"results": shapes.AuditSerializer(rows, many=True).data})
