"""Which events a reader wants. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

from events.live.entry import Entry, LiveEvent
from events.persons import person_of

PROPERTY: Final = "property."
PASSED_BY: Final = ("key", "last_event_id")
MAX_VALUES: Final = 50
MAX_TEXT: Final = 1_000
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_value = msgspec.json.Decoder().decode


class BadFilter(ValueError):
    """`field` is the parameter that is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Matched:
    """Of one entry: the events that match and are carried, how many match, and of how many nobody looked."""

    texts: list[bytes]
    of: int
    unchecked: int


@dataclass(frozen=True, slots=True)
class Filter:
    """All that is given must hold: one of the names, the person, each property's text."""

    names: frozenset[str] = frozenset()
    person: str | None = None
    properties: tuple[tuple[str, str], ...] = ()

    @property
    def is_by_name_only(self) -> bool:
        return self.person is None and not self.properties

    def match(self, entry: Entry) -> Matched:
        """Counts by name are right whatever is carried; for the rest only what is carried can be looked at."""
        if self.is_by_name_only and not self.names:
            return Matched([bytes(text) for text in entry.texts], entry.count, 0)
        named, unnamed = self._named(entry)
        candidates = [
            (event, text)
            for event, text in zip(entry.events, entry.texts, strict=True)
            if not self.names or event.name in self.names
        ]
        if self.is_by_name_only:
            known = max(named, len(candidates))
            return Matched([bytes(text) for _, text in candidates], known, unnamed - (known - named))
        verdicts = [(self._holds(event), text) for event, text in candidates]
        texts = [bytes(text) for holds, text in verdicts if holds]
        unsure = sum(holds is None for holds, _ in verdicts)
        return Matched(texts, len(texts), max(0, named + unnamed - len(candidates)) + unsure)

    def _named(self, entry: Entry) -> tuple[int, int]:
        """How many events have one of the names, and of how many the name is not known."""
        if not self.names:
            return entry.count, 0
        known = sum(entry.named.get(name, 0) for name in self.names)
        return known, 0 if self.names <= entry.named.keys() else entry.unnamed

    def _holds(self, event: LiveEvent) -> bool | None:
        """None where it cannot be said, for the property may be one that was cut away."""
        if self.person is not None and person_of(event.user_id, event.anonymous_id) != self.person:
            return False
        if not self.properties:
            return True
        members, unsure = _members(event.properties), False
        for name, wanted in self.properties:
            text = text_of(members[name]) if name in members else None
            if text != wanted:
                if name in members or "properties" not in event.cut:
                    return False
                unsure = True
        return None if unsure else True


def text_of(value: msgspec.Raw) -> str | None:
    """A property's text, as a question of the lake sees it (PostgreSQL's ->>); None for null."""
    document = bytes(value)
    first = document[:1]
    if first == b'"':
        text = _value(document)
        return str(text)
    if first in b"-0123456789":
        return number_text(document.decode())
    return None if document == b"null" else document.decode()


def number_text(number: str) -> str:
    """A JSON number as jsonb writes it: without exponent, its zeros kept, no negative zero."""
    value = Decimal(number)
    return format(value if value else abs(value), "f")


def read(pairs: Iterable[tuple[str, str]]) -> Filter:
    """Takes a query string's parameters: `name` (several), `person`, `property.<its name>`. Raises BadFilter."""
    wanted: dict[str, Any] = {"names": set(), "person": None, "properties": []}
    given = [(field, value) for field, value in pairs if field not in PASSED_BY]
    if len(given) > MAX_VALUES:
        raise BadFilter("name", f"At most {MAX_VALUES} conditions.")
    for field, value in given:
        if len(value) > MAX_TEXT or len(field) > MAX_TEXT:
            raise BadFilter(field[:100], f"At most {MAX_TEXT} characters.")
        if field == "name":
            wanted["names"].add(value)
        elif field == "person":
            if wanted["person"] is not None:
                raise BadFilter("person", "One person at most.")
            wanted["person"] = value
        elif field.startswith(PROPERTY) and field != PROPERTY:
            wanted["properties"].append((field.removeprefix(PROPERTY), value))
        else:
            raise BadFilter(field[:100], "Not a filter. There are: name, person, property.<name>.")
    return Filter(frozenset(wanted["names"]), wanted["person"], tuple(sorted(wanted["properties"])))
