"""The ledger of one project, for its read key and its members."""

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import redis
from django.http import Http404
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events import ledger
from events.ledger import Line
from eventsite.api import NOT_AUTHENTICATED, NOT_FOUND, Unavailable, error_response
from eventsite.valkey import sync_client
from projects.api import PROJECT_ID, project_or_404
from projects.codes import MESSAGE, Code
from projects.drf import KeyHolder, ReadKeyAuthentication, TokenAuthentication

MAX_HOURS: Final = 720
COUNTED: Final = (
    "accepted", "stored", "duplicate", "dead", "discarded", "replayed", "queued", "unaccounted", "difference",
)  # fmt: skip


class HoursSerializer(serializers.Serializer[Any]):
    """The query: how many hours back, the present one included."""

    hours = serializers.IntegerField(min_value=1, max_value=MAX_HOURS, default=24)


class CountsSerializer(serializers.Serializer[Any]):
    accepted = serializers.IntegerField(help_text="Answered with 202; replayed ones included.")
    stored = serializers.IntegerField()
    duplicate = serializers.IntegerField(help_text="Their id was stored before.")
    dead = serializers.IntegerField(help_text="Could not be stored; kept as dead letters.")
    discarded = serializers.IntegerField(help_text="Taken out of the queue by a person.")
    replayed = serializers.IntegerField(help_text="Dead letters sent again; part of `accepted`.")
    queued = serializers.IntegerField(help_text="Not stored yet.")
    unaccounted = serializers.IntegerField(
        help_text="Lost with a queue that lost its last seconds; a lower bound."
    )
    difference = serializers.IntegerField(
        help_text="What none of these explains: 0, but for counts under way."
    )
    rejected = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Refused by code, each told to its client; not in `accepted`.",
    )
    warned = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Accepted though they do not follow the tracking plan, by code; part of `accepted`.",
    )


class HourSerializer(CountsSerializer):
    hour = serializers.DateTimeField(help_text="Of receipt, UTC.")


class LedgerSerializer(serializers.Serializer[Any]):
    as_of = serializers.DateTimeField()
    balanced = serializers.BooleanField(
        help_text="accepted = stored + duplicate + dead + discarded + queued + unaccounted, in every hour."
    )
    totals = CountsSerializer()
    hours = HourSerializer(many=True, help_text="Latest first; hours without events are left out.")


_COUNTS = dict.fromkeys(COUNTED, 0) | {
    "accepted": 1204, "stored": 1190, "duplicate": 9, "dead": 1, "queued": 4, "rejected": {"blank": 2},
    "warned": {"plan_violation": 7},
}  # fmt: skip
EXAMPLE: Final = OpenApiExample(
    "Ledger",
    value={
        "as_of": "2026-01-05T09:20:11Z",
        "balanced": True,
        "totals": _COUNTS,
        "hours": [{"hour": "2026-01-05T09:00:00Z", **_COUNTS}],
    },
    response_only=True,
)
TOO_MANY = "Ensure this value is less than or equal to 720."
INVALID_HOURS: Final = error_response(
    "`hours` is not 1 to 720", "invalid", f"hours: {TOO_MANY}", hours=[TOO_MANY]
)
WRONG_KEY: Final = error_response(
    "A write key, or a revoked one", Code.WRONG_KEY_KIND, MESSAGE[Code.WRONG_KEY_KIND]
)
AWAY: Final = error_response("Queue or database do not answer", "unavailable", "Try again.")


class LedgerView(APIView):
    authentication_classes = (ReadKeyAuthentication, TokenAuthentication, SessionAuthentication)

    @extend_schema(
        tags=["ledger"],
        summary="What became of a project's events, hour by hour",
        parameters=[
            PROJECT_ID,
            OpenApiParameter("hours", int, description="How far back, 1 to 720; 24 unless given."),
        ],
        examples=[EXAMPLE],
        responses={
            200: OpenApiResponse(LedgerSerializer),
            400: INVALID_HOURS,
            401: NOT_AUTHENTICATED,
            403: WRONG_KEY,
            404: NOT_FOUND,
            503: AWAY,
        },
    )
    def get(self, request: Request, project_id: str) -> Response:
        allowed = readable_project(request, int(project_id))
        query = HoursSerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        now = datetime.now(UTC)
        since = now.replace(minute=0, second=0, microsecond=0) - timedelta(
            hours=query.validated_data["hours"] - 1
        )
        try:
            lines = ledger.lines(sync_client(), since=since, project_id=allowed)
        except redis.RedisError as error:
            raise Unavailable("The queue does not answer at the moment. Try again.") from error
        answer = {
            "as_of": now,
            "balanced": not any(line.difference for line in lines),
            "totals": totals(lines),
            "hours": [asdict(line) for line in lines],
        }
        return Response(LedgerSerializer(answer).data)


def readable_project(request: Request, project_id: int) -> int:
    """Returns the id where the caller may read that project; another's is as absent as none."""
    if isinstance(request.user, KeyHolder):
        if request.user.project_id != project_id:
            raise Http404
        return project_id
    return project_or_404(request, project_id).pk


def totals(lines: list[Line]) -> dict[str, Any]:
    sums: dict[str, Any] = {name: sum(getattr(line, name) for line in lines) for name in COUNTED}
    return sums | {
        "rejected": dict(sorted(sum((Counter(line.rejected) for line in lines), Counter()).items())),
        "warned": dict(sorted(sum((Counter(line.warned) for line in lines), Counter()).items())),
    }
