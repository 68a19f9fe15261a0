"""Filters as SQL, in the two dialects they are asked in: DuckDB over the lake's files, PostgreSQL over the table of events.

A comparison of what is absent is false, but for `!=`, which is true; `not` turns true and false round, and knows no third.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from msgspec import UNSET

from events.insights import periods
from events.insights.errors import BadQuestion
from events.insights.question import MAX_TEXT, Filter, path_of
from events.persons import PERSON_SQL, person_hash

MAX_DEPTH: Final = 8
MAX_LEAVES: Final = 100
MAX_VALUES: Final = 1_000
LARGEST: Final = 1.7976931348623157e308
SMALLEST: Final = 2.5e-324  # below it PostgreSQL refuses a cast to double that DuckDB rounds to 0
ORDERED: Final = frozenset({"<", "<=", ">", ">="})
Key = str | int | float | bool


class Dialect(Protocol):
    """How one engine is asked: the SQL of a value handed over beside the SQL, of a column, of a property."""

    def value(self, value: Any) -> str: ...
    def column(self, field: str) -> str:
        """A text of the event, `person` included; `event_id` and `occurred_at` in their own types."""

    def text(self, path: tuple[str, ...]) -> str:
        """A property as text; NULL where it is absent or null."""

    def number(self, path: tuple[str, ...]) -> str:
        """A property where it is a finite JSON number, as double; else NULL."""

    def equals_person(self, person: str) -> str: ...
    def ordered(self, text: str) -> str:
        """A text to be compared by the order of its code points."""

    def contains(self, text: str, value: str) -> str: ...
    def moment(self, us: int) -> str: ...


def check(asked: Filter | None, zone: ZoneInfo, place: str = "where") -> None:
    """Raises BadQuestion for what a filter's types alone do not refuse."""
    if asked is not None:
        compile_filter(asked, _Counting(), zone, place)


def compile_filter(asked: Filter, dialect: Dialect, zone: ZoneInfo, place: str = "where") -> str:
    """Returns a condition; NULL counts as false. `place` names the filter in errors. Raises BadQuestion."""
    return _Compiler(dialect, zone).condition(asked, place, 1)


