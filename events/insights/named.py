"""Events that a question names beside others, like a funnel's steps: each by its names and a filter."""

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from msgspec import Struct

from events.insights import filters
from events.insights.question import Filter, Names, names_of
from events.insights.scan import Scan


class NamedEvent(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """An event of one of the names (null: any) that meets `where`."""

    name: Names = None
    where: Filter | None = None


def names_of_all(events: Iterable[NamedEvent]) -> tuple[str, ...] | None:
    """The names that a scan for them reads; None where one of them may have any."""
    found: dict[str, None] = {}
    for event in events:
        names = names_of(event.name)
        if names is None:
            return None
        found |= dict.fromkeys(names)
    return tuple(found)


def condition(event: NamedEvent, scan: Scan, zone: ZoneInfo, place: str) -> str:
    """SQL over a scan, in parentheses. `place` is that of the event in the question, for errors."""
    names = names_of(event.name)
    parts = [f"name IN ({', '.join(map(scan.value, names))})"] if names is not None else []
    if event.where is not None:
        parts.append(filters.compile_filter(event.where, scan.dialect, zone, f"{place}.where"))
    return f"({' AND '.join(parts) or 'true'})"
