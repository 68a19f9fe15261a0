"""A schema as it is typed: read, checked by what every process compiles, and the place of an error in the text."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from events.plan.bounds import BadSchema
from events.plan.check import compile_schema

MAX_TEXT: Final = 100_000  # characters; what counts is the schema's size without its spaces
_ROOT: Final = "schema"
_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong: `place` like schema.properties.amount.type, "" where it is no JSON; `line` and `column` from 1."""

    detail: str
    place: str = ""
    line: int | None = None
    column: int | None = None


class BadText(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


def read(text: str) -> Any:
    """Takes JSON, returns its values. Raises BadText where it is none, or no schema that is taken."""
    if len(text) > MAX_TEXT:
        raise BadText(Fault(f"The text has {len(text):,} characters; at most {MAX_TEXT:,} are read.", _ROOT))
    try:
        # The browser sends UTF-8; half a surrogate pair is refused where it stands escaped.
        schema: Any = msgspec.json.decode(text.encode())
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise BadText(_no_json(text, error)) from None
    try:
        compile_schema(schema)
    except BadSchema as error:
        raise BadText(located(text, error)) from None
    return schema


def written(schema: str | bytes) -> str:
    """Takes JSON, returns it as people read it."""
    return msgspec.json.format(schema if isinstance(schema, str) else schema.decode(), indent=2)


def located(text: str, error: BadSchema) -> Fault:
    try:
        line, column = _line(text, _offset(text, error.place.removeprefix(_ROOT).removeprefix(".")))
    except (ValueError, IndexError, RecursionError):
        return Fault(error.detail, error.place)
    return Fault(error.detail, error.place, line, column)


def _no_json(text: str, error: Exception) -> Fault:
    try:
        json.loads(text)
    except json.JSONDecodeError as said:
        return Fault(f"{said.msg}.", "", said.lineno, said.colno)
    except (ValueError, RecursionError):
        pass
    return Fault(f"It is no JSON: {error}.")


def _line(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _offset(text: str, place: str) -> int:
    """Where a place stands, or the last step to it that is there: its key, in a list the element.

    A key may hold a dot: the longest that fits is taken.
    """
    found = at = _after_space(text, 0)
    while place and text[at] in "{[":
        fitting = [
            (len(step), start, value)
            for step, start, value in _members(text, at)
            if place == step or place.startswith(f"{step}.")
        ]
        if not fitting:
            break
        length, found, at = max(fitting)
        place = place[length + 1 :]
    return found


def _members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Of the object or list that begins there: key or number, where it begins, where its value begins."""
    is_object, number = text[at] == "{", 0
    at = _after_space(text, at + 1)
    while text[at] not in "]}":
        start, step = at, str(number)
        if is_object:
            step, at = _decoder.raw_decode(text, at)
            at = _after_space(text, _after_space(text, at) + 1)
        yield step, start, at
        _, at = _decoder.raw_decode(text, at)
        at = _after_space(text, at)
        if text[at] == ",":
            at = _after_space(text, at + 1)
        number += 1


def _after_space(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at