@dataclass
class _Compiler:
    dialect: Dialect
    zone: ZoneInfo
    leaves: int = 0
    values: int = 0

    def condition(self, asked: Filter, place: str, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise BadQuestion(place, f"Nested deeper than {MAX_DEPTH}.")
        given = [name for name in ("and_", "or_", "not_", "op") if getattr(asked, name) is not UNSET]
        if len(given) != 1:
            raise BadQuestion(place, "Give exactly one of `and`, `or`, `not`, or a comparison with `op`.")
        if given[0] == "op":
            return self.comparison(asked, place)
        if asked.field is not UNSET or asked.property is not UNSET or asked.value is not UNSET:
            raise BadQuestion(place, "`field`, `property` and `value` belong to a comparison with `op`.")
        if asked.not_ is not UNSET:
            return f"(({self.condition(asked.not_, f'{place}.not', depth + 1)}) IS NOT TRUE)"
        word, parts = ("and", asked.and_) if given[0] == "and_" else ("or", asked.or_)
        found = [
            self.condition(part, f"{place}.{word}[{index}]", depth + 1)
            for index, part in enumerate(parts or [])
        ]
        if not found:
            return "true" if word == "and" else "false"
        return f"({f' {word.upper()} '.join(found)})"

    def comparison(self, asked: Filter, place: str) -> str:
        self.leaves += 1
        if self.leaves > MAX_LEAVES:
            raise BadQuestion(place, f"More than {MAX_LEAVES} comparisons.")
        if (asked.field is UNSET) == (asked.property is UNSET):
            raise BadQuestion(place, "Give either `field` or `property`.")
        op = str(asked.op)
        if op == "exists":
            return self.exists(asked, place)
        values = self.listed(asked, op, f"{place}.value")
        if asked.property is not UNSET:
            return self.of_property(path_of(asked.property), op, values, f"{place}.value")
        if asked.field == "occurred_at":
            return self.of_time(op, values, place)
        if asked.field == "event_id":
            return self.of_id(op, values, place)
        return self.of_field(str(asked.field), op, values, f"{place}.value")

    def exists(self, asked: Filter, place: str) -> str:
        if asked.value is not UNSET and not isinstance(asked.value, bool):
            raise BadQuestion(f"{place}.value", "`exists` takes true, false, or nothing (true).")
        if asked.property is not UNSET:
            found = self.dialect.text(path_of(asked.property))
        else:
            found = self.dialect.column(str(asked.field))
        return f"({found} IS {'' if asked.value is False else 'NOT '}NULL)"

    def listed(self, asked: Filter, op: str, place: str) -> list[Key]:
        value = asked.value
        if value is UNSET or value is None:
            raise BadQuestion(place, f"`{op}` needs a value. (`exists` asks for absence.)")
        if isinstance(value, list) != (op == "in"):
            raise BadQuestion(place, "`in` takes a list, the others one value.")
        values = list(value) if isinstance(value, list) else [value]
        self.values += len(values)
        if self.values > MAX_VALUES:
            raise BadQuestion(place, f"More than {MAX_VALUES:,} values.")
        if any(isinstance(item, str) and len(item) > MAX_TEXT for item in values):
            raise BadQuestion(place, f"Longer than {MAX_TEXT:,} characters.")
        return values

    def of_property(self, path: tuple[str, ...], op: str, values: list[Key], place: str) -> str:
        numbers = [_number(value, place) for value in values if _is_number(value)]
        texts = [_text(value) for value in values if not _is_number(value)]
        if op in ("contains", "starts_with") and numbers:
            raise BadQuestion(place, f"`{op}` takes a text.")
        if op == "in":
            parts = [
                self.among(self.dialect.number(path), numbers) if numbers else "",
                self.among(self.dialect.text(path), texts) if texts else "",
            ]
            return f"({' OR '.join(part for part in parts if part) or 'false'})"
        if numbers:
            return self.compared(self.dialect.number(path), op, numbers[0])
        return self.compared(self.dialect.text(path), op, texts[0])

    def of_field(self, name: str, op: str, values: list[Key], place: str) -> str:
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) != len(values):
            raise BadQuestion(place, f"`{name}` is compared with texts.")
        if name == "person" and op in ("=", "in"):
            return f"({' OR '.join(self.dialect.equals_person(text) for text in texts) or 'false'})"
        column = self.dialect.column(name)
        return self.among(column, texts) if op == "in" else self.compared(column, op, texts[0])

    def of_time(self, op: str, values: list[Key], place: str) -> str:
        if op in ("contains", "starts_with"):
            raise BadQuestion(f"{place}.op", "`occurred_at` takes =, !=, <, <=, >, >=, in, exists.")
        moments = []
        for value in values:
            if not isinstance(value, str):
                raise BadQuestion(f"{place}.value", "`occurred_at` is compared with dates or times.")
            moment = periods.moment(value, self.zone, f"{place}.value")
            moments.append(self.dialect.moment(periods.to_us(moment)))
        column = self.dialect.column("occurred_at")
        if op == "in":
            return f"({column} IN ({', '.join(moments)}))" if moments else "false"
        return f"({column} {'<>' if op == '!=' else op} {moments[0]})"

    def of_id(self, op: str, values: list[Key], place: str) -> str:
        if op not in ("=", "!=", "in"):
            raise BadQuestion(f"{place}.op", "`event_id` takes =, !=, in, exists.")
        ids = []
        for value in values:
            try:
                ids.append(f"{self.dialect.value(str(uuid.UUID(str(value))))}::uuid")
            except ValueError as error:
                raise BadQuestion(f"{place}.value", "Not a UUID.") from error
        column = self.dialect.column("event_id")
        if op == "in":
            return f"({column} IN ({', '.join(ids)}))" if ids else "false"
        return f"({column} {'<>' if op == '!=' else op} {ids[0]})"

    def among(self, compared: str, values: Sequence[str | float]) -> str:
        return f"({compared} IN ({', '.join(map(self.dialect.value, values))}))" if values else "false"

    def compared(self, compared: str, op: str, value: str | float) -> str:
        given = self.dialect.value(value)
        if op == "!=":
            return f"({compared} IS DISTINCT FROM {given})"
        if op == "contains":
            return self.dialect.contains(compared, given)
        if op == "starts_with":
            return f"starts_with({compared}, {given})"
        if op in ORDERED and isinstance(value, str):
            compared = self.dialect.ordered(compared)
        return f"({compared} {op} {given})"


