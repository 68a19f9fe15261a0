"""Properties of accept, over generated input: it never raises, counts every event, and what it accepts is stored as sent."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from django.test import Client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from events import buffer, jsonb
from events.accept import Decision, accept
from events.drain import drain
from events.encodings import inflate
from events.envelope import Refused, decode, encode
from events.limits import Limits
from events.models import DeadLetter, Event
from events.protocols import native
from events.tests.conftest import as_bytes
from projects import services

# The same examples on every run: a failure found in CI is there again at one's own machine.
repeatable = settings(deadline=None, derandomize=True, database=None, max_examples=400)
slow = settings(repeatable, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])

anything = st.text(st.characters(codec=None), max_size=30)
numbers = st.integers() | st.integers(-(10**400), 10**400) | st.floats()
documents = st.recursive(
    st.none() | st.booleans() | numbers | anything,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(anything, inner, max_size=5),
    max_leaves=25,
)
fields = st.sampled_from([*native.Draft.__struct_fields__, "events", "sent_at", "extra"]) | anything
near_events = st.dictionaries(fields, documents, max_size=6)
events = st.fixed_dictionaries(
    {"name": st.text(min_size=1, max_size=200).filter(str.strip)},
    optional={
        "user_id": anything | st.integers(),
        "occurred_at": documents,
        "properties": st.dictionaries(anything, documents, max_size=6),
        "context": st.dictionaries(fields, documents, max_size=4),
        "other": documents,
    },
)
bodies = st.one_of(
    st.binary(max_size=300),
    st.one_of(documents, near_events, events, st.lists(near_events | events | documents, max_size=5)).map(
        as_bytes
    ),
    st.fixed_dictionaries({"events": st.lists(near_events, max_size=4), "sent_at": documents}).map(as_bytes),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A body of one of the forms, with a few bytes replaced, inserted or cut out."""
    body = bytearray(draw(bodies))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(
            st.binary(max_size=3)
            | st.sampled_from([b"\\", b'"', b"\\ud800", b"\\u0000", b",", b"}", b"1e999", b"\n", b"NaN"])
        )
    return bytes(body)


def taken(body: bytes, **options: Any) -> Decision | None:
    """What is decided; None for a request refused as a whole. Anything else that is raised is a failure."""
    limits = Limits.from_settings()
    try:
        request = native.split(
            inflate(body, options.get("encoding", b""), limits),
            content_type=options.get("content_type", b""),
            max_events=limits.request_events,
        )
    except Refused as refusal:
        assert refusal.status in (400, 413, 415)
        encode_problem(refusal.detail, refusal.field)
        return None
    return accept(request, project_id=1, limits=limits, received_at=datetime(2026, 3, 29, tzinfo=UTC))


def encode_problem(*texts: str | None) -> None:
    """An answer must be able to hold these: no half surrogate pair is in them."""
    for text in texts:
        (text or "").encode()


@repeatable
@given(
    damaged(),
    st.sampled_from([b"", b"gzip", b"deflate", b"br", b"zstd", b"identity", b"x"]),
    st.sampled_from([b"", b"application/x-ndjson", b"application/json"]),
)
@example(b'{"name":"a","user_id":' + b"9" * 5_000 + b"}", b"", b"")
@example(b'{"sent_at":' + b"[" * 900 + b"]" * 900 + b',"events":[{"name":"a"}]}', b"", b"")
@example(b'{"name":"a","occurred_at":9e308,"properties":{"a":9e308}}', b"", b"")
@example(b'[{"name":"a","properties":{"\xff":1}},{"name":"b"}]', b"", b"")
def test_accept_never_raises_and_has_an_answer_for_every_event(
    body: bytes, encoding: bytes, content_type: bytes
) -> None:
    decision = taken(body, encoding=encoding, content_type=content_type)
    if decision is None:
        return
    assert len(decision.envelopes) + len(decision.errors) == len(decision.ids)
    assert sorted({error.index for error in decision.errors}) == [error.index for error in decision.errors]
    for problem in decision.errors + decision.warnings:
        encode_problem(problem.id, problem.field, problem.detail)
        assert problem.code and problem.detail
    for envelope in decision.envelopes:
        row = encode(envelope)
        assert decode(row).event_id == envelope.event_id
        assert jsonb.clean(row) == row
        json.loads(row, parse_constant=pytest.fail)
        assert max(len(envelope.name), len(envelope.user_id or "")) <= 200


