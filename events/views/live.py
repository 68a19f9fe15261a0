"""The live stream's address for a state: it knows names, a person and equal properties; what else is set is said, not done."""

from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from events.views.conditions import Condition
from events.views.state import State


def listening(asked: State) -> dict[str, Any]:
    """What templates/events/_live.html shows."""
    parameters: list[tuple[str, str]] = []
    ignored: list[str] = []
    for one in asked.conditions:
        if found := _parameters(one, [name for name, _ in parameters]):
            parameters += found
        else:
            ignored.append(one.label)
    address = reverse("api-live", args=[asked.project.pk])
    return {
        "url": f"{address}?{urlencode(parameters)}" if parameters else address,
        "ignored": ignored,
        "one_url": reverse("events", args=[asked.project.pk]) + "/",
        "query": asked.links.set().partition("?")[2],
        "zone": asked.zone.key,
    }


def _parameters(one: Condition, taken: list[str]) -> list[tuple[str, str]]:
    """Empty where the stream cannot tell: several `name` are any of them, two persons are refused."""
    if one.field == "name" and one.op == "eq" and "name" not in taken:
        return [("name", one.value)]
    if one.field == "name" and one.op == "in" and "name" not in taken:
        values = (one.where or {}).get("value", [])
        return [("name", value) for value in values]
    if one.field == "person" and one.op == "eq" and "person" not in taken:
        return [("person", one.value)]
    if len(one.keys) == 1 and one.op == "eq" and one.keys[0]:
        return [(f"property.{one.keys[0]}", one.value)]
    return []
