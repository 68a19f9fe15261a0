"""Trace: the way of one event by its id, with the milliseconds between its steps."""

from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from events.trace import Step, Trace, trace
from events.views.asking import tried
from eventsite.pages import page, place_exists, project_or_404, signed_in
from eventsite.valkey import sync_client

# Step -> icon, tone, what it means.
_STEPS: Final = {
    "accepted": ("circle-check", "good", "Accepted: the sender has its receipt"),
    "queued": ("layers", "warn", "In the queue, to be stored"),
    "failed": ("circle-x", "bad", "An attempt to store it failed"),
    "stored": ("database", "good", "Stored: its row was written"),
    "batch": ("package-check", "good", "Its batch was committed"),
    "buried": ("shovel", "bad", "Buried: it could not be stored, and waits to be mended"),
    "sent again": ("rotate-ccw", "warn", "Sent again"),
    "replayed": ("circle-check", "good", "The replay came to its end"),
    "discarded": ("trash-2", "mute", "Discarded"),
}
_NOW: Final = {
    "stored": ("good", "circle-check", "It is stored."),
    "queued": ("warn", "layers", "It waits in the queue."),
    "dead": ("bad", "shovel", "It is buried: mend it among the failures."),
    "replaying": ("warn", "rotate-ccw", "It was sent again, and is on its way."),
    "replayed": ("good", "circle-check", "It was sent again."),
    "discarded": ("mute", "trash-2", "It was discarded."),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A step for people. `seconds` since the step before, `width` its share of the whole way in per cent."""

    step: Step
    icon: str
    tone: str
    words: str
    seconds: float | None
    width: float
    facts: list[tuple[str, Any]]


@require_safe
@signed_in
def trace_page(request: HttpRequest, project_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    sent_id = request.GET.get("id", "").strip()
    context: dict[str, Any] = {"sent_id": sent_id, "events_url": reverse("events", args=[project.pk])}
    if sent_id:
        context |= tried(lambda: _shown(trace(sync_client(), project.pk, sent_id)))
    return page(request, "events/trace.html", context, project=project)


def _shown(found: Trace) -> dict[str, Any]:
    tone, icon, words = _NOW.get(found.now, ("mute", "search-x", "Never seen here."))
    total = sum(step.ms or 0 for step in found.steps)
    stored = next((step for step in found.steps if step.step == "stored"), None)
    return {
        "found": found,
        "steps": [_step(step, total) for step in found.steps],
        "seconds": total / 1000,
        "tone": tone,
        "icon": icon,
        "words": words,
        "event_url": reverse("events-one", args=[found.project_id, found.event_ids[0]])
        if stored and found.event_ids
        else "",
        "failures_url": reverse("failures", args=[found.project_id])
        if found.now == "dead" and place_exists("failures")
        else "",
    }


def _step(step: Step, total: float) -> Shown:
    icon, tone, words = _STEPS.get(step.step, ("circle-dot", "mute", step.step))
    facts = [(name.replace("_", " "), value) for name, value in step.about.items() if value not in (None, "")]
    width = round(100 * step.ms / total, 1) if step.ms and total else 0.0
    return Shown(step, icon, tone, words, None if step.ms is None else step.ms / 1000, width, facts)
