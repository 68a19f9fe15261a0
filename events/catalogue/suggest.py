"""What a project has, in the order in which somebody is likely to look for it: names, properties, values. Within milliseconds."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from django.db.models import Count, Q, QuerySet, Sum

from events.catalogue.observe import MAX_VALUE
from events.catalogue_models import CatalogueName, CatalogueProperty

MOST: Final = 200
VALUES: Final = 20


@dataclass(frozen=True, slots=True)
class Property:
    """`is_number`: it is one at least now and then."""

    name: str
    is_number: bool


def names(project_id: int) -> list[str]:
    """The most frequent first."""
    rows = CatalogueName.objects.filter(project_id=project_id).order_by("-events", "name")
    return list(rows.values_list("name", flat=True)[:MOST])


def properties(project_id: int, of_name: str = "") -> list[Property]:
    """The most frequent first; of one name's events, or of all."""
    numbers = Count("id", filter=Q(types__has_key="number"))
    rows = _rows(project_id, of_name).values("key").annotate(found=Sum("events"), numbers=numbers)
    ordered = rows.order_by("-found", "key")[:MOST]
    return [Property(row["key"], row["numbers"] > 0) for row in ordered]


def values(project_id: int, key: str, of_name: str = "") -> list[str]:
    """Frequent texts of a property, the most frequent first; without those that the catalogue cuts: no value equals them."""
    found: Counter[str] = Counter()
    for counts in _rows(project_id, of_name).filter(key=key).values_list("values", flat=True):
        found.update({text: count for text, count in counts.items() if 0 < len(text) < MAX_VALUE})
    return sorted(found, key=lambda text: (-found[text], text))[:VALUES]


def _rows(project_id: int, of_name: str) -> QuerySet[CatalogueProperty]:
    rows = CatalogueProperty.objects.filter(project_id=project_id)
    return rows.filter(of_name__name=of_name) if of_name else rows
