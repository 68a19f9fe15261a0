"""What the pages of the tracking plan show: modes in words, versions with what differs, and what did not follow."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse

from events.codes import Code
from events.plan_models import PlanMode, PlanVersion, PlanViolation
from projects.models import Project

VERSIONS: Final = 20  # of one page
# Label, what becomes of an event that does not follow the plan, tone and icon.
MODES: Final = {
    "off": ("Off", "Nothing is checked; events are taken as ever.", "mute", "circle-off"),
    "warn": ("Warn", "It is taken; its receipt says what is wrong.", "warn", "triangle-alert"),
    "bury": ("Bury", "It is accepted, and waits in Failures to be mended and sent again.", "bad", "shovel"),
    "reject": ("Reject", "It is refused at the door; the rest of its request is taken.", "bad", "ban"),
}


@dataclass(frozen=True, slots=True)
class Mode:
    value: str
    label: str
    means: str
    tone: str
    icon: str


@dataclass(frozen=True, slots=True)
class Example:
    """`event`: as it is counted (events/plan/tally.py); `url`: where the event itself can be seen, or ""."""

    event: dict[str, Any]
    at: datetime
    mode: Mode
    url: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A field that was not as it should be."""

    row: PlanViolation
    examples: list[Example]


def mode_of(value: str) -> Mode:
    return Mode(value, *MODES[value])


def modes() -> list[Mode]:
    return [mode_of(value) for value in PlanMode.values]


def number(text: str | None) -> int | None:
    """Of an address or a form: what is none counts as left out."""
    return int(text) if text and text.isdecimal() and len(text) < 10 else None


def history(request: HttpRequest, project: Project, name: str) -> dict[str, Any]:
    """The latest versions, or those before `?before=`."""
    rows = PlanVersion.objects.filter(project_id=project.pk, name=name).order_by("-version").defer("schema")
    before = number(request.GET.get("before"))
    found = list((rows.filter(version__lt=before) if before else rows)[: VERSIONS + 1])
    return {
        "versions": [(one, mode_of(one.mode)) for one in found[:VERSIONS]],
        "older": found[VERSIONS - 1].version if len(found) > VERSIONS else None,
        "newest": bool(before),
    }


def violations(project: Project, name: str) -> list[Broken]:
    """The most frequent first. At most 101 are kept of a name, each with three examples."""
    rows = PlanViolation.objects.filter(project_id=project.pk, name=name).order_by("-events", "field")
    return [Broken(row, [_seen(project, one) for one in row.examples]) for row in rows]


def _seen(project: Project, example: dict[str, Any]) -> Example:
    at = datetime.fromisoformat(example["at"])
    return Example(example, at, mode_of(example["mode"]), _where(project, example))


def _where(project: Project, example: dict[str, Any]) -> str:
    """Buried ones are in Failures, those that were only warned of are stored, rejected ones are nowhere."""
    if example["mode"] == PlanMode.BURY:
        query = urlencode({"event_id": example["event_id"], "code": Code.PLAN_VIOLATION})
        return f"{reverse('failures-letters', args=[project.pk])}?{query}"
    if example["mode"] == PlanMode.WARN and (event_id := _uuid(example["event_id"])):
        return reverse("events-one", args=[project.pk, event_id])
    return ""


def _uuid(text: Any) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None
