"""The form of one name's plan: as it is in force, drafted from events, or saved as a new version."""

from dataclasses import dataclass, field
from typing import Final

import msgspec
from django import db
from django.http import QueryDict

from events import plan_change
from events.plan import draft
from events.plan_models import PlanMode, PlanVersion
from events.views.settings_plan_shown import number
from events.views.settings_plan_text import BadText, Fault, read, written
from projects.models import Project

MAX_NOTE: Final = 300
EMPTY: Final = '{\n  "type": "object"\n}'


@dataclass(slots=True)
class Typed:
    """What stands in the form, and what is wrong with it. `based_on`: the version that whoever types has seen."""

    text: str
    mode: str
    based_on: int
    note: str = ""
    fault: Fault | None = None
    errors: dict[str, str] = field(default_factory=dict)
    drafted_from: int = 0
    drawn_from: str = ""
    no_draft: str = ""
    taken_from: int | None = None

    @property
    def is_refused(self) -> bool:
        return bool(self.fault or self.errors)

    @property
    def lines(self) -> int:
        return min(32, max(12, self.text.count("\n") + 2))


def in_force(latest: PlanVersion | None, *, wanted: str | None = None) -> Typed:
    """The version in force; `wanted`: with the schema of an older one, to be saved again."""
    if latest is None:
        return Typed(EMPTY, PlanMode.WARN, 0)
    older = None
    if (version := number(wanted)) not in (None, latest.version):
        same_name = PlanVersion.objects.filter(project_id=latest.project_id, name=latest.name)
        older = same_name.filter(version=version).first()
    text = written((older or latest).schema)
    return Typed(text, latest.mode, latest.version, taken_from=older.version if older else None)


def typed(fields: QueryDict, latest: PlanVersion | None) -> Typed:
    based_on = number(fields.get("based_on"))
    return Typed(
        text=lines_of(fields.get("schema", "")),
        mode=fields.get("mode", ""),
        based_on=based_on if based_on is not None else latest.version if latest else 0,
        note=fields.get("note", "").strip(),
    )


def lines_of(text: str) -> str:
    """A form sends lines with CR LF."""
    return text.replace("\r\n", "\n")


def fill(form: Typed, project: Project, name: str) -> None:
    """Puts a draft in the place of the text. Nothing is saved."""
    try:
        made = draft.draft(project.pk, name)
    except db.OperationalError:  # its statement_timeout
        form.no_draft = "Looking at the latest events took too long. Try again later."
        return
    if made.events:
        form.text = written(msgspec.json.encode(made.schema))
        form.drafted_from, form.drawn_from = made.events, made.drawn_from
    else:
        form.no_draft = "No event of this name has come: there is nothing to draft from."


def save(form: Typed, project: Project, name: str, *, by: str) -> PlanVersion | None:
    """Returns the version in force; None where it is refused, and the form says why."""
    if form.mode not in PlanMode.values:
        form.errors["mode"] = "Choose what becomes of events that do not follow the plan."
    if len(form.note) > MAX_NOTE or "\0" in form.note:
        form.errors["note"] = f"At most {MAX_NOTE} characters are kept."
    try:
        schema = read(form.text)
    except BadText as error:
        form.fault = error.fault
    if form.is_refused:
        return None
    try:
        return plan_change.change(
            project, name, by=by, mode=form.mode, schema=schema, note=form.note, based_on=form.based_on
        )
    except plan_change.TooManyNames:
        form.errors["all"] = f"A project may have plans for {plan_change.MAX_NAMES} names."
    except plan_change.Outdated as outdated:
        form.errors["all"] = (
            f"Version {outdated.version} was made meanwhile. Below stands what it changed; saving again puts yours after it."
        )
        form.based_on = outdated.version
    return None
