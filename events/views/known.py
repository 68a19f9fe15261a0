"""What a project's events have: properties and their values, for suggestions and for guesses. The catalogue knows most of it."""

from typing import Final

from django.core.cache import cache

from events.catalogue import suggest
from events.catalogue.suggest import Property
from events.views.asking import answer
from events.views.conditions import FIELDS, condition
from events.views.state import State

SECONDS: Final = 30
VALUES: Final = 20


def properties(project_id: int) -> list[Property]:
    """The most frequent first; known for half a minute."""
    found: list[Property] | None = cache.get(key := f"properties-{project_id}")
    if found is None:
        found = suggest.properties(project_id)
        cache.set(key, found, SECONDS)
    return found


def values(state: State, what: str) -> list[str]:
    """Frequent values of a property or field (as a filter's path has it). Raises QuestionError.

    The catalogue's. It follows neither persons and sessions nor what lies within a value: of those, the lake's in the period.
    """
    asked = condition(f"{what}:exists:", state.zone)
    if asked.where is None or asked.field in ("event_id", "occurred_at"):
        return []
    if asked.field == "name":
        return suggest.names(state.project.pk)
    if len(asked.keys) == 1:
        return suggest.values(state.project.pk, asked.keys[0], state.of_name)
    return _asked(state, {"field": asked.field} if asked.field else {"property": list(asked.keys)})


def _asked(state: State, by: dict[str, object]) -> list[str]:
    question = state.question(interval=None, breakdown={**by, "limit": VALUES})
    (series,) = answer(state.project, "trends", question)["series"]
    return [one["group"] for one in series["groups"] if one["group"] and not one["is_other"] and one["total"]]


def path(project_id: int, typed: str) -> str:
    """What somebody typed as the path of a filter: a field's plain name is the field, unless there is such a property."""
    typed = typed.strip()
    if typed in FIELDS and all(one.name != typed for one in properties(project_id)):
        return f"@{typed}"
    return typed
