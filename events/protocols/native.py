"""Our own wire format: one event object, an array of them, or {"events": [...], "sent_at": ...}."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from events.codes import Code
from events.envelope import EMPTY, Refused

BOM = b"\xef\xbb\xbf"
SPACE = b" \t\r\n"
FORMS = 'one event object, an array of them, or {"events": [...]}'
CLOSES = {b"[": b"]", b"{": b"}"}
TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},"]', re.DOTALL)
MEMBER = re.compile(rb'"([^"\\]*)"\s*:\s*(.*)', re.DOTALL)


class Draft(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An event as its sender spelled it: shapes not yet checked, objects not yet opened."""

    name: Any = None
    id: Any = None
    user_id: Any = None
    anonymous_id: Any = None
    session_id: Any = None
    occurred_at: Any = None
    properties: msgspec.Raw = EMPTY
    context: msgspec.Raw = EMPTY


FIELDS = frozenset(Draft.__struct_fields__)
_draft = msgspec.json.Decoder(Draft).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_any = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Request:
    """A request's events, each as the exact bytes that came; `single` when the body was one event object."""

    items: Sequence[bytes | msgspec.Raw]
    single: bool
    sent_at: Any = None


def split(body: bytes) -> Request:
    """Takes an inflated body, returns its events undecoded. Raises Refused (400) when it is no JSON of a known form.

    Only what spoils the body's outline is refused here; whatever is wrong inside one event is found when it is read.
    """
    body = body.removeprefix(BOM)
    try:
        body.decode()
    except UnicodeDecodeError as error:
        detail = f"The body is not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start}."
        raise Refused(400, Code.INVALID_UTF8, detail) from None
    first = body.lstrip(SPACE)[:1]
    if not first:
        raise Refused(400, Code.EMPTY_BODY, f"The body is empty; send {FORMS}.")
    if first == b"[":
        return Request(_items(body), single=False)
    if first == b"{":
        # `"events"` inside an event is rare, and costs only a second look.
        return _wrapped(body) if b'"events"' in body else Request([body], single=True)
    try:
        json.loads(body)
    except json.JSONDecodeError as error:
        raise _not_json(error.msg, body, error.pos) from None
    raise Refused(400, Code.INVALID_BODY, f"The body is JSON, but not {FORMS}.")


def read(item: bytes | msgspec.Raw) -> tuple[Draft, dict[str, msgspec.Raw]]:
    """Takes one event's bytes, returns it and its unknown top-level fields. Raises msgspec.DecodeError or TypeError."""
    try:
        return _draft(item), {}
    except msgspec.ValidationError:
        pass  # a field that we do not know, or no object
    fields = _object(item)
    known = {name: value for name, value in fields.items() if name in FIELDS}
    extra = {name: value for name, value in fields.items() if name not in FIELDS}
    objects = {name: known[name] for name in ("properties", "context") if name in known}
    scalars = {name: _any(value) for name, value in known.items() if name not in objects}
    return Draft(**objects, **scalars), extra


def _wrapped(body: bytes) -> Request:
    try:
        fields = {name: bytes(value) for name, value in _object(body).items()}
    except (msgspec.MsgspecError, RecursionError):
        fields = _members(body)
    if "events" not in fields or "name" in fields:
        return Request([body], single=True)
    if fields["events"][:1] != b"[":
        raise Refused(400, Code.INVALID_TYPE, "`events` must be an array of event objects.", field="events")
    try:
        sent_at = _any(fields.get("sent_at", b"null"))
    except msgspec.MsgspecError:
        sent_at = None
    return Request(_items(fields["events"]), single=False, sent_at=sent_at)


def _items(body: bytes) -> Sequence[bytes | msgspec.Raw]:
    try:
        return _array(body)
    except (msgspec.MsgspecError, RecursionError):
        return _parts(body)  # something inside is no JSON for msgspec; its neighbours may be good


def _members(body: bytes) -> dict[str, bytes]:
    members = (MEMBER.match(part) for part in _parts(body))
    return {match[1].decode(): match[2] for match in members if match}


def _parts(body: bytes) -> list[bytes]:
    """Takes an array or object, returns what stands between its own commas. Raises Refused (400) if brackets do not close."""
    body = body.strip(SPACE)
    parts: list[bytes] = []
    closing: list[bytes] = []
    start = 1
    for token in TOKEN.finditer(body):
        kind = token[0]
        if kind in CLOSES:
            closing.append(CLOSES[kind])
        elif kind == b"," and len(closing) == 1:
            parts.append(body[start : token.start()].strip(SPACE))
            start = token.end()
        elif kind == b'"' or kind in b"]}":
            if kind == b'"' or not closing or kind != closing.pop():
                raise _not_json("A string or bracket is not closed", body, token.start())
            if not closing:
                last = body[start : token.start()].strip(SPACE)
                if token.end() != len(body):
                    raise _not_json("Extra data", body, token.end())
                return parts + [last] * bool(last or parts)
    raise _not_json("The body ends too early", body, len(body))


def _not_json(message: str, body: bytes, offset: int) -> Refused:
    line, column = body.count(b"\n", 0, offset) + 1, offset - body.rfind(b"\n", 0, offset)
    return Refused(
        400, Code.INVALID_JSON, f"The body is not JSON: {message} at line {line}, column {column}."
    )
