"""Draft: a schema that what was sent follows, for a person to look over.

From the catalogue, which has seen a sample of all that was ever sealed; from the latest events in PostgreSQL while it does not
know the name yet. The catalogue knows properties but not what lies within them, and takes null for absent; events tell both.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
from django.db import connection, transaction

from events.catalogue_models import CatalogueName, CatalogueProperty
from events.plan.bounds import BadSchema, look_at

EVENTS: Final = 1_000
# Of one object, the most frequent: fewer where the schema would be too large.
MAX_PROPERTIES: Final = (60, 20, 5)
MAX_DEPTH: Final = 3
MAX_CHOICES: Final = 8
# Each value came so often: were there another as frequent as the rarest, it would be missing by chance once in 10^8 times.
MIN_SEEN: Final = 20
MAX_CHOICE: Final = 40  # characters
TIMEOUT: Final = "3s"

# Plan: events_event_name backwards in each partition, merged, until there are enough.
LATEST: Final = """
SELECT properties::text FROM events_event WHERE project_id = %s AND name = %s ORDER BY occurred_at DESC LIMIT %s
"""

DrawnFrom = Literal["catalogue", "events"]


@dataclass(slots=True)
class Draft:
    """`schema` as values, drawn from the catalogue, that has sampled so many `events`, or from so many themselves."""

    schema: dict[str, Any]
    events: int
    drawn_from: DrawnFrom


@dataclass(slots=True)
class _Seen:
    """What stood at one place."""

    types: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    fields: "dict[str, _Seen]" = field(default_factory=dict)
    items: "_Seen | None" = None


def draft(project_id: int, name: str) -> Draft:
    """Returns a schema that asks for nothing where there is no event of that name. Raises django.db.OperationalError."""
    known = CatalogueName.objects.filter(project_id=project_id, name=name, sampled__gt=0).first()
    if known:
        return of_catalogue(known, list(CatalogueProperty.objects.filter(of_name=known).defer("sketch")))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{TIMEOUT}'")
        cursor.execute(LATEST, [project_id, name, EVENTS])
        rows = cursor.fetchall()
    return of_events([msgspec.json.decode(text) for (text,) in rows])


def of_catalogue(name: CatalogueName, properties: list[CatalogueProperty]) -> Draft:
    """Takes a name and all of its properties."""
    properties.sort(key=lambda one: (-one.events, one.key))

    def schema(most: int) -> dict[str, Any]:
        kept = sorted(properties[:most], key=lambda one: one.key)
        made: dict[str, Any] = {"type": "object"}
        if kept:
            made["properties"] = {one.key: _known(one, name.sampled) for one in kept}
        if required := [one.key for one in kept if one.events >= name.sampled]:
            made["required"] = required
        return made

    return Draft(_that_is_taken(schema), name.sampled, "catalogue")


def of_events(events: list[Any]) -> Draft:
    """Takes properties of events."""
    seen = _Seen()
    for properties in events:
        _look(seen, properties, 0)
    made = _that_is_taken(lambda most: _schema(seen, 0, most)) if events else {"type": "object"}
    return Draft(made, len(events), "events")


def _that_is_taken(schema: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """Takes a schema by its number of properties, returns the largest that may be put as a plan."""
    for most in MAX_PROPERTIES:
        made = schema(most)
        try:
            look_at(made)
        except BadSchema:
            continue
        return made
    return {"type": "object"}


def _known(found: CatalogueProperty, sampled: int) -> dict[str, Any]:
    """What is not always there may be null as well."""
    may_be_null = found.events < sampled
    types = sorted([*found.types, *(["null"] if may_be_null else [])])
    made: dict[str, Any] = {"type": types if len(types) > 1 else types[0]}
    if found.has_all_values and set(found.types) == {"string"} and _are_choices(found.values):
        made["enum"] = sorted(found.values) + [None] * may_be_null
    return made


def _look(seen: _Seen, value: Any, depth: int) -> None:
    seen.types[_type(value)] += 1
    if isinstance(value, str) and len(seen.texts) <= MAX_CHOICES:
        seen.texts[value[: MAX_CHOICE + 1]] += 1
    elif isinstance(value, dict) and depth < MAX_DEPTH:
        for key, item in value.items():
            if key in seen.fields or len(seen.fields) < 10 * MAX_PROPERTIES[0]:
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


def _schema(seen: _Seen, depth: int, most: int) -> dict[str, Any]:
    types = set(seen.types)
    if "number" in types:
        types.discard("integer")
    made: dict[str, Any] = {"type": sorted(types) if len(types) > 1 else next(iter(types))}
    if types <= {"string", "null"} and _are_choices(seen.texts):
        made["enum"] = sorted(seen.texts) + [None] * ("null" in types)
    kept = sorted(seen.fields, key=lambda key: -seen.fields[key].types.total())[:most]
    if kept:
        made["properties"] = {key: _schema(seen.fields[key], depth + 1, most) for key in sorted(kept)}
        objects = seen.types["object"]
        required = sorted(key for key in kept if seen.fields[key].types.total() == objects)
        if required:
            made["required"] = required
    if seen.items is not None:
        made["items"] = _schema(seen.items, depth + 1, most)
    return made


def _are_choices(texts: dict[str, int]) -> bool:
    """Texts of which there are few, each of them often."""
    return (
        0 < len(texts) <= MAX_CHOICES
        and min(texts.values()) >= MIN_SEEN
        and max(map(len, texts)) <= MAX_CHOICE
    )
