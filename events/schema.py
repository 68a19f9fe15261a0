"""The ingest route in the OpenAPI schema: shapes and examples. Nothing is validated here; events/accept.py does that."""

from typing import Any, Final

from rest_framework import serializers

EXAMPLES: Final[dict[str, Any]] = {
    "One event": {
        "name": "order_paid",
        "user_id": "u-42",
        "occurred_at": "2026-01-31T12:00:00Z",
        "properties": {"amount": 19.9, "currency": "EUR"},
    },
    "An array": [{"name": "page_view", "properties": {"path": "/"}}, {"name": "signup", "user_id": 42}],
    "A batch with the sender's clock": {
        "events": [{"name": "page_view", "occurred_at": 1769860800123, "id": "evt-1"}],
        "sent_at": "2026-01-31T12:00:01Z",
    },
}

REFUSALS: Final[dict[int, str]] = {
    400: "Nothing in the request is valid; `errors` says why, by index and field.",
    401: "No key, or an unknown one.",
    403: "A revoked key, a read key, or a key that is not for pages of this origin.",
    408: "The body did not arrive in time.",
    413: "The request or its only event is too large. Do not send it again as it is.",
    415: "A Content-Encoding other than gzip, deflate, br and zstd.",
    429: "The project holds its share of the queue. Send it again after Retry-After seconds.",
    503: "The queue is full or does not answer. Send it again after Retry-After seconds.",
}


class EventSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=200)
    id = serializers.CharField(
        max_length=200, required=False, help_text="A UUID or any text; the same id is stored once."
    )
    user_id = serializers.CharField(max_length=200, required=False)
    anonymous_id = serializers.CharField(max_length=200, required=False)
    session_id = serializers.CharField(max_length=200, required=False)
    occurred_at = serializers.CharField(
        required=False, help_text="RFC 3339, or epoch seconds or milliseconds."
    )
    properties = serializers.DictField(required=False)
    context = serializers.DictField(required=False)  # type: ignore[assignment]


class IngestSerializer(EventSerializer):
    """One event, as here; or an array of such; or {"events": [...], "sent_at": ...}."""


class ProblemSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField(help_text="The event's place in the request, from 0.")
    id = serializers.CharField(allow_null=True)
    code = serializers.CharField(help_text="Short and stable.")
    field = serializers.CharField(allow_null=True)
    detail = serializers.CharField()


class ReceiptSerializer(serializers.Serializer[Any]):
    accepted = serializers.IntegerField()
    rejected = serializers.IntegerField()
    errors = ProblemSerializer(many=True)  # type: ignore[assignment]
    warnings = ProblemSerializer(
        many=True, help_text="Accepted, with something altered; its original is kept."
    )
    id = serializers.CharField(required=False, help_text="Of a single event.")
    ids = serializers.ListField(child=serializers.CharField(allow_null=True), required=False)


class RefusalSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="Short and stable.")
    message = serializers.CharField()
    detail = serializers.CharField()
    error = serializers.CharField()
    accepted = serializers.IntegerField(required=False)
    rejected = serializers.IntegerField(required=False)
    errors = ProblemSerializer(many=True, required=False)  # type: ignore[assignment]
    warnings = ProblemSerializer(many=True, required=False)
