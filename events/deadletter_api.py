"""The API of dead letters: a member or a read key looks, a member replays, an owner discards."""

import base64
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, serializers, status
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events import deadletter, rehearsal, replay
from events import deadletter_schema as shapes
from events.deadletter import Wanted
from events.models import AuditEntry, DeadLetter, LetterState, Replay
from eventsite.api import NOT_AUTHENTICATED, NOT_FOUND
from projects import examples
from projects.api import PROJECT_ID, owned_project, person, project_or_404
from projects.drf import KeyHolder, ReadKeyAuthentication, TokenAuthentication
from tasks.replay import begin

LETTER_ID = OpenApiParameter("letter_id", int, OpenApiParameter.PATH)
REPLAY_ID = OpenApiParameter("replay_id", int, OpenApiParameter.PATH)
FAILURES = {401: NOT_AUTHENTICATED, 404: NOT_FOUND}
LATEST = 100


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT


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


def validated(serializer: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    body = serializer(data=data)
    body.is_valid(raise_exception=True)
    return cast(dict[str, Any], body.validated_data)


def asked(request: Request, project_id: int) -> tuple[Wanted, dict[str, Any]]:
    """The filter in the query string, and all of its fields."""
    query = {name: value for name, value in request.query_params.items() if name != "key"}
    fields = validated(shapes.FilterQuerySerializer, query)
    return shapes.wanted_of(project_id, fields), fields


def selected(project_id: int, fields: dict[str, Any]) -> Wanted:
    return shapes.wanted_of(project_id, fields.get("filter", {}), fields.get("ids"))


@extend_schema(tags=["failures"])
class FailureListView(ReadView):
    @extend_schema(
        operation_id="failures_list",
        summary="Dead letters, the latest first",
        parameters=[PROJECT_ID, shapes.FilterQuerySerializer],
        examples=[shapes.answers("Page", {"next": None, "results": [shapes.FAILURE]})],
        responses={200: shapes.FailurePageSerializer, 400: shapes.BAD_FILTER, **FAILURES},
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
        examples=[shapes.answers("Letter", shapes.DETAIL)],
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
        parameters=[PROJECT_ID, shapes.FilterSerializer],
        examples=[shapes.answers("Groups", {"groups": [shapes.GROUP], "is_partial": False})],
        responses={200: shapes.GroupsSerializer, 400: shapes.BAD_FILTER, **FAILURES},
    )
    def get(self, request: Request, project_id: str) -> Response:
        own = readable(request, project_id)
        query = {name: value for name, value in request.query_params.items() if name != "key"}
        fields = {"state": LetterState.WAITING} | validated(shapes.FilterSerializer, query)
        return Response(shapes.GroupsSerializer(deadletter.groups(shapes.wanted_of(own, fields))).data)


@extend_schema(tags=["failures"])
class FailureExportView(ReadView):
    @extend_schema(
        operation_id="failures_export",
        summary="Dead letters as NDJSON, oldest first",
        description="One letter a line, with its `event` as its sender would write it and its `envelope`. Streams.",
        parameters=[PROJECT_ID, shapes.FilterSerializer],
        responses={
            200: OpenApiResponse(description="application/x-ndjson"),
            400: shapes.BAD_FILTER,
            **FAILURES,
        },
    )
    def get(self, request: Request, project_id: str) -> StreamingHttpResponse:
        own = readable(request, project_id)
        query = {name: value for name, value in request.query_params.items() if name != "key"}
        wanted = shapes.wanted_of(own, validated(shapes.FilterSerializer, query))
        # Under ASGI Django would first gather what a plain iterator yields.
        is_async = isinstance(request._request, ASGIRequest)
        pages: Any = _pages(wanted) if is_async else deadletter.export(wanted)
        response = StreamingHttpResponse(pages, content_type="application/x-ndjson")
        response["Content-Disposition"] = f'attachment; filename="dead-letters-{own}.ndjson"'
        return response


async def _pages(wanted: Wanted) -> AsyncIterator[bytes]:
    after: int | None = 0
    while after is not None:
        lines, after = await sync_to_async(deadletter.export_page)(wanted, after)
        yield lines


@extend_schema(tags=["failures"])
class FailureReplayView(APIView):
    parser_classes = (shapes.PayloadParser,)

    @extend_schema(
        operation_id="failures_replay",
        summary="Send dead letters again",
        description="Some, all that match, or one as edited; each first mended by `rule`, where there is one. `dry` tries it "
        "over the first 500 and sends nothing. The event ids stay, so that nothing is stored twice.",
        parameters=[PROJECT_ID],
        request=shapes.ReplayRequestSerializer,
        examples=[
            shapes.asks(
                "A group, mended, dry",
                {"filter": {"fingerprint": "9f86d081884c7d65"}, "rule": shapes.RULE, "dry": True},
            ),
            shapes.asks("Two letters", {"ids": [7, 9]}),
            shapes.asks(
                "One as edited",
                {"ids": [7], "payload": {"name": "order_paid", "properties": {"amount": 19.9}}},
            ),
            shapes.answers("Dry", shapes.REHEARSAL),
            shapes.answers("Begun", shapes.REPLAY, "202"),
        ],
        responses={
            200: shapes.RehearsalSerializer,
            202: shapes.ReplaySerializer,
            400: shapes.BAD_SELECTION,
            409: shapes.NOT_WAITING,
            **FAILURES,
        },
    )
    def post(self, request: Request, project_id: str) -> Response:
        project = project_or_404(request, project_id)
        fields = validated(shapes.ReplayRequestSerializer, request.data)
        wanted = selected(project.pk, fields)
        by = person(request).get_username()
        if fields["dry"]:
            return Response(shapes.RehearsalSerializer(rehearsal.rehearse(wanted, fields.get("rule"))).data)
        if "payload" in fields:
            started = _send_edited(wanted, fields["payload"], by)
        else:
            started = replay.start(wanted, by=by, rule=fields.get("rule"), rate=fields.get("rate"))
        begin(started.pk)
        return Response(shapes.ReplaySerializer(started).data, status=status.HTTP_202_ACCEPTED)


def _send_edited(wanted: Wanted, payload: str, by: str) -> Replay:
    letter = get_object_or_404(wanted.rows())
    if letter.state != LetterState.WAITING:
        raise Conflict(f"This letter is {letter.state}: only waiting ones are sent.", code="not_waiting")
    found, started = replay.send_edited(letter, _encoded(payload), by=by)
    if started is None:
        if found.would_store:
            raise Conflict("Somebody else has just dealt with this letter.", code="not_waiting")
        place = f" at line {found.line}, column {found.column}" if found.line else ""
        why = f"{found.code or found.outcome}{place}: {found.detail or 'It is stored already.'}"
        raise exceptions.ValidationError({"payload": [why]})
    return started


def _encoded(payload: str) -> bytes:
    return payload.encode(errors="surrogatepass")  # half a pair is then refused as not UTF-8


@extend_schema(tags=["failures"])
class FailureCheckView(APIView):
    parser_classes = (shapes.PayloadParser,)

    @extend_schema(
        operation_id="failures_check",
        summary="Would it be stored?",
        description="Asked of the code that accepts and of the statement that stores, whose insert is rolled back.",
        parameters=[PROJECT_ID],
        request=shapes.CheckRequestSerializer,
        examples=[
            shapes.asks(
                "As edited",
                {"letter": 7, "payload": '{"name": "order_paid", "properties": {"amount": 19.9}}'},
            ),
            shapes.answers("Not yet", shapes.VERDICT),
        ],
        responses={200: shapes.VerdictSerializer, 400: shapes.BAD_SELECTION, **FAILURES},
    )
    def post(self, request: Request, project_id: str) -> Response:
        project = project_or_404(request, project_id)
        fields = validated(shapes.CheckRequestSerializer, request.data)
        letter = get_object_or_404(DeadLetter, project_id=project.pk, pk=fields["letter"])
        if "payload" in fields:
            found = rehearsal.letter_verdict(letter, _encoded(fields["payload"]))
        else:
            found = rehearsal.mended_verdict(letter, fields.get("rule"))
        return Response(shapes.VerdictSerializer(found).data)


@extend_schema(tags=["failures"])
class FailureDiscardView(APIView):
    @extend_schema(
        operation_id="failures_discard",
        summary="Give dead letters up for good, with a reason",
        description="Only waiting ones, and only by an owner. They can be read until they expire.",
        parameters=[PROJECT_ID],
        request=shapes.DiscardRequestSerializer,
        examples=[
            shapes.asks(
                "A group", {"filter": {"fingerprint": "9f86d081884c7d65"}, "reason": "Sent by a test."}
            ),
            shapes.answers("Discarded", {"discarded": 23}),
        ],
        responses={
            200: shapes.DiscardedSerializer,
            400: shapes.BAD_SELECTION,
            403: examples.NOT_OWNER,
            **FAILURES,
        },
    )
    def post(self, request: Request, project_id: str) -> Response:
        project = owned_project(request, project_id)
        fields = validated(shapes.DiscardRequestSerializer, request.data)
        by = person(request).get_username()
        return Response(
            {"discarded": deadletter.discard(selected(project.pk, fields), reason=fields["reason"], by=by)}
        )


@extend_schema(tags=["failures"])
class ReplayListView(ReadView):
    @extend_schema(
        operation_id="replays_list",
        summary="The latest replays",
        parameters=[PROJECT_ID],
        examples=[shapes.answers("Replays", {"results": [shapes.REPLAY]})],
        responses={200: shapes.ReplayPageSerializer, **FAILURES},
    )
    def get(self, request: Request, project_id: str) -> Response:
        rows = Replay.objects.filter(project_id=readable(request, project_id)).order_by("-id")[:LATEST]
        return Response({"results": shapes.ReplaySerializer(rows, many=True).data})


@extend_schema(tags=["failures"])
class ReplayView(ReadView):
    @extend_schema(
        operation_id="replays_retrieve",
        summary="A replay's progress",
        parameters=[PROJECT_ID, REPLAY_ID],
        examples=[shapes.answers("Replay", shapes.REPLAY)],
        responses={200: shapes.ReplaySerializer, **FAILURES},
    )
    def get(self, request: Request, project_id: str, replay_id: str) -> Response:
        found = get_object_or_404(Replay, project_id=readable(request, project_id), pk=replay_id)
        return Response(shapes.ReplaySerializer(found).data)


@extend_schema(tags=["failures"], parameters=[PROJECT_ID, REPLAY_ID], request=None)
class _TurnView(APIView):
    """Stops or resumes a replay."""

    def turn(self, request: Request, project_id: str, replay_id: str, *, stops: bool) -> Response:
        found = get_object_or_404(Replay, project_id=project_or_404(request, project_id).pk, pk=replay_id)
        by = person(request).get_username()
        if not (replay.stop(found, by=by) if stops else replay.resume(found, by=by)):
            raise Conflict(f"This replay is {found.state}.", code="not_running")
        if not stops:
            begin(found.pk)
        return Response(shapes.ReplaySerializer(found).data)


class ReplayStopView(_TurnView):
    @extend_schema(
        operation_id="replays_stop",
        summary="Stop a replay; what was sent arrives",
        examples=[shapes.answers("Stopped", shapes.REPLAY | {"state": "stopped"})],
        responses={200: shapes.ReplaySerializer, 409: shapes.ENDED, **FAILURES},
    )
    def post(self, request: Request, project_id: str, replay_id: str) -> Response:
        return self.turn(request, project_id, replay_id, stops=True)


class ReplayResumeView(_TurnView):
    @extend_schema(
        operation_id="replays_resume",
        summary="Let a stopped replay go on",
        examples=[shapes.answers("Resumed", shapes.REPLAY)],
        responses={200: shapes.ReplaySerializer, 409: shapes.ENDED, **FAILURES},
    )
    def post(self, request: Request, project_id: str, replay_id: str) -> Response:
        return self.turn(request, project_id, replay_id, stops=False)


@extend_schema(tags=["failures"])
class FailureAuditView(ReadView):
    @extend_schema(
        operation_id="failures_audit",
        summary="Who did what to dead letters, the latest first",
        parameters=[PROJECT_ID],
        examples=[shapes.answers("Audit log", {"results": [shapes.AUDIT]})],
        responses={200: shapes.AuditPageSerializer, **FAILURES},
    )
    def get(self, request: Request, project_id: str) -> Response:
        rows = AuditEntry.objects.filter(project_id=readable(request, project_id)).order_by("-id")[:LATEST]
        return Response({"results": shapes.AuditSerializer(rows, many=True).data})
