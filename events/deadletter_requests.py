"""What is asked about dead letters: filters, selections, rules, edited payloads."""

from io import BytesIO
from typing import Any, Final

import msgspec
from django.conf import settings
from rest_framework import serializers
from rest_framework.exceptions import ParseError

from events import mending
from events.accept import ids_of
from events.deadletter import Wanted
from events.models import LetterState
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
