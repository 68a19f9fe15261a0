"""Accept: look at each event of a request, stamp it, and decide. Nothing is stored here and nothing is queued."""

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID as StandardUUID

import msgspec
import uuid_utils

from events import jsonb, times
from events.codes import Code
from events.envelope import EMPTY, Envelope, Problem, Refused
from events.limits import Limits
from events.plan.book import Checks
from events.plan.check import Check
from events.plan.tally import OffPlan
from events.plan_models import PlanMode
from events.protocols import native, outline

MAX_TEXT = 200  # characters, not bytes: as PostgreSQL's varchar counts
CLIENT_ID_NAMESPACE = uuid_utils.UUID(str(StandardUUID("6f7f3c6a-54d8-5b4f-9c0e-0e6a3f1d2b7c")))
IDEMPOTENCY_NAMESPACE = uuid_utils.UUID(str(StandardUUID("0b9d6f0e-2c55-5a53-8a4e-7d1f5c9a4e21")))
# A shorter difference between the client's `sent_at` and our clock is the way here, not a wrong clock.
MIN_CLOCK_SKEW = timedelta(seconds=5)
_NO_DRAFT = native.Draft()
_KEEPS_ORIGINAL = frozenset(
    (Code.SANITIZED, Code.DUPLICATE_KEY)
)  # what was sent is not recoverable from the row


@dataclass(slots=True)
class Decision:
    """What became of a request's events: `envelopes` to queue, and for each index an id, a problem or a warning."""

    single: bool
    received_ms: int
    envelopes: list[Envelope] = field(default_factory=list)
    ids: list[str | None] = field(default_factory=list)
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    off_plan: list[OffPlan] = field(default_factory=list)  # warned of or refused


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What one request's events have in common."""

    project_id: int
    received_at: datetime
    received_text: str
    strict: bool
    skew: timedelta | None
    idempotency_key: str | None
    limits: Limits
    is_utf8: bool
    plan: Checks | None


class _Rejected(Exception):
    """One event that cannot be taken."""

    def __init__(self, code: Code, field: str | None, detail: str) -> None:
        super().__init__(detail)
        self.code, self.field, self.detail = code, field, detail


_TYPE_NAMES: dict[type, str] = {
    bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array", dict: "an object",
}  # fmt: skip


def accept(
    request: native.Request,
    *,
    project_id: int,
    limits: Limits,
    received_at: datetime | None = None,
    strict: bool = False,
    idempotency_key: str | None = None,
    plan: Checks | None = None,
) -> Decision:
    """Takes a request's raw events, returns what to queue and a receipt for each. Never raises for a bad event.

    Durable on return: nothing. `strict` refuses unknown top-level fields; else they go to `context.extra`. `plan`: what
    the project's tracking plan asks of events here, by name.
    """
    now = received_at or datetime.now(UTC)
    terms = Terms(
        project_id=project_id,
        received_at=now,
        received_text=times.text(now),
        strict=strict,
        skew=_skew(request.sent_at, now),
        idempotency_key=idempotency_key,
        limits=limits,
        is_utf8=request.is_utf8,
        plan=plan,
    )
    decision = Decision(single=request.single, received_ms=int(now.timestamp() * 1000))
    for index, item in enumerate(request.items):
        _decide(decision, index, item, terms)
    return decision


def _hold_to_plan(
    decision: Decision, envelope: Envelope, check: Check, warnings: list[tuple[Code, str, str]]
) -> None:
    try:
        found = check.violation(envelope.properties)
    except (msgspec.MsgspecError, RecursionError):
        return  # the store will say what is wrong with it
    if found is None:
        return
    decision.off_plan.append(OffPlan(envelope.project_id, envelope.event_id, check, found))
    if check.mode == PlanMode.REJECT:
        raise _Rejected(Code.PLAN_VIOLATION, found.field, found.detail)
    warnings.append((Code.PLAN_VIOLATION, found.field, found.detail))


def _skew(sent_at: Any, now: datetime) -> timedelta | None:
    sent = times.parse(sent_at)
    return now - sent if sent and abs(now - sent) >= MIN_CLOCK_SKEW else None


def _decide(decision: Decision, index: int, item: bytes | msgspec.Raw, terms: Terms) -> None:
    warnings: list[tuple[Code, str, str]] = []
    draft = _NO_DRAFT
    try:
        sent = bytes(item)
        draft, extra, cleaned = _read(sent, terms, warnings)
        envelope = _envelope(draft, extra, cleaned, index, terms, warnings)
        if warnings and not _KEEPS_ORIGINAL.isdisjoint(code for code, _, _ in warnings):
            envelope = msgspec.structs.replace(envelope, raw=base64.b64encode(sent).decode())
        if terms.plan and (check := terms.plan.get(envelope.name)):
            _hold_to_plan(decision, envelope, check, warnings)
    except _Rejected as refusal:
        sent_id = draft.id if isinstance(draft.id, str) and len(draft.id) <= MAX_TEXT else None
        decision.ids.append(sent_id)
        decision.errors.append(Problem(index, sent_id, refusal.code, refusal.field, refusal.detail))
        return
    decision.envelopes.append(envelope)
    decision.ids.append(envelope.event_id)
    for code, field_name, detail in warnings:
        decision.warnings.append(Problem(index, envelope.event_id, code, field_name, detail))