@repeatable
@given(documents)
def test_cleaned_json_is_the_same_but_for_what_jsonb_cannot_hold(document: Any) -> None:
    text = as_bytes(document)
    try:
        json.loads(text, parse_constant=lambda _: 1 / 0)
    except ZeroDivisionError:
        return  # NaN or Infinity: no JSON
    assert same(json.loads(jsonb.clean(text)), kept(document))


def kept(value: Any) -> Any:
    """What is stored of a JSON value: U+FFFD for NUL and half pairs, text for numbers out of a double's range."""
    if isinstance(value, dict):
        return {kept(name): kept(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [kept(inner) for inner in value]
    if isinstance(value, str):
        paired = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in paired)
    if isinstance(value, int) and not isinstance(value, bool):
        text = str(value)
        return value if len(text.lstrip("-")) <= 309 and not math.isinf(float(text)) else text
    return value


def same(one: Any, other: Any) -> bool:
    """Deep equality of JSON: true is not 1, but 1 is 1.0, for a number has one kind there."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) or isinstance(
        other, float
    ):  # jsonb writes 1.5e16 as an integer, digit by digit the same
        one, other = (float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in (one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def read_back(client: redis.Redis, sent: list[dict[str, Any]]) -> tuple[list[Event], Decision]:
    """Sends a batch all the way; returns the rows, in the order of their acceptance, and what was decided."""
    limits = Limits.from_settings()
    decision = accept(native.split(as_bytes(sent)), project_id=1, limits=limits)
    rows = [encode(envelope) for envelope in decision.envelopes]
    if rows:
        buffer.push(client, [buffer.unit(1, rows, decision.received_ms)])
        drain(client, 0)
    ids = [envelope.event_id for envelope in decision.envelopes]
    by_id = {str(row.event_id): row for row in Event.objects.filter(event_id__in=ids)}
    return [by_id[envelope.event_id] for envelope in decision.envelopes], decision


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


@slow
@given(st.lists(events.filter(finite), min_size=1, max_size=20))
def test_what_is_accepted_is_read_back_as_sent(
    tables: None, valkey: redis.Redis, sent: list[dict[str, Any]]
) -> None:
    stored, decision = read_back(valkey, sent)
    assert DeadLetter.objects.count() == 0
    refused = {error.index for error in decision.errors}
    for event, row in zip([e for index, e in enumerate(sent) if index not in refused], stored, strict=True):
        assert row.name == kept(event["name"])
        assert same(row.properties, kept(event.get("properties", {})))
        if row.raw is None:
            assert same({**event.get("context", {}), **row.context}, row.context) or "other" in event
        else:
            assert same(json.loads(bytes(row.raw)), json.loads(as_bytes(event)))
    for problem in decision.warnings:
        if problem.code == "sanitized":
            row = next(row for row in stored if str(row.event_id) == problem.id)
            assert bytes(row.raw) == as_bytes(sent[problem.index])


def test_what_is_stored_can_be_read_in_the_admin(
    tables: None,
    valkey: redis.Redis,
    make_user: Callable[..., Any],
    make_project: Callable[..., services.CreatedProject],
) -> None:
    make_project()
    odd = [
        b'{"name":"\\u0000\\ud800","properties":{"\\u0000":1e400,"a":9e308,"b":5e-324}}',
        b'{"name":"<script>alert(1)</script>","properties":{"</script>":"<img src=x onerror=alert(1)>"}}',
        b'{"name":"a","properties":{"k":1,"k":2},"occurred_at":"0001-01-01","user_id":"\\u202e"}',
        b'{"name":"a","properties":{"n":' + b"9" * 308 + b',"d":' + b"[" * 60 + b"]" * 60 + b"}}",
    ]
    decision = accept(native.split(b"[" + b",".join(odd) + b"]"), project_id=1, limits=Limits.from_settings())
    assert decision.errors == []
    buffer.push(valkey, [buffer.unit(1, [encode(e) for e in decision.envelopes], decision.received_ms)])
    drain(valkey, 0)
    assert Event.objects.count() == len(odd)
    assert Event.objects.exclude(raw=None).count() == 2
    client = Client()
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    assert client.get("/admin/events/event/").status_code == 200
    for row in Event.objects.all():
        page = client.get(f"/admin/events/event/{row.pk}/change/")
        assert page.status_code == 200
        assert b"<script>alert" not in page.content
        assert b"<img src=x" not in page.content


@pytest.mark.parametrize(
    "number",
    [b"1e308", b"1.7976931348623157e308", b"-9e307", b"5e-324", b"2.2250738585072014e-308", b"0e5", b"0.10"],
)
def test_a_number_that_a_double_can_reach_stays_a_number(number: bytes) -> None:
    text = b'{"a":' + number + b"}"
    assert jsonb.clean(text) == text
