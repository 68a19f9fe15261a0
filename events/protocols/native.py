"""Our own wire format: one event object, an array of them, {"events": [...], "sent_at": ...}, or one event a line.

Also inside a form, as `data=`.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from events.codes import Code
from events.envelope import EMPTY, Refused
from events.protocols import outline

BOM: Final = b"\xef\xbb\xbf"
SPACE: Final = b" \t\r\n"
FORMS: Final = 'one event object, an array of them, {"events": [...]}, or one event object a line'
OPENINGS: Final = (b"{", b"[")
LINES_TYPES: Final = (b"ndjson", b"jsonl", b"json-lines", b"jsonlines")
MAX_FORM_BYTES: Final = (
    1_000_000  # a beacon has at most 65,536; taking a form apart costs many times its size
)
LARGE_BYTES: Final = 1_000_000
UNLIMITED: Final = 1_000_000


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


class _Wrapper(msgspec.Struct, gc=False):
    events: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    name: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    sent_at: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


FIELDS: Final = frozenset(Draft.__struct_fields__)
_draft = msgspec.json.Decoder(Draft).decode
_wrapper = msgspec.json.Decoder(_Wrapper).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_raw = msgspec.json.Decoder(msgspec.Raw).decode
_any = msgspec.json.Decoder().decode


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request's events, each as the exact bytes that came; `single` when the body was one event object.

    Where there are more than a request may have, some are left out. Not `is_utf8`: each event is to be looked at.
    """

    items: Sequence[bytes | msgspec.Raw]
    single: bool
    sent_at: Any = None
    is_utf8: bool = True


def split(body: bytes, *, content_type: bytes = b"", max_events: int = UNLIMITED) -> Request:
    """Takes an inflated body, returns its events undecoded. Raises Refused (400, 413) when it is no JSON of a known form.

    Only what spoils the body's outline is refused here; whatever is wrong inside one event is found when it is read.
    """
    if body[:1] not in OPENINGS or b"\n" in body:
        body = body.removeprefix(BOM).strip(SPACE)
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return _split_bytes(body, error, content_type, max_events)
    return _split(body, content_type, max_events, True)


def read(item: bytes | msgspec.Raw) -> tuple[Draft, dict[str, msgspec.Raw]]:
    """Takes one event's bytes, returns it and its unknown top-level fields. Raises msgspec.DecodeError or RecursionError."""
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


