"""The API of one event's way."""

from dataclasses import asdict
from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from events.deadletter_api import FAILURES, ReadView, readable
from events.trace import trace
from eventsite.valkey import sync_client
from projects.api import PROJECT_ID

EVENT_ID = OpenApiParameter(
    "event_id", str, OpenApiParameter.PATH, description="The UUID, or the id as sent."
)
STORED: Final = {
    "project_id": 1,
    "sent_id": "order-7",
    "event_ids": ["5d0c8a0e-35a2-5c7b-9d4f-2f0c6f1b7a11"],
    "seen": True,
    "now": "stored",
    "steps": [
        {"step": "accepted", "at": "2026-01-31T12:00:00.123456Z", "ms": None, "about": {}},
        {"step": "stored", "at": "2026-01-31T12:00:00.141Z", "ms": 17.544, "about": {"row": 4711}},
        {"step": "batch", "at": "2026-01-31T12:00:00.143Z", "ms": 2.0, "about": {"batch": 12, "slot": 0}},
    ],
    "queue_scanned": 3,
    "queue_complete": True,
}
UNSEEN: Final = STORED | {"seen": False, "now": "unseen", "steps": []}


class StepSerializer(serializers.Serializer[Any]):
    step = serializers.CharField(
        help_text="accepted, queued, failed, batch, stored, buried, sent again, replayed or discarded."
    )
    at = serializers.DateTimeField()
    ms = serializers.FloatField(allow_null=True, help_text="Milliseconds since the step before.")
    about = serializers.DictField()


class TraceSerializer(serializers.Serializer[Any]):
    project_id = serializers.IntegerField()
    sent_id = serializers.CharField()
    event_ids = serializers.ListField(child=serializers.CharField(), help_text="What it is called here.")
    seen = serializers.BooleanField()
    now = serializers.CharField(help_text="stored, queued, dead, replaying, discarded or unseen.")
    steps = StepSerializer(many=True)
    queue_scanned = serializers.IntegerField(help_text="Entries of the queue that were looked through.")
    queue_complete = serializers.BooleanField(help_text="False: it may lie in the rest of the queue.")


class TraceView(ReadView):
    @extend_schema(
        tags=["events"],
        summary="The way of one event, with the time between its steps",
        description="Never seen here is an answer too: `seen` is false.",
        parameters=[PROJECT_ID, EVENT_ID],
        examples=[
            OpenApiExample("Stored", STORED, response_only=True),
            OpenApiExample("Never seen here", UNSEEN, response_only=True),
        ],
        responses={200: TraceSerializer, **FAILURES},
    )
    def get(self, request: Request, project_id: str, event_id: str) -> Response:
        found = trace(sync_client(), readable(request, project_id), event_id)
        return Response(asdict(found) | {"seen": found.seen})