def _read(
    item: bytes, terms: Terms, warnings: list[tuple[Code, str, str]]
) -> tuple[native.Draft, dict[str, msgspec.Raw], bytes]:
    """One event's fields, those we do not know, and its bytes as they can be stored."""
    limits = terms.limits
    if len(item) > limits.event_bytes:
        detail = (
            f"The event has {len(item)} bytes; at most {limits.event_bytes} are taken. Do not send it again."
        )
        raise _Rejected(Code.TOO_LARGE, None, detail)
    if jsonb.is_deeper_than(item, limits.depth):
        raise _Rejected(Code.TOO_DEEP, None, f"The event nests deeper than {limits.depth} levels.")
    if not terms.is_utf8:
        _check_utf8(item)
    outlined = jsonb.outline(item)
    cleaned = jsonb.clean(item, outlined)
    try:
        draft, extra = native.read(cleaned)
    except msgspec.ValidationError:
        raise _Rejected(Code.NOT_AN_OBJECT, None, "An event must be a JSON object.") from None
    except (ValueError, RecursionError):
        raise _diagnosed(item) from None
    try:
        twin = jsonb.twin_key(cleaned, outlined)
    except (ValueError, RecursionError):
        raise _diagnosed(item) from None
    if cleaned != item:
        detail = "It holds a NUL, half a surrogate pair or a number out of range; these were replaced, the exact bytes are kept."
        warnings.append((Code.SANITIZED, "properties", detail))
    if twin is not None:
        detail = "This key stands twice in one object; the last one was taken, the exact bytes are kept."
        warnings.append((Code.DUPLICATE_KEY, twin, detail))
    return draft, extra, cleaned


def _check_utf8(item: bytes) -> None:
    try:
        item.decode()
    except UnicodeDecodeError as error:
        detail = f"The event is not UTF-8: byte 0x{item[error.start]:02x} at its offset {error.start}."
        raise _Rejected(Code.INVALID_UTF8, _field_at(item, error.start), detail) from None


def _field_at(item: bytes, offset: int) -> str | None:
    """The top-level field that the byte at `offset` belongs to, where the event's outline can be found."""
    try:
        return outline.member_at(item, offset)
    except Refused:
        return None


def _diagnosed(item: bytes) -> _Rejected:
    def not_a_number(name: str) -> Any:
        raise _Rejected(Code.INVALID_NUMBER, None, f"{name} is not a JSON number.")

    if item[1:2] == b"\0":
        return _Rejected(Code.INVALID_UTF8, None, outline.UTF_16)
    try:
        json.loads(item, parse_constant=not_a_number, parse_int=str)
    except json.JSONDecodeError as error:
        detail = f"The event is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        return _Rejected(Code.INVALID_JSON, None, detail)
    except _Rejected as refusal:
        return refusal
    except RecursionError:
        return _Rejected(Code.TOO_DEEP, None, "The event nests far too deeply.")
    return _Rejected(Code.INVALID_JSON, None, "The event is not JSON.")


def _envelope(
    draft: native.Draft,
    extra: dict[str, msgspec.Raw],
    item: bytes,
    index: int,
    terms: Terms,
    warnings: list[tuple[Code, str, str]],
) -> Envelope:
    if extra and terms.strict:
        unknown = next(iter(extra))
        raise _Rejected(
            Code.UNKNOWN_FIELD,
            unknown,
            f"There is no field {unknown!r}; known are {', '.join(native.Draft.__struct_fields__)}.",
        )
    if draft.name is None:
        raise _Rejected(Code.REQUIRED, "name", "`name` is required.")
    if not isinstance(draft.name, str):
        raise _wrong_type("name", draft.name, "a string")
    if len(draft.name) > MAX_TEXT:
        raise _too_long("name", draft.name)
    if not draft.name.strip():
        raise _Rejected(Code.BLANK, "name", "`name` is blank.")
    event_id, client_event_id = _identity(draft.id, item, index, terms)
    properties, context = _object("properties", draft.properties), _object("context", draft.context)
    added: dict[str, Any] = {"extra": extra} if extra else {}
    return Envelope(
        project_id=terms.project_id,
        event_id=event_id,
        name=draft.name,
        occurred_at=_occurred(draft.occurred_at, item, terms, warnings, added),
        received_at=terms.received_text,
        properties=properties,
        context=_with(context, added, warnings) if added else context,
        client_event_id=client_event_id,
        user_id=_optional("user_id", draft.user_id, item),
        anonymous_id=_optional("anonymous_id", draft.anonymous_id, item),
        session_id=_optional("session_id", draft.session_id, item),
    )


