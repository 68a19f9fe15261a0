"""Who has a place in the catalogue: rows with what was seen added, of so many names and properties; others are counted."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db.models import Count

from events.catalogue import sketch
from events.catalogue.observe import Seen, SeenName, SeenProperty
from events.catalogue_models import CatalogueName, CatalogueProject, CatalogueProperty
from projects.access import alive

MAX_NAMES: Final = 500  # of a project
MAX_PROPERTIES: Final = 200  # of a name
MAX_PROJECT_PROPERTIES: Final = 20_000  # some 1 kB each, 6 at most
MAX_VALUES: Final = 40  # followed, so that the 20 that are shown are right
KEPT_DAYS: Final = 30
GIVES_PLACE: Final = timedelta(days=30)  # where there is no room, what did not come for so long goes
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Names = dict[tuple[int, str], CatalogueName]


def known(seen: Seen) -> Names:
    """Returns those that have a place, of projects that are not deleted: mostly all. Plan: cataloguename_once."""
    rows = CatalogueName.objects.filter(project__in=alive().filter(pk__in={key[0] for key in seen}))
    if len(seen) <= MAX_NAMES:
        rows = rows.filter(name__in={name for _, name in seen})
    return {key: row for row in rows if (key := (row.project_id, row.name)) in seen}


def projects(seen: Seen, of_names: Names) -> dict[int, CatalogueProject]:
    """Returns the projects of names that are new, but deleted ones. No query where none is."""
    new = {project_id for project_id, _ in seen.keys() - of_names.keys()}
    if not new:
        return {}
    living = set(alive().filter(pk__in=new).values_list("pk", flat=True))
    found = CatalogueProject.objects.in_bulk(living)
    for (project_id, _), name in seen.items():
        if project_id not in living:
            continue
        began_at = _time(name.received.first)
        row = CatalogueProject(project_id=project_id, began_at=began_at, more_events=0)
        row = found.setdefault(project_id, row)
        row.began_at = min(row.began_at, began_at)
    return found


def names(seen: Seen, found: Names, of_projects: dict[int, CatalogueProject], now: datetime) -> Names:
    """Takes those that have a place, returns them with new ones; the others are added to their project's `more`."""
    found = dict(found)
    for project_id, new in _new_names(seen, found).items():
        free = MAX_NAMES - CatalogueName.objects.filter(project_id=project_id).count()
        if len(new) > free:
            free += _drop_stale_names(project_id, len(new) - free, now, seen)
        for name in new[:free]:
            found[project_id, name] = CatalogueName(
                project_id=project_id, name=name, events=0, sampled=0, days={}, more_events=0, **_nothing(now)
            )
        if rest := new[free:]:
            project = of_projects[project_id]
            project.more_events += sum(seen[project_id, name].occurred.count for name in rest)
            project.more_sketch = sketch.add(
                project.more_sketch, (sketch.digest(name.encode()) for name in rest)
            )
    for key, row in found.items():
        _add_to_name(row, seen[key], now)
    return found


def properties(seen: Seen, of_names: Names, now: datetime) -> list[CatalogueProperty]:
    """The same of properties: what finds no place is added to its name's `more`."""
    of_names = {key: row for key, row in of_names.items() if seen[key].sampled}
    if not of_names:
        return []
    stored = {row.pk: row for row in of_names.values() if row.pk}
    keys = {key for name in of_names for key in seen[name].properties}
    known: dict[int, dict[str, CatalogueProperty]] = defaultdict(dict)
    for row in CatalogueProperty.objects.filter(of_name_id__in=stored, key__in=keys):
        row.of_name = name = stored[row.of_name_id]
        if row.key in seen[name.project_id, name.name].properties:
            known[name.pk][row.key] = row
    taken = _Taken({name.project_id for name in of_names.values()})
    found: list[CatalogueProperty] = []
    for name_key, name in of_names.items():
        sight = seen[name_key]
        name.sampled += sight.sampled
        rows = known[name.pk] if name.pk else {}
        new = _by_frequency(
            {key: one.occurred.count for key, one in sight.properties.items() if key not in rows}
        )
        free = taken.free(name, len(new), now, without=[row.pk for row in rows.values()]) if new else 0
        for key in new[:free]:
            rows[key] = CatalogueProperty(
                project_id=name.project_id, of_name=name, key=key, events=0, types={}, values={},
                sketch=b"", has_all_values=True, from_sampled=name.sampled - sight.sampled, **_nothing(now),
            )  # fmt: skip
        _add_rest(name, sight, new[free:])
        for key, row in rows.items():
            _add_to_property(row, sight.properties[key], name.sampled)
        found += rows.values()
    return found