def _split_bytes(body: bytes, error: UnicodeDecodeError, content_type: bytes, max_events: int) -> Request:
    """A body with a byte that is not UTF-8: it costs its event, where the events can be told apart all the same."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in body[:4]:
        raise Refused(400, Code.INVALID_UTF8, outline.UTF_16)
    if body[:1] in OPENINGS or _is_lines_type(content_type):
        try:
            return _split(body, content_type, max_events, False)
        except Refused as refusal:
            if refusal.code != Code.INVALID_JSON:
                raise
    detail = f"The body is not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start}."
    raise Refused(400, Code.INVALID_UTF8, detail)


def _split(body: bytes, content_type: bytes, max_events: int, is_utf8: bool) -> Request:
    if b"\n" in body and _is_lines(body, content_type):
        return Request(_lines(body, max_events), False, None, is_utf8)
    first = body[:1]
    if first == b"{":
        # `"events"` inside an event is rare, and costs only a second look.
        if b'"events"' in body:
            return _wrapped(body, max_events, is_utf8)
        return Request([body], True, None, is_utf8)
    if first == b"[":
        return Request(_items(body, max_events), False, None, is_utf8)
    if not first:
        raise Refused(400, Code.EMPTY_BODY, f"The body is empty; send {FORMS}.")
    if b"\0" in body[:4]:
        raise Refused(400, Code.INVALID_UTF8, outline.UTF_16)
    if b"data=" in body:
        return split(_form_data(body), max_events=max_events)
    try:
        json.loads(body, parse_int=str)
    except json.JSONDecodeError as error:
        raise outline.not_json(error.msg, body, error.pos) from None
    except (ValueError, RecursionError):  # a byte that is not UTF-8, or brackets without end
        raise outline.not_json("it cannot be read", body, 0) from None
    raise Refused(400, Code.INVALID_BODY, f"The body is JSON, but not {FORMS}.")


def _wrapped(body: bytes, max_events: int, is_utf8: bool) -> Request:
    try:
        fields = _wrapper(body)
        found = {name: bytes(value) for name in ("events", "name", "sent_at")
                 if (value := getattr(fields, name)) is not msgspec.UNSET}  # fmt: skip
    except (ValueError, RecursionError):
        found = outline.members(body)
    if "events" not in found or "name" in found:
        return Request([body], True, None, is_utf8)
    events = found["events"]
    if events[:1] != b"[":
        raise Refused(400, Code.INVALID_TYPE, "`events` must be an array of event objects.", field="events")
    if body.count(b'"events"') > 1 and outline.has_twin(body.replace(events, b"[]", 1), "events"):
        raise Refused(
            400, Code.DUPLICATE_KEY, "`events` stands twice; one array of events is taken.", field="events"
        )
    try:
        sent_at = _any(found.get("sent_at", b"null"))
    except (ValueError, RecursionError):
        sent_at = None
    return Request(_items(events, max_events), False, sent_at, is_utf8)


def _items(body: bytes, max_events: int) -> Sequence[bytes | msgspec.Raw]:
    try:
        return _array(body) if len(body) < LARGE_BYTES else _first_items(body, max_events + 1)
    except (ValueError, RecursionError):
        # Something inside is no JSON for msgspec; its neighbours may be good.
        return outline.items(body, most=max_events + 1)


def _first_items(body: bytes, most: int) -> Sequence[msgspec.Raw]:
    """An array's first elements, the rest looked through but not kept: ten million of two bytes would fill 700 MB."""
    found = msgspec.structs.astuple(_decoder_of_first(most)(body))
    return [item for item in found if item is not msgspec.UNSET]


@cache
def _decoder_of_first(most: int) -> Any:
    fields = [(f"item{i}", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for i in range(most)]
    return msgspec.json.Decoder(msgspec.defstruct("FirstItems", fields, array_like=True, gc=False)).decode


def _is_lines_type(content_type: bytes) -> bool:
    lowered = content_type.lower()
    return any(name in lowered for name in LINES_TYPES)


def _is_lines(body: bytes, content_type: bytes) -> bool:
    """Says whether a body with line breaks is one event a line, rather than one document laid out over lines."""
    first = body[: body.index(b"\n")].strip(SPACE)
    if _is_lines_type(content_type):
        return _is_json(first) or not _is_json(body)
    # A whole object, and more behind it; or nothing but lines that begin like one, of which the first is damaged.
    return first[:1] == b"{" and (_is_json(first) or all(line[:1] == b"{" for line in _some_lines(body)))


def _some_lines(body: bytes) -> list[bytes]:
    return [line.strip(SPACE) or b"{" for line in body.split(b"\n", 100)[:100]]


def _is_json(text: bytes) -> bool:
    try:
        _raw(text)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(body: bytes, max_events: int) -> list[bytes]:
    if body.count(b"\n") >= max_events:
        raise Refused(413, Code.TOO_MANY_EVENTS, f"The request has over {max_events} lines.")
    return [line for sent in body.split(b"\n") if (line := sent.strip(SPACE))]


def _form_data(body: bytes) -> bytes:
    """The `data` of a form, as beacons send it. Raises Refused (400, 413) unless it is JSON."""
    if len(body) > MAX_FORM_BYTES:
        detail = f"A form may have {MAX_FORM_BYTES} bytes; send JSON. Do not send it again as it is."
        raise Refused(413, Code.BODY_TOO_LARGE, detail)
    try:
        pairs = parse_qsl(body.decode("latin-1"), encoding="latin-1", max_num_fields=100)
    except ValueError:
        pairs = []
    data = next((value for name, value in pairs if name == "data"), "").encode("latin-1")
    if data.removeprefix(BOM).lstrip(SPACE)[:1] not in (b"{", b"["):
        detail = "The body is neither JSON nor a form whose `data` is JSON."
        raise Refused(400, Code.INVALID_JSON, detail, field="data")
    return data
