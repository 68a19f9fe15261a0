"""The JSON of the tracking plan, in both directions, and what /api/docs/ shows of it."""

from typing import Any, Final

import msgspec
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema_field
from rest_framework import serializers

from events.plan_models import PlanMode, PlanVersion, PlanViolation
from eventsite.api import error_response
from projects.serializers import StrictFields


@extend_schema_field(OpenApiTypes.OBJECT)
class SchemaField(serializers.JSONField):
    """A schema: a JSON object."""


class ChangeSerializer(serializers.Serializer[Any]):
    place = serializers.CharField(help_text="In the schema, like properties.amount.type.")
    before = serializers.CharField(allow_null=True, help_text="What stood there, as JSON; null: nothing.")
    after = serializers.CharField(allow_null=True)


class PlanSerializer(serializers.ModelSerializer[PlanVersion]):
    by = serializers.CharField(source="by_name")
    schema = serializers.SerializerMethodField(help_text="JSON Schema 2020-12 of `properties`.")
    changes = ChangeSerializer(many=True, help_text="What differs from the version before.")

    class Meta:
        model = PlanVersion
        fields = ("name", "version", "mode", "schema", "changes", "note", "by", "created_at")

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_schema(self, version: PlanVersion) -> Any:
        return msgspec.json.decode(version.schema)


class PlanEntrySerializer(serializers.ModelSerializer[PlanVersion]):
    by = serializers.CharField(source="by_name")
    violations = serializers.IntegerField(help_text="Of all its fields, as far as they are kept.")

    class Meta:
        model = PlanVersion
        fields = ("name", "version", "mode", "by", "created_at", "violations")


class PlanListSerializer(serializers.Serializer[Any]):
    results = PlanEntrySerializer(many=True)


class VersionsSerializer(serializers.Serializer[Any]):
    results = PlanSerializer(many=True, help_text="The latest first, at most 100.")


class ChangePlanSerializer(StrictFields):
    mode = serializers.ChoiceField(choices=PlanMode.choices)
    schema = SchemaField(required=False, help_text="Left out: as it is.")
    note = serializers.CharField(max_length=300, required=False, allow_blank=True, help_text="Why.")
    based_on = serializers.IntegerField(
        min_value=0, required=False, help_text="The version you have seen, 0: none. Another one since: 409."
    )


class DraftSerializer(serializers.Serializer[Any]):
    schema = SchemaField()
    events = serializers.IntegerField(help_text="So many were looked at; of the catalogue: sampled.")
    drawn_from = serializers.ChoiceField(
        choices=["catalogue", "events"],
        help_text="`events`, the latest: of a name that has just begun.",
    )


class ExampleSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    event_id = serializers.CharField()
    field = serializers.CharField()
    detail = serializers.CharField()
    value = serializers.CharField(help_text="The beginning of what stood there, as JSON.")
    mode = serializers.CharField()
    version = serializers.IntegerField(help_text="Of the plan that it was held to.")


class ViolationSerializer(serializers.ModelSerializer[PlanViolation]):
    examples = ExampleSerializer(many=True, help_text="The last three kinds of sendings, the latest first.")

    class Meta:
        model = PlanViolation
        fields = ("field", "events", "first_at", "last_at", "examples")


class ViolationsSerializer(serializers.Serializer[Any]):
    results = ViolationSerializer(many=True, help_text="The most frequent first.")


SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "number", "minimum": 0}, "currency": {"enum": ["EUR", "USD"]}},
}
PLAN: Final[dict[str, Any]] = {
    "name": "order_paid",
    "version": 2,
    "mode": "warn",
    "schema": SCHEMA,
    "changes": [{"place": "properties.amount.minimum", "before": None, "after": "0"}],
    "note": "No refunds under this name.",
    "by": "ada",
    "created_at": "2026-01-05T09:00:00Z",
}
VIOLATION: Final[dict[str, Any]] = {
    "field": "properties.amount",
    "events": 12,
    "first_at": "2026-01-05T09:00:00Z",
    "last_at": "2026-01-05T09:20:11Z",
    "examples": [
        {
            "at": "2026-01-05T09:20:11Z",
            "event_id": "0190a7c8-1234-7abc-8def-0123456789ab",
            "field": "properties.amount",
            "detail": '`amount` is not of type "number".',
            "value": '"19.90"',
            "mode": "warn",
            "version": 2,
        }
    ],
}
_PLACE: Final = "schema.properties.amount.type"
_UNKNOWN: Final = "It is not valid under any of the schemas listed in the 'anyOf' keyword."
BAD_SCHEMA: Final = error_response(
    "No schema, or one that is too large, too costly or reaches outside; the field says where",
    "invalid",
    f"{_PLACE}: {_UNKNOWN}",
    **{_PLACE: [_UNKNOWN]},
)
OUTDATED: Final = error_response(
    "There is another version since", "outdated", "Version 3 is in force by now; you have seen version 2."
)


def answers(name: str, value: Any) -> OpenApiExample:
    return OpenApiExample(name, value=value, response_only=True, status_codes=["200"])


ASK: Final = OpenApiExample(
    "A plan", value={"mode": "warn", "schema": SCHEMA, "based_on": 1}, request_only=True
)
