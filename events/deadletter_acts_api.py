"""The API of dead letters, acting: a member tries and replays, an owner discards."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events import deadletter, rehearsal, replay
from events import deadletter_examples as examples
from events import deadletter_requests as requests
from events import deadletter_schema as shapes
from events.deadletter import Wanted
from events.deadletter_api import FAILURES, validated
from events.models import DeadLetter, LetterState, Replay
from projects.api import PROJECT_ID, owned_project, person, project_or_404
from projects.examples import NOT_OWNER
from tasks.replay import begin


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT


def selected(project_id: int, fields: dict[str, Any]) -> Wanted:
    return requests.wanted_of(project_id, fields.get("filter", {}), fields.get("ids"))


@extend_schema(tags=["failures"])
class FailureReplayView(APIView):
    parser_classes = (requests.PayloadParser,)

    @extend_schema(
        operation_id="failures_replay",
        summary="Send dead letters again",
        description="Some, all that match, or one as edited; each first mended by `rule`, where there is one. `dry` tries it "
        "over the first 500 and sends nothing. The event ids stay, so that nothing is stored twice.",
        parameters=[PROJECT_ID],
        request=requests.ReplayRequestSerializer,
        examples=[
            examples.asks(
                "A group, mended, dry",
                {"filter": {"fingerprint": "9f86d081884c7d65"}, "rule": examples.RULE, "dry": True},
            ),
            examples.asks("Two letters", {"ids": [7, 9]}),
            examples.asks(
                "One as edited",
                {"ids": [7], "payload": {"name": "order_paid", "properties": {"amount": 19.9}}},
            ),
            examples.answers("Dry", examples.REHEARSAL),
            examples.answers("Begun", examples.REPLAY, "202"),
        ],
        responses={
            200: shapes.RehearsalSerializer,
            202: shapes.ReplaySerializer,
            400: examples.BAD_SELECTION,
            409: examples.NOT_WAITING,
            **FAILURES,
        },
    )
    def post(self, request: Request, project_id: str) -> Response:
        project = project_or_404(request, project_id)
        fields = validated(requests.ReplayRequestSerializer, request.data)
        wanted = selected(project.pk, fields)
        by = person(request).get_username()
        if fields["dry"]:
            return Response(
                shapes.RehearsalSerializer(rehearsal.rehearse(wanted, fields.get("rule"), by=by)).data
            )
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
    parser_classes = (requests.PayloadParser,)

    @extend_schema(
        operation_id="failures_check",
        summary="Would it be stored?",
        description="Asked of the code that accepts and of the statement that stores, whose insert is rolled back.",
        parameters=[PROJECT_ID],
        request=requests.CheckRequestSerializer,
        examples=[
            examples.asks(
                "As edited",
                {"letter": 7, "payload": '{"name": "order_paid", "properties": {"amount": 19.9}}'},
            ),
            examples.answers("Not yet", examples.VERDICT),
        ],
        responses={200: shapes.VerdictSerializer, 400: examples.BAD_SELECTION, **FAILURES},
    )
    def post(self, request: Request, project_id: str) -> Response:
        project = project_or_404(request, project_id)
        fields = validated(requests.CheckRequestSerializer, request.data)
        letter = get_object_or_404(DeadLetter, project_id=project.pk, pk=fields["letter"])
        document = _encoded(fields["payload"]) if "payload" in fields else None
        by = person(request).get_username()
        found = rehearsal.check(letter, by=by, document=document, rule=fields.get("rule"))
        return Response(shapes.VerdictSerializer(found).data)


@extend_schema(tags=["failures"])
class FailureDiscardView(APIView):
    @extend_schema(
        operation_id="failures_discard",
        summary="Give dead letters up for good, with a reason",
        description="Only waiting ones, and only by an owner. They can be read until they expire.",
        parameters=[PROJECT_ID],
        request=requests.DiscardRequestSerializer,
        examples=[
            examples.asks(
                "A group", {"filter": {"fingerprint": "9f86d081884c7d65"}, "reason": "Sent by a test."}
            ),
            examples.answers("Discarded", {"discarded": 23}),
        ],
        responses={
            200: shapes.DiscardedSerializer,
            400: examples.BAD_SELECTION,
            403: NOT_OWNER,
            **FAILURES,
        },
    )
    def post(self, request: Request, project_id: str) -> Response:
        project = owned_project(request, project_id)
        fields = validated(requests.DiscardRequestSerializer, request.data)
        by = person(request).get_username()
        return Response(
            {"discarded": deadletter.discard(selected(project.pk, fields), reason=fields["reason"], by=by)}
        )
