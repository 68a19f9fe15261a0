"""Mending rules: small declared changes to an event as its sender spelled it. Pure, on bytes: all else stays as it is."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

MAX_STEPS: Final = 20
MAX_PATH: Final = 200
EVERY: Final = "*"  # in a path: each element of an array
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")

Do = Literal["to_number", "to_text", "remove", "rename", "set", "truncate", "default"]

_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One change at one place: `to` is a new name, `value` any JSON, `n` a number of characters."""

    path: str
    do: Do
    to: str | None = None
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    n: int | None = None


Rule = Sequence[Step]


class BadRule(Exception):
    """A rule that is none; the text says why."""


class CannotMend(Exception):
    """A rule that does not fit an event: `path` and why."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(detail)
        self.path, self.detail = path, detail


_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_steps = msgspec.json.Decoder(list[Step]).decode
_encode = msgspec.json.encode
_NEEDS: Final[dict[str, str]] = {"rename": "to", "set": "value", "default": "value", "truncate": "n"}


def read(rule: Any) -> Rule:
    """Takes a rule as JSON text or as its values: a list of steps, or one. Raises BadRule."""
    try:
        text = rule if isinstance(rule, str | bytes) else _encode(rule)
        data = text.encode() if isinstance(text, str) else text
        data = b"[" + data + b"]" if data.lstrip()[:1] == b"{" else data
        steps = _steps(data)
        # All of it once: what lies in a `value` is read only when it is used, and the rule is to be kept as jsonb.
        if _NUL.search(_encode(msgspec.json.decode(data))):
            raise BadRule("A rule cannot hold a NUL character.")
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise BadRule(f"A rule is a list of steps with path and do: {error}.") from None
    if not 0 < len(steps) <= MAX_STEPS:
        raise BadRule(f"A rule has 1 to {MAX_STEPS} steps.")
    for step in steps:
        _look_at(step)
    return steps


def _look_at(step: Step) -> None:
    if not all(step.path.split(".")) or len(step.path) > MAX_PATH:
        raise BadRule(f"{step.path!r} is no path like properties.amount.")
    if step.path == "id":
        raise BadRule("The id stays: by it a replay is stored once.")
    needed = _NEEDS.get(step.do)
    if needed and getattr(step, needed) in (None, msgspec.UNSET):
        raise BadRule(f"{step.do} at {step.path} needs {needed!r}.")
    if step.do == "truncate" and (step.n or 0) < 1:
        raise BadRule(f"truncate at {step.path} needs an 'n' of at least 1.")
    if step.to == "id" and "." not in step.path:
        raise BadRule("The id stays: by it a replay is stored once.")


def plain(rule: Rule) -> Any:
    """Returns a rule as the values that JSON has, to be kept."""
    return msgspec.json.decode(_encode(rule))


def mend(document: bytes, rule: Rule) -> bytes:
    """Takes one event as JSON, returns it changed; where a path leads nowhere nothing changes. Raises CannotMend."""
    for step in rule:
        try:
            document = _at(msgspec.Raw(document), step.path.split("."), step)
        except (msgspec.MsgspecError, RecursionError):
            raise CannotMend(step.path, "The event is no JSON object.") from None
    return document


def _at(container: msgspec.Raw, path: list[str], step: Step) -> bytes:
    """One container with the step done below it."""
    head, rest = path[0], path[1:]
    kind = bytes(container).lstrip()[:1]
    if kind == b"[":
        items = _array(container)
        wanted = range(len(items)) if head == EVERY else [int(head)] if head.isdecimal() else []
        for place in wanted:
            if place < len(items):
                items[place] = msgspec.Raw(
                    _at(items[place], rest, step) if rest else _item(items[place], step)
                )
        return _encode(items)
    if kind != b"{":
        return bytes(container)
    fields = _object(container)
    if not rest:
        return _encode(_field(fields, head, step))
    if head in fields:
        fields[head] = msgspec.Raw(_at(fields[head], rest, step))
    elif step.do in ("set", "default"):
        fields[head] = msgspec.Raw(_at(msgspec.Raw(b"{}"), rest, step))
    return _encode(fields)


def _item(item: msgspec.Raw, step: Step) -> bytes:
    if step.do in ("remove", "rename"):
        raise CannotMend(step.path, f"{step.do} is for a field of an object, not for an element of an array.")
    return _CHANGES[step.do](bytes(item), step)


def _field(fields: dict[str, msgspec.Raw], name: str, step: Step) -> dict[str, msgspec.Raw]:
    if step.do == "set":
        return fields | {name: _given(step)}
    if step.do == "default":
        missing = name not in fields or bytes(fields[name]) == b"null"
        return fields | {name: _given(step)} if missing else fields
    if name not in fields:
        return fields
    if step.do == "remove":
        return {key: value for key, value in fields.items() if key != name}
    if step.do == "rename":
        if step.to in fields and step.to != name:
            raise CannotMend(step.path, f"There is a field {step.to!r} already.")
        return {(str(step.to) if key == name else key): value for key, value in fields.items()}
    return fields | {name: msgspec.Raw(_CHANGES[step.do](bytes(fields[name]), step))}


def _given(step: Step) -> msgspec.Raw:
    return step.value if isinstance(step.value, msgspec.Raw) else msgspec.Raw(b"null")


def _to_number(value: bytes, step: Step) -> bytes:
    if value[:1] != b'"':
        if value[:1] in b"-0123456789" or value == b"null":
            return value
        raise CannotMend(step.path, "It is neither text nor a number.")
    text = str(msgspec.json.decode(value)).strip().removeprefix("+")
    if not _NUMBER.fullmatch(text):
        raise CannotMend(step.path, f"{text[:50]!r} is not a number.")
    return text.encode()


def _to_text(value: bytes, step: Step) -> bytes:
    return value if value[:1] == b'"' or value == b"null" else _encode(value.decode())


def _truncate(value: bytes, step: Step) -> bytes:
    return _encode(str(msgspec.json.decode(value))[: step.n]) if value[:1] == b'"' else value


_CHANGES: Final[dict[str, Callable[[bytes, Step], bytes]]] = {
    "to_number": _to_number,
    "to_text": _to_text,
    "truncate": _truncate,
    "set": lambda value, step: bytes(_given(step)),
    "default": lambda value, step: bytes(_given(step)) if value == b"null" else value,
}