def _identity(sent: Any, item: bytes, index: int, terms: Terms) -> tuple[str, str | None]:
    """The event's UUID, and what the client called it where that reads otherwise."""
    text = _optional("id", sent, item)
    if text is None:
        if terms.idempotency_key is None:
            return str(uuid_utils.uuid7()), None
        name = f"{terms.project_id}:{terms.idempotency_key}:{index}"
        return str(uuid_utils.uuid5(IDEMPOTENCY_NAMESPACE, name)), None
    if len(text) in (32, 36):
        try:
            event_id = str(uuid_utils.UUID(text))
        except ValueError:
            pass
        else:
            return event_id, None if event_id == text else text
    return str(uuid_utils.uuid5(CLIENT_ID_NAMESPACE, f"{terms.project_id}:{text}")), text


def ids_of(project_id: int, sent_id: str) -> list[str]:
    """Takes an id as a client knows it, returns the event ids that it may have here: the UUID it is, or uuid5 of it."""
    ids = [str(uuid_utils.uuid5(CLIENT_ID_NAMESPACE, f"{project_id}:{sent_id}"))]
    try:
        return [str(uuid_utils.UUID(sent_id)), *ids]
    except ValueError:
        return ids


def _optional(name: str, value: Any, item: bytes) -> str | None:
    return None if value is None or value == "" else _text(name, value, item)


def _text(name: str, value: Any, item: bytes) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong_type(name, value, "a string")
    if isinstance(value, float):  # as it was written: a double keeps 17 digits of it
        value = bytes(_written(name, item)).decode()
    text = value if isinstance(value, str) else str(value)
    if len(text) > MAX_TEXT:
        raise _too_long(name, text)
    return text


def _written(name: str, item: bytes) -> msgspec.Raw:
    """A field as it stands in the event."""
    return msgspec.json.decode(item, type=dict[str, msgspec.Raw])[name]


def _object(name: str, value: msgspec.Raw) -> msgspec.Raw:
    if value is EMPTY:
        return EMPTY
    opening = bytes(memoryview(value)[:4])
    if opening[:1] == b"{":
        return value
    if opening == b"null":
        return EMPTY
    raise _wrong_type(name, msgspec.json.decode(value), "an object")


def _occurred(
    sent: Any, item: bytes, terms: Terms, warnings: list[tuple[Code, str, str]], added: dict[str, Any]
) -> str:
    if sent is None:
        return terms.received_text
    occurred = times.parse(sent)
    if occurred is None:
        warnings.append(
            (
                Code.INVALID_TIME,
                "occurred_at",
                "It is no time; the time of receipt was taken, the original kept.",
            )
        )
    else:
        if terms.skew:
            occurred = times.shifted(occurred, terms.skew)
            warnings.append(
                (
                    Code.CLOCK_CORRECTED,
                    "occurred_at",
                    f"Moved by {terms.skew.total_seconds():+.3f} s: `sent_at` differs from our clock.",
                )
            )
            added["original_occurred_at"] = _written("occurred_at", item)
        if occurred and times.is_plausible(occurred, terms.received_at):
            return times.text(occurred)
        warnings.append(
            (
                Code.ABSURD_TIME,
                "occurred_at",
                "It is before 2000 or over 24 h ahead; the time of receipt was taken, the original kept.",
            )
        )
    added["original_occurred_at"] = _written("occurred_at", item)
    return terms.received_text


def _with(context: msgspec.Raw, added: dict[str, Any], warnings: list[tuple[Code, str, str]]) -> msgspec.Raw:
    """`context` with our own entries; what the client sent under these names gives way, with a warning."""
    merged: dict[str, Any] = msgspec.json.decode(context, type=dict[str, msgspec.Raw])
    for name in merged.keys() & added.keys():
        detail = "An entry of ours took this place; the exact bytes are kept."
        warnings.append((Code.SANITIZED, f"context.{name}", detail))
    return msgspec.Raw(msgspec.json.encode(merged | added))


def _wrong_type(name: str, value: Any, wanted: str) -> _Rejected:
    found = _TYPE_NAMES.get(type(value), "null")
    return _Rejected(Code.INVALID_TYPE, name, f"`{name}` must be {wanted}, not {found}.")


def _too_long(name: str, value: str) -> _Rejected:
    return _Rejected(
        Code.TOO_LONG, name, f"`{name}` has {len(value)} characters; at most {MAX_TEXT} are taken."
    )
