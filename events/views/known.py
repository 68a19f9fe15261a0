"""What a project's events have: properties and their values, for suggestions and for guesses."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from django.core.cache import cache
from django.db import connection

from events.models import Segment
from events.views.asking import answer
from events.views.conditions import FIELDS, condition
from events.views.state import State

SECONDS: Final = 30
SAMPLED: Final = 500
FILES: Final = 20
MOST: Final = 200
VALUES: Final = 20
# Of what came last, for the lake knows the properties of a file only once it is merged.
_LATEST: Final = """
SELECT key, count(*) FILTER (WHERE jsonb_typeof(value) = 'number'), count(*)
FROM (SELECT properties FROM events_event WHERE project_id = %s ORDER BY occurred_at DESC LIMIT %s) AS latest,
    jsonb_each(properties)
WHERE jsonb_typeof(value) <> 'null' AND length(key) <= 200 GROUP BY key ORDER BY 3 DESC LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Property:
    """`is_number`: it is one at least now and then."""

    name: str
    is_number: bool


def properties(project_id: int) -> list[Property]:
    """The most frequent first; known for half a minute."""
    found: list[Property] | None = cache.get(key := f"properties-{project_id}")
    if found is None:
        found = _properties(project_id)
        cache.set(key, found, SECONDS)
    return found


def _properties(project_id: int) -> list[Property]:
    numbers: dict[str, bool] = {}
    with connection.cursor() as cursor:
        cursor.execute(_LATEST, [project_id, SAMPLED, MOST])
        for name, as_number, _ in cursor.fetchall():
            numbers[name] = as_number > 0
    files = Segment.objects.filter(project_id=project_id, retired_at=None).order_by("-first_day")
    older: Counter[str] = Counter()
    for columns in files.values_list("columns", flat=True)[:FILES]:
        for name, kinds in columns.items():
            older[name] += 1
            numbers[name] = numbers.get(name, False) or bool(kinds.get("n"))
    order = [*numbers] + [name for name, _ in older.most_common()]
    return [Property(name, numbers[name]) for name in list(dict.fromkeys(order))[:MOST]]


def values(state: State, what: str) -> list[str]:
    """The most frequent values of a property or field (as a filter's path has it) in the period. Raises QuestionError."""
    asked = condition(f"{what}:exists:", state.zone)
    if asked.where is None or asked.field in ("event_id", "occurred_at"):
        return []
    by = {"field": asked.field} if asked.field else {"property": list(asked.keys)}
    question = state.question(interval=None, breakdown={**by, "limit": VALUES})
    (series,) = answer(state.project, "trends", question)["series"]
    return [one["group"] for one in series["groups"] if one["group"] and not one["is_other"] and one["total"]]


def path(project_id: int, typed: str) -> str:
    """What somebody typed as the path of a filter: a field's plain name is the field, unless there is such a property."""
    typed = typed.strip()
    if typed in FIELDS and all(one.name != typed for one in properties(project_id)):
        return f"@{typed}"
    return typed
