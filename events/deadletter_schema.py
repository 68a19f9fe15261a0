"""The JSON of dead letters, in both directions, with the examples that /api/docs/ shows."""

from io import BytesIO
from typing import Any, Final

import msgspec
from django.conf import settings
from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers
from rest_framework.exceptions import ParseError

from events import mending
from events.accept import ids_of
from events.deadletter import Wanted
from events.models import AuditEntry, DeadLetter, LetterState, Replay
from events.replay import progress
from eventsite.api import error_response
from eventsite.parsers import BodyTooLarge, BoundedJSONParser
from projects.serializers import StrictFields

MAX_IDS: Final = 1_000
MAX_PAGE: Final = 500


class PayloadParser(BoundedJSONParser):
    """`payload` stays the text it is, an object or a text that holds one: digits and line numbers are its sender's."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        self.max_bytes = settings.DATA_UPLOAD_MAX_MEMORY_SIZE  # of an event, whatever its limit
        body = stream.read(self.max_bytes + 1)
        if len(body) > self.max_bytes:
            raise BodyTooLarge(f"The body is larger than {self.max_bytes} bytes.")
        payload = None
        try:
            fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            if (raw := fields.pop("payload", None)) is not None:
                payload = msgspec.json.decode(raw) if bytes(raw)[:1] == b'"' else bytes(raw).decode()
                body = msgspec.json.encode(fields)
        except msgspec.ValidationError:
            pass  # no object: refused below, in our words
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ParseError(f"The body is not JSON: {error}.") from None
        data = super().parse(BytesIO(body), media_type, parser_context)
        if payload is not None:
            data["payload"] = payload
        return data


class FilterSerializer(StrictFields):
    """Which letters. What is left out does not matter."""

    state = serializers.ChoiceField(choices=LetterState.choices, required=False)
    code = serializers.CharField(max_length=40, required=False)
    sqlstate = serializers.CharField(max_length=5, required=False)
    fingerprint = serializers.CharField(
        max_length=16, required=False, help_text="One cause, from the groups."
    )
    name = serializers.CharField(
        max_length=200, required=False, trim_whitespace=False, help_text="The event's."
    )
    event_id = serializers.CharField(max_length=200, required=False, help_text="A UUID, or the id as sent.")
    since = serializers.DateTimeField(required=False, help_text="The last failure was then or later.")
    until = serializers.DateTimeField(required=False, help_text="The last failure was before.")


class FilterQuerySerializer(FilterSerializer):
    before = serializers.IntegerField(
        min_value=1, max_value=2**63 - 1, required=False, help_text="The next page."
    )
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, required=False, default=100)


class SelectionSerializer(StrictFields):
    """Either letters by their numbers, or all that match a filter."""

    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1),
        min_length=1,
        max_length=MAX_IDS,
        required=False,
    )
    filter = FilterSerializer(required=False, help_text="{}: all that wait.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("ids" in attrs) == ("filter" in attrs):
            raise serializers.ValidationError({"ids": ["Give either `ids` or `filter`."]})
        return attrs


class RuleField(serializers.JSONField):
    """Steps of `path` and `do`: to_number, to_text, remove, rename (`to`), set and default (`value`), truncate (`n`)."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            return mending.read(super().to_internal_value(data))
        except mending.BadRule as error:
            raise serializers.ValidationError(str(error)) from None


