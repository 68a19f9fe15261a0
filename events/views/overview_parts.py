"""The parts of the overview: each asks its own questions, and returns what its template shows."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

from django.urls import reverse

from events import deadletter
from events.deadletter import Wanted
from events.models import LetterState
from events.views.conditions import of_property
from events.views.overview_asked import Asked
from events.views.overview_chart import chart
from events.views.overview_stats import figure, stats
from events.views.state import State

ROWS: Final = 8


def top(asked: Asked) -> dict[str, Any]:
    found = asked.trends(
        series=[{}, {"measure": {"kind": "persons"}}],
        breakdown={"field": "name", "limit": ROWS},
        interval=None,
    )
    events, persons = (series["groups"] for series in found["series"])
    pairs = [(one, other) for one, other in zip(events, persons, strict=True) if one["total"]]
    rows = [
        {"label": one["group"], "events": one["total"], "persons": other["total"], "is_other": one["is_other"],
            "url": "" if one["is_other"] else asked.state.with_name(one["group"])}
        for one, other in pairs
    ]  # fmt: skip
    most = max((row["events"] for row in rows if not row["is_other"]), default=0)
    return {"rows": rows, "most": most, "is_empty": not rows}


def slowest(asked: Asked) -> dict[str, Any]:
    guesses = asked.guesses
    if not guesses.latency:
        return {"is_unknown": True}
    by = {"property": guesses.by} if guesses.by else {"field": "name"}
    found = asked.latency(interval=None, breakdown={**by, "limit": ROWS, "min_count": 1})
    rows = [
        {"label": "none" if one["group"] is None else one["group"], "p95": figure(one["p95"]), "width": one["p95"],
            "events": one["measured"], "url": _grouped(asked.state, guesses.by, one["group"])}
        for one in found["slowest"] if one["measured"]
    ]  # fmt: skip
    return {
        "rows": rows, "most": max((row["width"] for row in rows), default=0), "by": guesses.by or "name",
        "latency": guesses.latency, "unit": guesses.unit, "is_empty": not rows,
    }  # fmt: skip


def _grouped(state: State, by: str, group: str | None) -> str:
    return state.links.adding(of_property(by, group)) if by else state.with_name(group or "")


def failures(asked: Asked) -> dict[str, Any]:
    """What waits to be mended, whenever it failed: the period does not touch it."""
    wanted = Wanted(project_id=asked.state.project.pk, state=LetterState.WAITING)
    found = deadletter.groups(wanted).groups
    address = reverse("failures-letters", args=[asked.state.project.pk])
    rows = [
        {"group": one, "url": f"{address}?{urlencode({'fingerprint': one.fingerprint})}"} for one in found[:5]
    ]
    return {"rows": rows, "waiting": sum(one.letters for one in found), "is_empty": not found}


PARTS: Final[dict[str, Callable[[Asked], dict[str, Any]]]] = {
    "stats": stats,
    "chart": chart,
    "top": top,
    "slowest": slowest,
    "failures": failures,
}
