"""What is decided about one event, and what is altered on its way."""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events.tests.conftest import decide

NOW = datetime(2026, 3, 29, 12, 0, 0, 250_000, tzinfo=UTC)
NOW_TEXT = "2026-03-29T12:00:00.250000Z"


def first(body: Any, **options: Any) -> Any:
    decision = decide(body, received_at=NOW, **options)
    assert decision.errors == []
    return decision.envelopes[0]


def problem(body: Any, **options: Any) -> tuple[str, str | None]:
    decision = decide(body, received_at=NOW, **options)
    assert decision.envelopes == []
    return decision.errors[0].code, decision.errors[0].field


@pytest.mark.parametrize(
    ("event", "code", "field"),
    [
        ({}, "required", "name"),
        ({"name": None}, "required", "name"),
        ({"name": 5}, "invalid_type", "name"),
        ({"name": " "}, "blank", "name"),
        ({"name": "x" * 201}, "too_long", "name"),
        ({"name": "a", "id": "x" * 201}, "too_long", "id"),
        ({"name": "a", "id": {}}, "invalid_type", "id"),
        ({"name": "a", "user_id": True}, "invalid_type", "user_id"),
        ({"name": "a", "user_id": "x" * 5000}, "too_long", "user_id"),
        ({"name": "a", "anonymous_id": []}, "invalid_type", "anonymous_id"),
        ({"name": "a", "session_id": {}}, "invalid_type", "session_id"),
        ({"name": "a", "properties": "x"}, "invalid_type", "properties"),
        ({"name": "a", "properties": []}, "invalid_type", "properties"),
        ({"name": "a", "properties": 5}, "invalid_type", "properties"),
        ({"name": "a", "properties": True}, "invalid_type", "properties"),
        ({"name": "a", "context": "x"}, "invalid_type", "context"),
        ([[1]], "not_an_object", None),
        (["x"], "not_an_object", None),
    ],
)
def test_a_bad_field_is_named(event: Any, code: str, field: str | None) -> None:
    assert problem(event) == (code, field)


def test_two_hundred_characters_fit_whatever_their_bytes() -> None:
    envelope = first({"name": "😀" * 200, "user_id": "ü" * 200})
    assert (len(envelope.name), len(envelope.user_id)) == (200, 200)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("u1", "u1"), (42, "42"), (0, "0"), (-1, "-1"), (None, None), ("", None)],
)
def test_numbers_become_strings_as_ids_of_people(sent: Any, kept: str | None) -> None:
    assert first({"name": "a", "user_id": sent}).user_id == kept


def test_a_number_too_exact_for_a_double_keeps_its_digits() -> None:
    assert (
        first(b'{"name":"a","user_id":12345678901234567890123,"session_id":1.50}').user_id
        == "12345678901234567890123"
    )


def test_a_uuid_stays_and_any_other_id_is_mapped_per_project() -> None:
    sent = "0190A7C8-1234-7ABC-8DEF-0123456789AB"
    assert first({"name": "a", "id": sent.lower()}).event_id == sent.lower()
    assert first({"name": "a", "id": sent.lower()}).client_event_id is None
    assert (first({"name": "a", "id": sent}).event_id, first({"name": "a", "id": sent}).client_event_id) == (
        sent.lower(),
        sent,
    )
    one, again, other = (first({"name": "a", "id": "order-1"}, project_id=p) for p in (1, 1, 2))
    assert one.event_id == again.event_id != other.event_id
    assert one.client_event_id == "order-1"
    assert first({"name": "a", "id": 7}).client_event_id == "7"


@pytest.mark.parametrize("sent", [None, ""])
def test_an_event_without_an_id_gets_one(sent: Any) -> None:
    assert uuid.UUID(first({"name": "a", "id": sent}).event_id).version == 7


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("2026-03-29T10:00:00Z", "2026-03-29T10:00:00.000000Z"),
        ("2026-03-29T12:00:00.123456789+02:00", "2026-03-29T10:00:00.123456Z"),
        ("2026-03-29t10:00:00z", "2026-03-29T10:00:00.000000Z"),
        ("2026-03-29 10:00:00", "2026-03-29T10:00:00.000000Z"),
        (1774778400, "2026-03-29T10:00:00.000000Z"),
        (1774778400.5, "2026-03-29T10:00:00.500000Z"),
        (1774778400123, "2026-03-29T10:00:00.123000Z"),
        (1774778400123456, "2026-03-29T10:00:00.123456Z"),
        (1774778400123456789, "2026-03-29T10:00:00.123456Z"),
        ("1774778400", "2026-03-29T10:00:00.000000Z"),
        (None, NOW_TEXT),
    ],
)
def test_times_are_read_in_every_usual_form(sent: Any, stored: str) -> None:
    decision = decide({"name": "a", "occurred_at": sent}, received_at=NOW)
    assert (decision.envelopes[0].occurred_at, decision.warnings) == (stored, [])


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("yesterday", "invalid_time"),
        ("", "invalid_time"),
        (True, "invalid_time"),
        ([], "invalid_time"),
        ("2026-13-45T00:00:00Z", "invalid_time"),
        ("10000-01-01", "invalid_time"),
        (1e300, "invalid_time"),
        (-1, "absurd_time"),
        ("1999-12-31T23:59:59Z", "absurd_time"),
        ("2026-03-30T12:00:01Z", "absurd_time"),
        ("9999-12-31T23:59:59Z", "absurd_time"),
    ],
)
def test_an_impossible_time_becomes_that_of_receipt_with_a_warning_and_its_original_kept(
    sent: Any, code: str
) -> None:
    decision = decide({"name": "a", "occurred_at": sent, "context": {"k": 1}}, received_at=NOW)
    assert (decision.warnings[0].code, decision.warnings[0].field) == (code, "occurred_at")
    assert decision.envelopes[0].occurred_at == NOW_TEXT
    assert json.loads(bytes(decision.envelopes[0].context)) == {"k": 1, "original_occurred_at": sent}


