"""One filter as an address has it: `f=plan:eq:pro`, `address.city:exists:`, `@person:eq:ada`; or the API's JSON, `{"or": […]}`.

Before the first colon: the path of a property, or `@` and a field. A backslash takes the meaning from `.`, `:`, `@`, `{`.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from events.insights import filters, question
from events.insights.errors import BadQuestion
from events.insights.question import Filter
from eventsite.json_tree import place

OPS: Final = {
    "eq": "=", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "in": "in", "contains": "contains",
    "starts_with": "starts_with", "exists": "exists",
}  # fmt: skip
# As people read them, in the order of the form.
WORDS: Final = {
    "eq": "=", "ne": "≠", "contains": "contains", "starts_with": "begins with", "exists": "is present", "in": "is one of",
    "gt": ">", "ge": "≥", "lt": "<", "le": "≤",
}  # fmt: skip
FIELDS: Final = ("name", "person", "user_id", "anonymous_id", "session_id", "event_id", "occurred_at")
MAX_LENGTH: Final = 4_000
_PARTS: Final = re.compile(r"((?:\\.|[^\\:])*):([a-z_]+):(.*)", re.DOTALL)
_KEY: Final = re.compile(r"(?:\\.|[^\\.])*", re.DOTALL)
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,300})(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_NO: Final = ("false", "no", "0")


@dataclass(frozen=True, slots=True)
class Condition:
    """`text` is the address's, `label` for people. `where`: the API's filter, None where it is wrong; `error` says why.

    `field` or `keys` (a property's path), `op` (of OPS) and `value` are empty for the API's JSON.
    """

    text: str
    label: str
    where: dict[str, Any] | None
    error: str = ""
    field: str = ""
    keys: tuple[str, ...] = ()
    op: str = ""
    value: str = ""


def condition(text: str, zone: ZoneInfo) -> Condition:
    """Reads one; whatever is wrong with it stands in `error`."""
    try:
        if len(text) > MAX_LENGTH:
            raise BadQuestion("f", f"Longer than {MAX_LENGTH:,} characters.")
        made = _of_json(text) if text.startswith("{") else _of_parts(text)
        filters.check(question.read(Filter, made.where), zone)
    except BadQuestion as error:
        return Condition(text, text[:200], None, error.message)
    return made


def field(name: str, value: str, op: str = "eq") -> str:
    """The text of a filter on a field."""
    return f"@{name}:{op}:{value}"


def of_property(name: str, value: str | None) -> str:
    """The text of a filter on a property's value as a question returns it; None: it is absent."""
    return f"{place([name])}:exists:false" if value is None else f"{place([name])}:eq:{value}"


def _of_json(text: str) -> Condition:
    try:
        where = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadQuestion("f", "Begins as JSON, and is none.") from error
    return Condition(text, _said(where), where)


def _of_parts(text: str) -> Condition:
    found = _PARTS.fullmatch(text)
    if not found:
        raise BadQuestion("f", "Not a filter. One looks like plan:eq:pro.")
    path, op, value = found.groups()
    if op not in OPS:
        raise BadQuestion("f", f"There is no “{op}”. There are: {', '.join(OPS)}.")
    name = ""
    keys: tuple[str, ...] = ()
    if path.startswith("@"):
        name = path[1:]
        if name not in FIELDS:
            raise BadQuestion("f", f"There is no field “{name}”. There are: {', '.join(FIELDS)}.")
        compared: dict[str, Any] = {"field": name}
    else:
        keys = _keys(path)
        compared = {"property": list(keys)}
    where = _where(compared, op, value, is_typed=bool(keys))
    return Condition(text, _label(name or ".".join(keys), op, value), where, "", name, keys, op, value)


def _where(compared: dict[str, Any], op: str, value: str, *, is_typed: bool) -> dict[str, Any]:
    """A number is looked for as such and as a text: the address does not say which was sent."""
    compared = {**compared, "op": OPS[op]}
    if op == "exists":
        return {**compared, "value": value.lower() not in _NO}
    if op == "in":
        return {**compared, "value": [*_listed(value)]}
    number = _number(value) if is_typed else None
    if number is None or op in ("contains", "starts_with"):
        return {**compared, "value": value}
    as_number, as_text = {**compared, "value": number}, {**compared, "value": value}
    if op == "eq":
        return {"or": [as_number, as_text]}
    return {"and": [as_number, as_text]} if op == "ne" else as_number


def _listed(value: str) -> list[str]:
    """`a,b`, or a JSON list where values hold commas."""
    if value.startswith("["):
        try:
            return [item if isinstance(item, str) else json.dumps(item) for item in json.loads(value)]
        except (ValueError, RecursionError, TypeError):
            pass  # then it is a text that begins so
    return [item.strip() for item in value.split(",")]


def _number(value: str) -> float | None:
    if not _NUMBER.fullmatch(value):
        return None
    return float(value) if any(sign in value for sign in ".eE") else int(value)


def _keys(path: str) -> tuple[str, ...]:
    found, at = [], 0
    while True:
        end = _KEY.match(path, at).end()  # type: ignore[union-attr]  # it matches nothing too
        found.append(re.sub(r"\\(.)", r"\1", path[at:end], flags=re.DOTALL))
        at = end + 1
        if at > len(path):
            return tuple(found)


def _said(where: Any) -> str:
    """The API's filter in words, as far as it is one: it is checked afterwards."""
    if not isinstance(where, dict):
        return json.dumps(where)
    for word in ("and", "or"):
        if isinstance(where.get(word), list):
            return f" {word} ".join(
                f"({_said(one)})" if _is_joined(one) else _said(one) for one in where[word]
            )
    if "not" in where:
        return f"not ({_said(where['not'])})"
    name = where.get("field") or where.get("property")
    op = next((ours for ours, theirs in OPS.items() if theirs == where.get("op")), "")
    if not name or not op:
        return json.dumps(where)
    value = where.get("value", "")
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _label(".".join(map(str, name)) if isinstance(name, list) else str(name), op, shown)


def _is_joined(where: Any) -> bool:
    return isinstance(where, dict) and bool({"and", "or"} & where.keys())


def _label(name: str, op: str, value: str) -> str:
    if op == "exists":
        return f"{name} {'is absent' if value.lower() in _NO else 'is present'}"
    return f"{name} {WORDS[op]} {value}" if value else f"{name} {WORDS[op]} “”"
