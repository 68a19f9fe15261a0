"""The API of replays: how far they are, and stopping them."""

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events import deadletter_examples as examples
from events import deadletter_schema as shapes
from events import replay
from events.deadletter_acts_api import Conflict
from events.deadletter_api import FAILURES, LATEST, ReadView, readable
from events.models import DeadLetter, Replay
from projects.api import PROJECT_ID, person, project_or_404
from tasks.replay import begin

REPLAY_ID = OpenApiParameter("replay_id", int, OpenApiParameter.PATH)


def concerning(project_id: int) -> QuerySet[Replay]:
    """A project's replays, and those over several projects that have come to a letter of its own."""
    own = DeadLetter.objects.filter(replay_id=OuterRef("pk"), project_id=project_id)
    return Replay.objects.filter(Q(project_id=project_id) | Q(Exists(own), project_id=None))


@extend_schema(tags=["failures"])
class ReplayListView(ReadView):
    @extend_schema(
        operation_id="replays_list",
        summary="The latest replays",
        description="Also those over several projects, once they have come to a letter of this one: then with its own counts.",
        parameters=[PROJECT_ID],
        examples=[examples.answers("Replays", {"results": [examples.REPLAY]})],
        responses={200: shapes.ReplayPageSerializer, **FAILURES},
    )
    def get(self, request: Request, project_id: str) -> Response:
        own = readable(request, project_id)
        rows = concerning(own).order_by("-id")[:LATEST]
        told = shapes.ReplaySerializer(rows, many=True, context={"project_id": own})
        return Response({"results": told.data})


@extend_schema(tags=["failures"])
class ReplayView(ReadView):
    @extend_schema(
        operation_id="replays_retrieve",
        summary="A replay's progress",
        parameters=[PROJECT_ID, REPLAY_ID],
        examples=[examples.answers("Replay", examples.REPLAY)],
        responses={200: shapes.ReplaySerializer, **FAILURES},
    )
    def get(self, request: Request, project_id: str, replay_id: str) -> Response:
        own = readable(request, project_id)
        found = get_object_or_404(concerning(own), pk=replay_id)
        return Response(shapes.ReplaySerializer(found, context={"project_id": own}).data)


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
        examples=[examples.answers("Stopped", examples.REPLAY | {"state": "stopped"})],
        responses={200: shapes.ReplaySerializer, 409: examples.ENDED, **FAILURES},
    )
    def post(self, request: Request, project_id: str, replay_id: str) -> Response:
        return self.turn(request, project_id, replay_id, stops=True)


class ReplayResumeView(_TurnView):
    @extend_schema(
        operation_id="replays_resume",
        summary="Let a stopped replay go on",
        examples=[examples.answers("Resumed", examples.REPLAY)],
        responses={200: shapes.ReplaySerializer, 409: examples.ENDED, **FAILURES},
    )
    def post(self, request: Request, project_id: str, replay_id: str) -> Response:
        return self.turn(request, project_id, replay_id, stops=False)
