"""What the catalogue says: a project's names, a name's properties, and what is new, gone or different among them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from events import times
from events.catalogue import sketch
from events.catalogue.places import EPOCH, KEPT_DAYS
from events.catalogue_models import CatalogueName, CatalogueProject, CatalogueProperty

SHOWN_VALUES: Final = 20
NEW_FOR: Final = timedelta(days=14)  # so long what is new, or of another type, is marked
SETTLED: Final = timedelta(hours=1)  # what comes sooner after the first event of all is no change
SILENT_FOR: Final = timedelta(days=7)  # a name
MISSED: Final = (
    20  # so often a property, by its share before, would have come again: by chance once in 10^8 times
)
MISSED_FOR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Listed:
    """Rows as they are shown; how many others there are, about, and how often these came."""

    rows: list[dict[str, Any]]
    more: int
    more_events: int


def names(project_id: int, *, search: str = "", now: datetime) -> Listed:
    """The most frequent first. `search`: a part of the name, in any case."""
    project = CatalogueProject.objects.filter(pk=project_id).first()
    if project is None:
        return Listed([], 0, 0)
    rows = CatalogueName.objects.filter(project_id=project_id, name__icontains=search)
    days = [_day(now) - timedelta(days=n) for n in reversed(range(KEPT_DAYS))]
    shown = [_name(row, project, days, now) for row in rows.order_by("-events", "name")]
    return Listed(shown, sketch.estimate(project.more_sketch), project.more_events)


def name(project_id: int, of_name: str, *, now: datetime) -> tuple[dict[str, Any], Listed] | None:
    """Returns a name and its properties, the most frequent first; None where it is not in the catalogue."""
    row = CatalogueName.objects.filter(project_id=project_id, name=of_name).first()
    project = CatalogueProject.objects.filter(pk=project_id).first()
    if row is None or project is None:
        return None
    properties = CatalogueProperty.objects.filter(of_name=row).order_by("-events", "key")
    days = [_day(now) - timedelta(days=n) for n in reversed(range(KEPT_DAYS))]
    shown = [_property(one, row, now) for one in properties]
    return _name(row, project, days, now) | {"sampled": row.sampled}, Listed(
        shown, sketch.estimate(row.more_sketch), row.more_events
    )


def _name(row: CatalogueName, project: CatalogueProject, days: list[date], now: datetime) -> dict[str, Any]:
    marks = []
    if _is_new(row.first_received_at, project.began_at, now):
        marks.append(_mark("new", row.first_received_at))
    if row.last_received_at < now - SILENT_FOR:
        marks.append(_mark("vanished", row.last_received_at))
    return {
        "name": row.name,
        "events": row.events,
        "first_seen": _text(row.first_at),
        "last_seen": _text(row.last_at),
        "days": [row.days.get(str(day), 0) for day in days],
        "marks": marks,
    }


def _property(row: CatalogueProperty, name: CatalogueName, now: datetime) -> dict[str, Any]:
    values = sorted(row.values.items(), key=lambda item: (-item[1], item[0]))
    return {
        "property": row.key,
        "events": row.events,
        "share": row.events / name.sampled if name.sampled else 0.0,
        "types": {
            kind: count for kind, (count, _, _) in sorted(row.types.items(), key=lambda item: -item[1][0])
        },
        "different_values": len(values) if row.has_all_values else sketch.estimate(row.sketch),
        "has_all_values": row.has_all_values and len(values) <= SHOWN_VALUES,
        "values": [{"value": value, "events": count} for value, count in values[:SHOWN_VALUES]],
        "example": row.example,
        "first_seen": _text(row.first_at),
        "last_seen": _text(row.last_at),
        "marks": _marks(row, name, now),
    }


def _marks(row: CatalogueProperty, name: CatalogueName, now: datetime) -> list[dict[str, Any]]:
    marks: list[dict[str, Any]] = []
    if _is_new(row.first_received_at, name.first_received_at, now):
        marks.append(_mark("new", row.first_received_at))
    if _is_vanished(row, name, now):
        marks.append(_mark("vanished", row.last_received_at))
    by_first = sorted((first, kind) for kind, (_, first, _) in row.types.items())
    if len(by_first) > 1:
        since = EPOCH + timedelta(microseconds=by_first[-1][0])
        if _is_new(since, row.first_received_at, now):
            before = [kind for _, kind in by_first[:-1]]
            marks.append(_mark("type_changed", since) | {"from": before, "to": by_first[-1][1]})
    return marks


def _is_new(at: datetime, first: datetime, now: datetime) -> bool:
    return at > now - NEW_FOR and at > first + SETTLED


def _is_vanished(row: CatalogueProperty, name: CatalogueName, now: datetime) -> bool:
    rate = row.events / max(row.to_sampled - row.from_sampled, 1)
    return (name.sampled - row.to_sampled) * rate >= MISSED and row.last_received_at < now - MISSED_FOR


def _mark(mark: str, at: datetime) -> dict[str, Any]:
    return {"mark": mark, "at": _text(at)}


def _text(at: datetime) -> str:
    return times.text(at.astimezone(UTC))


def _day(now: datetime) -> date:
    return now.astimezone(UTC).date()