class _Taken:
    """How many places are taken; asked only where there is something new."""

    def __init__(self, project_ids: Collection[int]) -> None:
        self.project_ids = project_ids
        self.counts: dict[str, Counter[int]] = {}

    def free(self, name: CatalogueName, wanted: int, now: datetime, *, without: list[int]) -> int:
        """Takes up to `wanted` places, making some free where there are too few; returns how many."""
        if not self.counts:
            rows = CatalogueProperty.objects.filter(project_id__in=self.project_ids)
            for field in ("project_id", "of_name_id"):
                counted = rows.values_list(field).annotate(Count("pk"))
                self.counts[field] = Counter(dict(counted.values_list(field, "pk__count")))
        of_project, of_name = self.counts["project_id"], self.counts["of_name_id"]
        place = name.pk or 0  # a new name has none yet
        free = min(
            MAX_PROPERTIES - (of_name[place] if place else 0),
            MAX_PROJECT_PROPERTIES - of_project[name.project_id],
        )
        if wanted > free and place:
            stale = CatalogueProperty.objects.filter(of_name_id=place, last_received_at__lt=now - GIVES_PLACE)
            oldest = stale.exclude(pk__in=without).order_by("last_received_at")
            ids = list(oldest.values_list("pk", flat=True)[: wanted - free])
            CatalogueProperty.objects.filter(pk__in=ids).delete()
            free += len(ids)
        free = max(min(free, wanted), 0)
        of_project[name.project_id] += free
        return free


def _new_names(seen: Seen, found: Names) -> dict[int, list[str]]:
    """By project, the most frequent first."""
    new: dict[int, dict[str, int]] = defaultdict(dict)
    for project_id, name in seen.keys() - found.keys():
        new[project_id][name] = seen[project_id, name].occurred.count
    return {project_id: _by_frequency(counts) for project_id, counts in new.items()}


def _by_frequency(counts: dict[str, int]) -> list[str]:
    return sorted(counts, key=lambda key: (-counts[key], key))


def _drop_stale_names(project_id: int, wanted: int, now: datetime, seen: Seen) -> int:
    stale = CatalogueName.objects.filter(project_id=project_id, last_received_at__lt=now - GIVES_PLACE)
    found = stale.order_by("last_received_at").values_list("pk", "name")
    ids = [pk for pk, name in found if (project_id, name) not in seen][:wanted]
    CatalogueProperty.objects.filter(of_name_id__in=ids).delete()
    CatalogueName.objects.filter(pk__in=ids).delete()
    return len(ids)


def _add_rest(name: CatalogueName, sight: SeenName, keys: Iterable[str]) -> None:
    rest = set(sight.more)
    name.more_events += sight.more_events
    for key in keys:
        rest.add(sketch.digest(key.encode()))
        name.more_events += sight.properties[key].occurred.count
    if rest:
        name.more_sketch = sketch.add(name.more_sketch, rest)


def _add_to_name(row: CatalogueName, sight: SeenName, now: datetime) -> None:
    row.events += sight.occurred.count
    _widen(row, sight.occurred.first, sight.occurred.last, sight.received.first, sight.received.last)
    days: Counter[str] = Counter(row.days)
    for day, count in sight.days.items():
        days[str((EPOCH + timedelta(days=day)).date())] += count
    oldest = str((now - timedelta(days=KEPT_DAYS)).date())
    row.days = {day: count for day, count in sorted(days.items()) if day > oldest}


def _add_to_property(row: CatalogueProperty, sight: SeenProperty, sampled: int) -> None:
    row.events += sight.occurred.count
    row.to_sampled = sampled
    types: dict[str, list[int]] = dict(row.types)
    for kind, span in sight.types.items():
        count, first, last = types.get(kind, (0, span.first, span.last))
        types[kind] = [count + span.count, min(first, span.first), max(last, span.last)]
    row.types = types
    first = min(span.first for span in sight.types.values())
    last = max(span.last for span in sight.types.values())
    _widen(row, sight.occurred.first, sight.occurred.last, first, last)
    row.sketch = sketch.add(bytes(row.sketch) or None, sight.hashed)
    row.values, has_all = sketch.merged(row.values, sight.values, at_most=MAX_VALUES)
    row.has_all_values = row.has_all_values and has_all and not sight.is_cut
    row.example = sight.example


def _nothing(now: datetime) -> dict[str, Any]:
    """Times that any other narrows."""
    return dict.fromkeys(("first_at", "first_received_at"), now + timedelta(days=2)) | dict.fromkeys(
        ("last_at", "last_received_at"), EPOCH
    )


def _widen(row: Any, first: int, last: int, first_received: int, last_received: int) -> None:
    row.first_at, row.last_at = min(row.first_at, _time(first)), max(row.last_at, _time(last))
    row.first_received_at = min(row.first_received_at, _time(first_received))
    row.last_received_at = max(row.last_received_at, _time(last_received))


def _time(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)
