"""The question language: what all kinds share, and how JSON becomes a typed question. Explained in docs/insights.md."""

import re
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from events.insights.errors import BadQuestion

MAX_TEXT: Final = 1_000  # characters of a value, a name, a key
MAX_PATH: Final = 8
MAX_NESTING: Final = 40  # of the JSON; a filter nests to 8
MAX_SERIES: Final = 10
MAX_GROUPS: Final = 50

Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Property = Annotated[
    Text | Annotated[list[Text], Meta(min_length=1, max_length=MAX_PATH)],
    Meta(description="Name of a property; a list is a path into nested objects (and, by index, arrays)."),
]
Names = Annotated[
    Text | Annotated[list[Text], Meta(min_length=1, max_length=100)] | None,
    Meta(description="One name, one of several, or any (null)."),
]
Scalar = bool | int | float | Text
Interval = Literal["minute", "hour", "day", "week", "month"]
Field = Literal["name", "person", "user_id", "anonymous_id", "session_id", "event_id", "occurred_at"]
Op = Literal["=", "!=", "<", "<=", ">", ">=", "in", "contains", "starts_with", "exists"]
Q = TypeVar("Q", bound=Struct)


class Filter(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """Exactly one of `and`, `or`, `not`, or a comparison: `field` or `property`, with `op` and `value`."""

    and_: Annotated[list["Filter"], Meta(max_length=100)] | UnsetType = msgspec.field(
        name="and", default=UNSET
    )
    or_: Annotated[list["Filter"], Meta(max_length=100)] | UnsetType = msgspec.field(name="or", default=UNSET)
    not_: "Filter | UnsetType" = msgspec.field(name="not", default=UNSET)
    field: Field | UnsetType = UNSET
    property: Property | UnsetType = UNSET
    op: Op | UnsetType = UNSET
    value: Scalar | Annotated[list[Scalar], Meta(max_length=1_000)] | UnsetType | None = UNSET


class PeriodQuestion(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """`last`, as `7d` (min, h, d, w, m: months), or `from` and `until` (exclusive): dates or times."""

    last: Annotated[str, Meta(max_length=20, examples=["7d"])] | None = None
    from_: Annotated[str, Meta(max_length=40)] | None = msgspec.field(name="from", default=None)
    until: Annotated[str, Meta(max_length=40)] | None = None


class Question(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """What questions of every kind have: the period (the last seven days), its time zone (the project's), a filter."""

    period: PeriodQuestion = PeriodQuestion()
    time_zone: (
        Annotated[str, Meta(max_length=64, description="An IANA name; the project's unless given.")] | None
    ) = None
    where: Filter | None = None


class Measure(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """`count`, `persons`, or a figure of a numeric `property`."""

    kind: Literal["count", "persons", "sum", "avg", "min", "max", "p50", "p90", "p95", "p99"] = "count"
    property: Property | None = None


class Series(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    label: Annotated[str, Meta(max_length=200)] | None = None
    name: Names = None
    where: Filter | None = None
    measure: Measure = Measure()


class Breakdown(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """One group for each value of a `property` or a `field`: the `limit` largest, and the rest as another."""

    property: Property | None = None
    field: Literal["name", "person", "user_id", "anonymous_id", "session_id"] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_GROUPS)] = 10


def path_of(property: str | list[str]) -> tuple[str, ...]:
    return (property,) if isinstance(property, str) else tuple(property)


def names_of(name: str | list[str] | None) -> tuple[str, ...] | None:
    if name is None:
        return None
    return (name,) if isinstance(name, str) else tuple(dict.fromkeys(name))


_PLACE: Final = re.compile(r"(.*) - at `(?:key in )?\$?\.?(.*)`", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)


def read(question: type[Q], sent: Any) -> Q:
    """Takes JSON as Python has it, returns the typed question. Raises BadQuestion with the field that is wrong."""
    if not isinstance(sent, dict):
        raise BadQuestion("body", "A question is a JSON object.")
    _check_texts(sent, "", 0)
    try:
        return msgspec.convert(sent, question)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from error
    except (OverflowError, RecursionError) as error:
        raise BadQuestion("body", "A number is too large, or it is nested too deeply.") from error


def _explained(message: str) -> BadQuestion:
    found = _PLACE.fullmatch(message)
    text, place = (found[1], found[2]) if found else (message, "")
    if unknown := _UNKNOWN.fullmatch(text):
        return BadQuestion(f"{place}.{unknown[1]}".lstrip("."), "Unknown field.")
    if missing := _MISSING.fullmatch(text):
        return BadQuestion(f"{place}.{missing[1]}".lstrip("."), "This field is required.")
    return BadQuestion(place or "body", f"{text}.")


def _check_texts(value: Any, place: str, depth: int) -> None:
    """Refuses what no stored text can hold, and what neither engine takes: NUL, half a surrogate pair, NaN."""
    if depth > MAX_NESTING:
        raise BadQuestion(place.split(".")[0], "Nested too deeply.")
    if isinstance(value, str):
        if "\0" in value or not _is_unicode(value):
            raise BadQuestion(
                place or "body", "This text holds NUL or half a surrogate pair; no stored text does."
            )
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise BadQuestion(place or "body", "Not a finite number.")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_texts(key, place, depth)
            _check_texts(item, f"{place}.{key}" if place else key, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_texts(item, f"{place}[{index}]", depth + 1)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
