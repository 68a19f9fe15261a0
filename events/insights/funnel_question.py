"""What a funnel is asked, and what of it the types alone do not refuse."""

import re
from datetime import timedelta
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from events.insights.errors import BadQuestion
from events.insights.named import NamedEvent
from events.insights.person_pages import PersonsPage
from events.insights.question import Breakdown, Question

MAX_STEPS: Final = 8
MAX_WINDOW: Final = timedelta(days=366)
_LAST: Final = re.compile(r"([1-9][0-9]{0,7})(min|h|d|w)", re.ASCII)
_SECONDS: Final = {"min": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class FunnelStep(NamedEvent, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """An event of one of the names (null: any) that meets `where`."""

    label: Annotated[str, Meta(max_length=200)] | None = None


class FunnelWindow(Struct, forbid_unknown_fields=True, frozen=True):
    """`7d`: min, h, d (24 hours), w."""

    last: Annotated[str, Meta(max_length=20, examples=["7d"])]


class FunnelPersons(PersonsPage, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """Who reached a step (`converted`), or the one before and not this (`dropped`)."""

    step: Annotated[int, Meta(ge=1, le=MAX_STEPS, description="From 1.")]
    state: Literal["converted", "dropped"] = "converted"


class FunnelQuestion(Question, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """With `persons`, a page of them instead of the figures."""

    steps: Annotated[list[FunnelStep], Meta(min_length=2, max_length=MAX_STEPS)]
    window: (
        Annotated[int, Meta(ge=1, le=int(MAX_WINDOW.total_seconds()), description="Seconds.")] | FunnelWindow
    ) = FunnelWindow("7d")
    order: Annotated[
        Literal["ordered", "strict", "any"],
        Meta(description="`ordered`: others may lie between; `strict`: nothing may; `any`: in any order."),
    ] = "ordered"
    breakdown: Annotated[
        Breakdown | None, Meta(description="By a property of the event that the attempt begins with.")
    ] = None
    persons: FunnelPersons | None = None


def window_of(asked: int | FunnelWindow) -> timedelta:
    if isinstance(asked, int):
        return timedelta(seconds=asked)
    found = _LAST.fullmatch(asked.last)
    if not found:
        raise BadQuestion("window.last", "Give a number and a unit: 30min, 24h, 7d, 2w.")
    seconds = int(found[1]) * _SECONDS[found[2]]
    if seconds > MAX_WINDOW.total_seconds():
        raise BadQuestion("window.last", f"More than {MAX_WINDOW.days} days.")
    return timedelta(seconds=seconds)


def check_persons(asked: FunnelQuestion) -> None:
    persons = asked.persons
    if persons is None:
        return
    if persons.step > len(asked.steps):
        raise BadQuestion("persons.step", f"There are {len(asked.steps)} steps, numbered from 1.")
    if persons.state == "dropped" and persons.step == 1:
        raise BadQuestion("persons.step", "Nobody can drop out before the first step.")
