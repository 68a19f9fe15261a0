"""Learn: what a seal's file tells is added to the catalogue in the seal's transaction: nothing is lost, nothing counted twice."""

import logging
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
from django.db import DataError, IntegrityError, models, transaction
from django.utils import timezone

from events.catalogue import places, sketch
from events.catalogue.observe import Seen, counted, look
from events.catalogue.places import EPOCH
from events.catalogue_models import CatalogueName, CatalogueProject, CatalogueProperty
from eventsite import metrics

log = logging.getLogger(__name__)

# Of the worker's time a seal of 1,000 rows takes 40 ms, one of 35,000 200; counting their names 9, and looking at the properties
# of eight 25 to 40 more: so they are looked at only now and then, but for names of which little is known.
LEAST_NAMES: Final = 8
ROWS_A_NAME: Final = 3_000
LOOK_AGAIN: Final = timedelta(seconds=10)
KNOWN: Final = 300  # sampled events
_NEVER: Final = ["project", "began_at", "first_received_at", "from_sampled"]  # changes once it is there


def learn(reader: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Within the seal's transaction: takes its file and who can read it. What fails is logged and costs the seal nothing."""
    try:
        with transaction.atomic():
            _learn(reader, file, timezone.now())
    except (
        duckdb.Error, DataError, IntegrityError, ArithmeticError, LookupError, TypeError, ValueError,
    ) as error:  # fmt: skip
        # Whatever its events are like, the lake goes on.
        log.error(
            "the catalogue does not know what was sealed just now: %s", " ".join(str(error).split())[:300]
        )
        metrics.LAKE_FAILURES.labels("catalogue").inc()


def forget_values(project_id: int) -> None:
    """Drops the values of a project's properties, which may be a person's; they are learned anew."""
    CatalogueProperty.objects.filter(project_id=project_id).update(
        values={}, has_all_values=False, example="", sketch=sketch.add(None, ())
    )


def _learn(reader: duckdb.DuckDBPyConnection, file: Path, now: datetime) -> None:
    seen = counted(reader, file)
    names = places.known(seen)
    projects = places.projects(seen, names)
    seen = {key: name for key, name in seen.items() if key in names or key[0] in projects}
    if not seen:
        return
    before = {row.pk: row.more_events for row in projects.values() if not row._state.adding}
    names = places.names(seen, names, projects, now)
    look(reader, file, _turn(seen, names, now))
    properties = places.properties(seen, names, now)
    changed = [row for row in projects.values() if before.get(row.pk) != row.more_events]
    _upsert(CatalogueProject, changed, by=["project"])
    _upsert(CatalogueName, list(names.values()), by=["project", "name"])
    for found in properties:
        found.of_name_id = found.of_name.pk  # new ones have their ids only now
    _upsert(CatalogueProperty, properties, by=["of_name", "key"])


def _turn(seen: Seen, names: places.Names, now: datetime) -> Seen:
    """Whose properties are looked at in this seal: half of them names of which little is known, the rest in turn."""
    rows = sum(name.occurred.count for name in seen.values())
    at_most = max(LEAST_NAMES, rows // ROWS_A_NAME)
    young = [key for key, row in names.items() if row.sampled < KNOWN]
    young.sort(key=lambda key: (-seen[key].occurred.count, key))
    chosen = young[: (at_most + 1) // 2]
    latest = max((row.looked_at or EPOCH for row in names.values()), default=EPOCH)
    if latest < now - LOOK_AGAIN:
        others = sorted(names.keys() - set(chosen), key=lambda key: (names[key].looked_at or EPOCH, key))
        chosen += others[: at_most - len(chosen)]
    for key in chosen:
        names[key].looked_at = now
    return {key: seen[key] for key in chosen}


def _upsert(model: Any, rows: Collection[models.Model], *, by: list[str]) -> None:
    """One statement for those that are new, one for the others. Plan: the unique index of `by`."""
    if not rows:
        return
    fields = [field.name for field in model._meta.concrete_fields if not field.primary_key]
    changed = [name for name in fields if name not in (*by, *_NEVER)]
    model.objects.bulk_create(rows, update_conflicts=True, unique_fields=by, update_fields=changed)