def _is_number(value: Key) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Key, place: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise BadQuestion(place, "This number is too large.") from error


def _text(value: Key) -> str:
    return value if isinstance(value, str) else "true" if value else "false"


@dataclass
class _Counting:
    """The dialect of a check: takes everything, keeps nothing."""

    def value(self, value: Any) -> str:
        return ""

    def column(self, field: str) -> str:
        return ""

    def text(self, path: tuple[str, ...]) -> str:
        return ""

    def number(self, path: tuple[str, ...]) -> str:
        return ""

    def equals_person(self, person: str) -> str:
        return ""

    def ordered(self, text: str) -> str:
        return ""

    def contains(self, text: str, value: str) -> str:
        return ""

    def moment(self, us: int) -> str:
        return ""


@dataclass
class LakeDialect:
    """DuckDB over a scan: properties are columns of it, which the two functions name. Parameters are `$p1`, `$p2`, …"""

    value_of: Callable[[Any], str]
    text_of: Callable[[tuple[str, ...]], str]
    number_of: Callable[[tuple[str, ...]], str]

    def value(self, value: Any) -> str:
        return self.value_of(value)

    def column(self, field: str) -> str:
        return f"({PERSON_SQL})" if field == "person" else field

    def text(self, path: tuple[str, ...]) -> str:
        return self.text_of(path)

    def number(self, path: tuple[str, ...]) -> str:
        return self.number_of(path)

    def equals_person(self, person: str) -> str:
        # Plan: the integer decides in the scan; the text is read where it agrees, and settles a shared digest.
        return f"(person_h = {person_hash(person)}::UBIGINT AND {PERSON_SQL} = {self.value(person)})"

    def ordered(self, text: str) -> str:
        return text

    def contains(self, text: str, value: str) -> str:
        return f"contains({text}, {value})"

    def moment(self, us: int) -> str:
        return f"make_timestamptz({us})"


@dataclass
class PostgresDialect:
    """PostgreSQL over `events_event`. `parameters` are named, for psycopg: `%(f1)s`, `%(f2)s`, …

    A number's text is what the lake has for it up to 17 digits; of objects and arrays the two differ in spaces.
    """

    parameters: dict[str, Any] = field(default_factory=dict)

    def value(self, value: Any) -> str:
        name = f"f{len(self.parameters) + 1}"
        self.parameters[name] = value
        kind = (
            "double precision"
            if isinstance(value, float)
            else "text[]"
            if isinstance(value, list)
            else "text"
        )
        return f"%({name})s::{kind}"

    def column(self, field: str) -> str:
        return f"({PERSON_SQL})" if field == "person" else field

    def text(self, path: tuple[str, ...]) -> str:
        json = self._json(path)
        number = f"({json} #>> '{{}}')::numeric"
        return (
            f"(CASE WHEN jsonb_typeof({json}) = 'number' AND scale({number}) > 0 THEN"
            f" trim_scale({number})::text || CASE WHEN scale(trim_scale({number})) = 0 THEN '.0' ELSE '' END"
            f" ELSE {json} #>> '{{}}' END)"
        )

    def number(self, path: tuple[str, ...]) -> str:
        json = self._json(path)
        number = f"({json} #>> '{{}}')::numeric"
        return (
            f"(CASE WHEN jsonb_typeof({json}) = 'number' THEN CASE WHEN abs({number}) < {SMALLEST!r} THEN 0::double precision"
            f" WHEN abs({number}) <= {LARGEST!r} THEN {number}::double precision END END)"
        )

    def equals_person(self, person: str) -> str:
        # Plan: the indexes of user_id and, where there is none, of anonymous_id; coalesce() would know neither.
        given = self.value(person)
        return f"(user_id = {given} OR (user_id IS NULL AND anonymous_id = {given}))"

    def ordered(self, text: str) -> str:
        return f'({text} COLLATE "C")'

    def contains(self, text: str, value: str) -> str:
        return f"(strpos({text}, {value}) > 0)"

    def moment(self, us: int) -> str:
        return f"{self.value(periods.from_us(us).isoformat())}::timestamptz"

    def _json(self, path: tuple[str, ...]) -> str:
        if len(path) == 1:
            return f"(properties -> {self.value(path[0])})"
        return f"(properties #> {self.value(list(path))})"