class ReplayRequestSerializer(SelectionSerializer):
    rule = RuleField(required=False)
    payload = serializers.CharField(
        required=False, trim_whitespace=False, help_text="One event as edited, for exactly one of `ids`."
    )
    dry = serializers.BooleanField(required=False, default=False, help_text="Try it, and send nothing.")
    rate = serializers.IntegerField(
        min_value=1, max_value=10_000, required=False, help_text="Events a second."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        if "payload" in attrs and (len(attrs.get("ids", [])) != 1 or "rule" in attrs or attrs["dry"]):
            raise serializers.ValidationError(
                {"payload": ["It goes with one of `ids`, without `rule` and `dry`."]}
            )
        return attrs


class DiscardRequestSerializer(SelectionSerializer):
    reason = serializers.CharField(max_length=1_000)


class CheckRequestSerializer(StrictFields):
    letter = serializers.IntegerField(min_value=1, max_value=2**63 - 1)
    payload = serializers.CharField(
        required=False, trim_whitespace=False, help_text="As edited; else as it is."
    )
    rule = RuleField(required=False)


def wanted_of(project_id: int, fields: dict[str, Any], ids: list[int] | None = None) -> Wanted:
    """Takes validated fields of a filter, returns the filter of one project's letters."""
    names = ("state", "code", "sqlstate", "fingerprint", "name", "since", "until")
    given = {name: fields[name] for name in names if name in fields}
    event_ids = ids_of(project_id, fields["event_id"]) if fields.get("event_id") else []
    return Wanted(project_id=project_id, ids=ids or (), event_ids=event_ids, **given)


class FailureSerializer(serializers.ModelSerializer[DeadLetter]):
    class Meta:
        model = DeadLetter
        fields = (
            "id", "event_id", "name", "code", "sqlstate", "field", "error", "stage", "attempts", "received_at",
            "first_failed_at", "last_failed_at", "fingerprint", "state", "outcome", "note", "replay", "replayed_at",
            "ended_at", "ended_by", "successor",
        )  # fmt: skip


class FailurePageSerializer(serializers.Serializer[Any]):
    next = serializers.CharField(allow_null=True, help_text="The page of older letters.")
    results = FailureSerializer(many=True)


class FailureDetailSerializer(FailureSerializer):
    event = serializers.DictField(allow_null=True, help_text="As its sender would write it.")
    event_text = serializers.CharField(help_text="The same as text, to be edited.")
    sent_text = serializers.CharField(allow_null=True, help_text="What was sent again, where it was changed.")
    payload_base64 = serializers.CharField(help_text="The envelope exactly as it lay in the queue.")
    offending = serializers.ListField(
        child=serializers.CharField(), help_text="Paths that the error is about."
    )
    curl = serializers.CharField(allow_null=True, help_text="Sends it again, with a write key in $KEY.")
    story = FailureSerializer(many=True, help_text="Every failure of this event, the earliest first.")

    class Meta(FailureSerializer.Meta):
        fields = (  # type: ignore[assignment]
            *FailureSerializer.Meta.fields, "event", "event_text", "sent_text", "payload_base64", "offending", "curl",
            "story",
        )  # fmt: skip


class GroupSerializer(serializers.Serializer[Any]):
    fingerprint = serializers.CharField()
    code = serializers.CharField()
    sqlstate = serializers.CharField()
    field = serializers.CharField()
    letters = serializers.IntegerField()
    first_at = serializers.DateTimeField()
    last_at = serializers.DateTimeField()
    example = serializers.IntegerField(help_text="The latest letter.")
    error = serializers.CharField(help_text="Its error.")


class GroupsSerializer(serializers.Serializer[Any]):
    groups = GroupSerializer(many=True)
    is_partial = serializers.BooleanField(help_text="Only the latest letters were looked at.")


class WarningSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    field = serializers.CharField(allow_null=True)
    detail = serializers.CharField()


class VerdictSerializer(serializers.Serializer[Any]):
    outcome = serializers.CharField(
        help_text="stored, duplicate, refused (not even accepted) or dead (not storable)."
    )
    would_store = serializers.BooleanField()
    code = serializers.CharField()
    field = serializers.CharField()
    detail = serializers.CharField()
    sqlstate = serializers.CharField()
    line = serializers.IntegerField(allow_null=True)
    column = serializers.IntegerField(allow_null=True)
    warnings = WarningSerializer(many=True)


class MissSerializer(serializers.Serializer[Any]):
    letter = serializers.IntegerField()
    outcome = serializers.CharField()
    code = serializers.CharField()
    field = serializers.CharField()
    detail = serializers.CharField()


class RehearsalSerializer(serializers.Serializer[Any]):
    matching = serializers.IntegerField(help_text="Waiting letters that match.")
    examined = serializers.IntegerField(help_text="So many of them were tried.")
    would_store = serializers.IntegerField()
    duplicate = serializers.IntegerField(help_text="Stored already.")
    misses = MissSerializer(many=True, help_text="Examples of those that would not be stored.")


class ReplaySerializer(serializers.ModelSerializer[Replay]):
    state = serializers.CharField(help_text="sending, settling (all sent, not all arrived), done or stopped.")
    progress = serializers.SerializerMethodField()

    class Meta:
        model = Replay
        fields = (
            "id", "state", "note", "by_name", "created_at", "ended_at", "filter", "rule", "rate", "total", "progress",
        )  # fmt: skip

    def get_progress(self, replay: Replay) -> dict[str, int]:
        return progress(replay)


class ReplayPageSerializer(serializers.Serializer[Any]):
    results = ReplaySerializer(many=True)


class DiscardedSerializer(serializers.Serializer[Any]):
    discarded = serializers.IntegerField()


class AuditSerializer(serializers.ModelSerializer[AuditEntry]):
    class Meta:
        model = AuditEntry
        fields = ("id", "at", "by_name", "action", "letters", "what")


class AuditPageSerializer(serializers.Serializer[Any]):
    results = AuditSerializer(many=True)


# --- examples ---------------------------------------------------------------------------------------------------------

FAILURE: Final[dict[str, Any]] = {
    "id": 7,
    "event_id": "0190a7c8-1234-7abc-8def-0123456789ab",
    "name": "order_paid",
    "code": "data_error",
    "sqlstate": "23514",
    "field": "amount_is_number",
    "error": 'new row for relation "events_event_20260131" violates check constraint "amount_is_number"',
    "stage": "store",
    "attempts": 1,
    "received_at": "2026-01-31T12:00:00.123456Z",
    "first_failed_at": "2026-01-31T12:00:00.201Z",
    "last_failed_at": "2026-01-31T12:00:00.201Z",
    "fingerprint": "9f86d081884c7d65",
    "state": "waiting",
    "outcome": "",
    "note": "",
    "replay": None,
    "replayed_at": None,
    "ended_at": None,
    "ended_by": "",
    "successor": None,
}
EVENT: Final = {"id": "order-7", "name": "order_paid", "properties": {"amount": "19.90"}, "context": {}}
DETAIL: Final = FAILURE | {
    "event": EVENT,
    "event_text": '{\n  "id": "order-7", …\n}',
    "sent_text": None,
    "payload_base64": "eyJwcm9qZWN0X2lkIjox…",
    "offending": ["properties.amount"],
    "curl": 'curl https://events.example.com/v1/events -H "Authorization: Bearer $KEY" …',
    "story": [FAILURE],
}
GROUP: Final = {
    **{name: FAILURE[name] for name in ("fingerprint", "code", "sqlstate", "field", "error")},
    "letters": 23,
    "first_at": FAILURE["first_failed_at"],
    "last_at": FAILURE["last_failed_at"],
    "example": 7,
}
RULE: Final = [{"path": "properties.amount", "do": "to_number"}]
MISS: Final = {
    "letter": 9,
    "outcome": "refused",
    "code": "cannot_mend",
    "field": "properties.amount",
    "detail": "'twelve' is not a number.",
}
REHEARSAL: Final = {"matching": 23, "examined": 23, "would_store": 21, "duplicate": 0, "misses": [MISS]}
REPLAY: Final = {
    "id": 3,
    "state": "sending",
    "note": "",
    "by_name": "ada",
    "created_at": "2026-01-31T13:00:00Z",
    "ended_at": None,
    "filter": {"project_id": 1, "fingerprint": FAILURE["fingerprint"]},
    "rule": RULE,
    "rate": 200,
    "total": 23,
    "progress": {"sent": 20, "on_its_way": 5, "stored": 15, "duplicate": 0, "buried": 0, "skipped": 1},
}
VERDICT: Final = {
    "outcome": "dead",
    "would_store": False,
    "code": "data_error",
    "field": "amount_is_number",
    "detail": FAILURE["error"],
    "sqlstate": "23514",
    "line": None,
    "column": None,
    "warnings": [],
}
AUDIT: Final = {
    "id": 5,
    "at": "2026-01-31T13:00:00Z",
    "by_name": "ada",
    "action": "replay",
    "letters": 23,
    "what": {"replay": 3, "filter": REPLAY["filter"], "rule": RULE},
}


def answers(name: str, value: Any, *statuses: str) -> OpenApiExample:
    return OpenApiExample(name, value, response_only=True, status_codes=list(statuses) or ["200"])


def asks(name: str, value: Any) -> OpenApiExample:
    return OpenApiExample(name, value, request_only=True)


BAD_FILTER = error_response(
    "The filter is not right",
    "invalid",
    'state: "lost" is not a valid choice.',
    state=['"lost" is not a valid choice.'],
)
BAD_SELECTION = error_response(
    "The body is not right",
    "invalid",
    "ids: Give either `ids` or `filter`.",
    ids=["Give either `ids` or `filter`."],
)
NOT_WAITING = error_response(
    "It waits no more", "not_waiting", "This letter is discarded: only waiting ones are sent."
)
ENDED = error_response("It is not in that state", "not_running", "This replay is done.")
