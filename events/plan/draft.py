"""Draft: a schema that the latest events of a name follow, for a person to look over. Pure but for the reading."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from django.db import connection, transaction

EVENTS: Final = 1_000
MAX_PROPERTIES: Final = 60  # of one object, the most frequent
MAX_DEPTH: Final = 3
MAX_CHOICES: Final = 8
MIN_SEEN: Final = 20  # occurrences, before few values are taken for all there are
MAX_CHOICE: Final = 40  # characters
TIMEOUT: Final = "3s"

# Plan: events_event_name backwards in each partition, merged, until there are enough.
LATEST: Final = """
SELECT properties::text FROM events_event WHERE project_id = %s AND name = %s ORDER BY occurred_at DESC LIMIT %s
"""


@dataclass(slots=True)
class Draft:
    """`schema` as values; `events` were looked at."""

    schema: dict[str, Any]
    events: int


@dataclass(slots=True)
class _Seen:
    """What stood at one place."""

    types: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    fields: "dict[str, _Seen]" = field(default_factory=dict)
    items: "_Seen | None" = None


def draft(project_id: int, name: str) -> Draft:
    """Looks at the latest events of that name in PostgreSQL; without any, the schema is one that asks for nothing."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{TIMEOUT}'")
        cursor.execute(LATEST, [project_id, name, EVENTS])
        rows = cursor.fetchall()
    return of_properties([msgspec.json.decode(text) for (text,) in rows])


def of_properties(events: list[Any]) -> Draft:
    seen = _Seen()
    for properties in events:
        _look(seen, properties, 0)
    return Draft(_schema(seen, 0) if events else {"type": "object"}, len(events))


def _look(seen: _Seen, value: Any, depth: int) -> None:
    seen.types[_type(value)] += 1
    if isinstance(value, str) and len(seen.texts) <= MAX_CHOICES:
        seen.texts[value[: MAX_CHOICE + 1]] += 1
    elif isinstance(value, dict) and depth < MAX_DEPTH:
        for key, item in value.items():
            if key in seen.fields or len(seen.fields) < 10 * MAX_PROPERTIES:
                _look(seen.fields.setdefault(key, _Seen()), item, depth + 1)
    elif isinstance(value, list) and depth < MAX_DEPTH:
        for item in value[:100]:
            seen.items = seen.items or _Seen()
            _look(seen.items, item, depth + 1)


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names: dict[type, str] = {str: "string", int: "integer", float: "number", dict: "object", list: "array"}
    return names.get(type(value), "null")


def _schema(seen: _Seen, depth: int) -> dict[str, Any]:
    types = set(seen.types)
    if "number" in types:
        types.discard("integer")
    made: dict[str, Any] = {"type": sorted(types) if len(types) > 1 else next(iter(types))}
    if _is_choice(seen):
        made["enum"] = sorted(seen.texts) + [None] * ("null" in types)
    if seen.fields:
        kept = sorted(seen.fields, key=lambda key: -seen.fields[key].types.total())[:MAX_PROPERTIES]
        made["properties"] = {key: _schema(seen.fields[key], depth + 1) for key in sorted(kept)}
        objects = seen.types["object"]
        required = sorted(key for key in kept if seen.fields[key].types.total() == objects)
        if required:
            made["required"] = required
    if seen.items is not None:
        made["items"] = _schema(seen.items, depth + 1)
    return made


def _is_choice(seen: _Seen) -> bool:
    """Texts of which there are few, each of them often."""
    return (
        set(seen.types) <= {"string", "null"}
        and 0 < len(seen.texts) <= MAX_CHOICES
        and seen.types["string"] >= MIN_SEEN * len(seen.texts)
        and max(map(len, seen.texts)) <= MAX_CHOICE
    )