def test_a_wrong_clock_is_corrected_by_sent_at_and_a_slow_network_is_not() -> None:
    def occurred(sent_at: datetime) -> Any:
        events = [{"name": "a", "occurred_at": (sent_at - timedelta(minutes=1)).isoformat()}]
        return decide({"sent_at": sent_at.isoformat(), "events": events}, received_at=NOW)

    wrong, slow = occurred(NOW + timedelta(hours=3)), occurred(NOW - timedelta(seconds=2))
    assert wrong.envelopes[0].occurred_at == "2026-03-29T11:59:00.250000Z"
    assert wrong.warnings[0].code == "clock_corrected"
    assert slow.envelopes[0].occurred_at == "2026-03-29T11:58:58.250000Z"
    assert slow.warnings == []


def test_unknown_fields_are_kept_beside_the_context() -> None:
    envelope = first({"name": "a", "colour": "red", "context": {"ip": "::1"}, "n": [1, {"b": None}]})
    assert json.loads(bytes(envelope.context)) == {
        "ip": "::1",
        "extra": {"colour": "red", "n": [1, {"b": None}]},
    }


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        (rb'"a\u0000b"', "a\ufffdb"),
        (rb'"\\u0000"', None),
        (rb'"\\\u0000"', "\\\ufffd"),
        (rb'"\ud800"', "\ufffd"),
        (rb'"\udc00x"', "\ufffdx"),
        (rb'"\udc00\ud800"', "\ufffd\ufffd"),
        (rb'"\ud83d\ude00"', None),
        (b"1e400", "1e400"),
        (b"-1E+99999999", "-1E+99999999"),
        (b"1e300", None),
        (b"9" * 400, "9" * 400),
        (b'"' + b"9" * 400 + b'"', None),
        (b'"1e999"', None),
    ],
)
def test_what_jsonb_cannot_hold_is_replaced_with_a_warning_and_its_bytes_kept(
    value: bytes, cleaned: str | None
) -> None:
    body = b'{"name":"a","properties":{"v":' + value + b',"ok":1.10}}'
    decision = decide(body, received_at=NOW)
    envelope = decision.envelopes[0]
    if cleaned is None:
        assert (envelope.raw, decision.warnings) == (None, [])
        assert bytes(envelope.properties) == b'{"v":' + value + b',"ok":1.10}'
    else:
        assert json.loads(bytes(envelope.properties))["v"] == cleaned
        assert b'"ok":1.10' in bytes(envelope.properties)
        assert base64.b64decode(envelope.raw) == body
        assert decision.warnings[0].code == "sanitized"


def test_a_name_and_a_key_with_nul_are_cleaned_too() -> None:
    envelope = first(b'{"name":"a\\u0000","user_id":"\\ud800","properties":{"\\u0000":1}}')
    assert (envelope.name, envelope.user_id) == ("a\ufffd", "\ufffd")
    assert json.loads(bytes(envelope.properties)) == {"\ufffd": 1}


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b'{"name":"b","properties":{"a":NaN}}', "invalid_number"),
        (b'{"name":"b","properties":{"a":-Infinity}}', "invalid_number"),
        (b'{"name":"b","properties":{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}}", "too_deep"),
        (b'{"name":"b","properties":{"a":tru}}', "invalid_json"),
        (b"{name:1}", "invalid_json"),
        (b"", "invalid_json"),
    ],
)
@pytest.mark.parametrize("form", [b"[%s]", b'{"events":[%s],"sent_at":null}'])
def test_an_event_that_is_no_json_costs_only_itself(bad: bytes, code: str, form: bytes) -> None:
    decision = decide(form % (b'{"name":"a","properties":{"s":"],[}"}},' + bad + b',{"name":"c"}'))
    assert [envelope.name for envelope in decision.envelopes] == ["a", "c"]
    assert [(error.index, error.code) for error in decision.errors] == [(1, code)]


def test_a_single_event_that_is_no_json_is_told_line_and_column() -> None:
    decision = decide(b'{"name": "a",\n "properties": {"x": tru}}')
    assert decision.errors[0].code == "invalid_json"
    assert "line 2, column" in decision.errors[0].detail


def test_depth_is_counted_in_brackets_outside_strings(settings: Any) -> None:
    def nested(levels: int) -> bytes:
        return b'{"name":"a","properties":{"s":"[[[[","a":' + b"[" * levels + b"]" * levels + b"}}"

    assert decide(nested(62)).errors == []
    assert decide(nested(63)).errors[0].code == "too_deep"
    wide = b'{"name":"a","properties":{"a":[' + b"[],{}," * 500 + b"1]}}"
    assert decide(wide).errors == []


def test_a_byte_order_mark_is_no_part_of_the_event() -> None:
    assert decide(b'\xef\xbb\xbf{"name":"a"}').errors == []


def test_numbers_pass_through_as_they_were_written() -> None:
    body = b'{"name":"a","properties":{"a":1.10,"b":12345678901234567890,"c":1e5,"d":-0.0}}'
    assert bytes(first(body).properties) == b'{"a":1.10,"b":12345678901234567890,"c":1e5,"d":-0.0}'
