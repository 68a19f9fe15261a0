"""The strip of numbers of the overview, each against the period before."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone

from events.models import Event
from events.views.overview_asked import MEASURES, Asked
from events.views.state import State
from eventsite.templatetags.pages import compact, number

MANIFOLD: Final = 10  # a rise is then told as so many times, not in per cent
WHOLE: Final = 100_000_000  # numbers up to here are written out
NOW_SECONDS: Final = 60
NOW_COUNTED: Final = 100_000


def stats(asked: Asked) -> dict[str, Any]:
    latency = asked.guesses.latency
    series: list[dict[str, Any]] = [
        {"label": "events"},
        {"label": "persons", "measure": {"kind": "persons"}},
        {"label": "errors", "where": asked.guesses.errors},
    ]
    if latency:
        series.append({"label": "latency", "measure": {"kind": "p95", "property": latency}})
    found = asked.trends(
        series=series,
        ratio=[2, 0],
        totals=True,
        compare=asked.compared,
    )
    events, persons, _, *times = found["series"]
    shown = [
        _stat("events", events, _count, good_up=True),
        _stat("persons", persons, _count, good_up=True),
        _stat("errors", found["ratio"], _per_cent, unit="%", good_up=False),
    ]
    if times:
        shown.append(_stat("latency", times[0], figure, unit=asked.guesses.unit, good_up=False))
    else:
        shown.append(
            {
                "measure": "latency",
                "label": "Latency",
                "value": "–",
                "detail": "no property like duration_ms",
                "values": [],  # without it a template would take the dict's method
            }
        )
    for one in shown[: len(MEASURES) if latency else -1]:
        one["url"] = asked.state.links.set(measure=one["measure"])
        one["is_current"] = one["measure"] == asked.measure
    return {"stats": shown, "now": _now(asked.state), "seconds": NOW_SECONDS, "is_empty": not events["total"]}


def _stat(
    measure: str, line: dict[str, Any], text: Callable[[Any], str], *, unit: str = "", good_up: bool
) -> dict[str, Any]:
    total, before = line["total"], line.get("previous", {}).get("total")
    found: dict[str, Any] = {
        "measure": measure, "label": MEASURES[measure], "value": text(total), "unit": unit if total is not None else "",
        "values": [value or 0 for value in line["values"] or []], "tone": "bad" if measure == "errors" else "",
    }  # fmt: skip
    if before is not None:
        found["detail"] = f"vs {compact(before) if text is _count else text(before)} {unit}".strip()
        found |= change(total, before, good_up=good_up, in_points=measure == "errors")
    return found


def change(total: Any, before: Any, *, good_up: bool, in_points: bool = False) -> dict[str, Any]:
    """Empty where there is nothing to compare, or no difference that would be seen."""
    if total is None or before is None or (not before and not in_points):
        return {}
    difference = total - before
    if in_points:
        text = f"{abs(difference) * 100:.2f} pt"
    elif total >= MANIFOLD * before > 0:
        text = f"{total / before:,.0f} ×"
    else:
        text = f"{abs(difference) / before * 100:.1f} %"
    if not any(digit in text for digit in "123456789"):
        return {}
    is_up = difference > 0
    return {"change": text, "change_up": is_up, "change_tone": "good" if is_up == good_up else "bad"}


def _now(state: State) -> float:
    """Events a second that came in within a minute: from PostgreSQL, which has them first. Filters do not touch it."""
    since = timezone.now() - timedelta(seconds=NOW_SECONDS)
    latest = Event.objects.filter(
        project_id=state.project.pk, occurred_at__gte=since, received_at__gte=since
    ).order_by()
    return latest[:NOW_COUNTED].count() / NOW_SECONDS


def _count(value: int | None) -> str:
    return number(value) if value is None or value < WHOLE else compact(value)


def _per_cent(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.2f}"


def figure(value: float | None) -> str:
    return "–" if value is None else number(value, 0) if abs(value) >= 100 else f"{value:.3g}"
