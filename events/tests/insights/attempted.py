"""Events that meet at the same moments, and every attempt of every person at a funnel, tried one by one."""

import random
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from events.tests.insights import seeded
from events.tests.insights.reference import Event, grouped

START = datetime(2026, 10, 22, tzinfo=UTC)  # the clocks of Berlin change on the 25th
HAIR = timedelta(microseconds=1)
GRID = timedelta(hours=3)
DAYS = 8
Step = Callable[[Event], bool]
Attempt = list[datetime]  # when each step was reached


def attempted(persons: int = 120, seed: int = 5) -> list[Event]:
    """Most on few moments of a grid that days, windows and periods begin and end on; the ids in no order."""
    chance = random.Random(seed)
    found = []
    for number in range(persons):
        is_nobody = number % 20 == 19
        for _ in range(chance.randrange(1, 45)):
            moment = START + chance.randrange(int(DAYS * 24 / 3)) * GRID
            nudge = chance.random()
            if nudge > 0.9:
                moment += timedelta(microseconds=chance.randrange(10**10))
            elif nudge > 0.7:
                moment += chance.choice([-HAIR, HAIR])
            found.append((None if is_nobody else number, moment))
    chance.shuffle(found)
    return [_event(chance, place + 1, *one) for place, one in enumerate(found)]


def _event(chance: random.Random, number: int, person: int | None, moment: datetime) -> Event:
    properties: dict[str, Any] = {}
    if chance.random() < 0.8:
        properties["plan"] = chance.choice(["free", "free", "pro", "team", None, 1, "1"])
    if chance.random() < 0.7:
        properties["amount"] = chance.choice([1, 5, 50, "50"])
    user = None if person is None or person % 3 == 0 else f"u{person}"
    anonymous = None if person is None else f"a{person}"
    name = chance.choice(["a", "a", "a", "b", "b", "c", "c", "d", "Zürich 'q\" %"])
    return Event(
        number, name, moment, user, anonymous, None, properties, uuid.UUID(int=chance.getrandbits(128))
    )


@pytest.fixture(scope="module")
def seeded_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any], list[Event]]:
    """In place of the reference's events, where a test module imports it."""
    return files_of(attempted(), tmp_path_factory.mktemp("attempted"))


def files_of(events: list[Event], root: Path) -> tuple[Path, list[Any], list[Event]]:
    before = django_settings.EVENTS_LAKE_DIR
    django_settings.EVENTS_LAKE_DIR = root
    try:
        return root, list(seeded._drafts(events)), events
    finally:
        django_settings.EVENTS_LAKE_DIR = before


# --- attempts, by their definition ---


def best_attempts(
    events: list[Event],
    steps: Sequence[Step],
    order: str,
    window: timedelta,
    since: datetime,
    until: datetime,
) -> dict[str, tuple[Attempt, Event]]:
    """Of each person, the attempt that gets furthest; of equal ones the one that is there first, of these the last to begin.

    With the event that it begins with: of several at one moment the one with the lowest id.
    """
    found = {}
    for person, own in grouped(events, lambda event: event.person).items():
        own.sort(key=lambda event: (event.occurred_at, event.id))
        begins = [
            event for event in own
            if since <= event.occurred_at < until and any(step(event) for step in (steps if order == "any" else steps[:1]))
        ]  # fmt: skip
        if person is None or not begins:
            continue
        tried = [(_ATTEMPT[order](own, steps, window, event.occurred_at), event) for event in begins]
        found[person] = min(
            tried,
            key=lambda one: (-len(one[0]), one[0][-1], START - one[0][0], one[1].id),
        )
    return found


def _ordered(own: list[Event], steps: Sequence[Step], window: timedelta, start: datetime) -> Attempt:
    """Every way to go on is kept, not only the earliest."""
    ways = [{start}]
    for step in steps[1:]:
        ways.append(
            {
                event.occurred_at for event in own
                if step(event) and event.occurred_at - start <= window and any(at < event.occurred_at for at in ways[-1])
            }
        )  # fmt: skip
    return [min(moments) for moments in ways if moments]


def _strict(own: list[Event], steps: Sequence[Step], window: timedelta, start: datetime) -> Attempt:
    reached = [start]
    for step in steps[1:]:
        later = [event for event in own if event.occurred_at > reached[-1]]
        directly = [event for event in later if event.occurred_at == later[0].occurred_at]
        if not any(step(event) for event in directly) or directly[0].occurred_at - start > window:
            break
        reached.append(directly[0].occurred_at)
    return reached


def _any(own: list[Event], steps: Sequence[Step], window: timedelta, start: datetime) -> Attempt:
    """Event by event, steps are handed round until one more is met, or none can be (augmenting paths)."""
    met_by: dict[int, Event] = {}
    reached = []
    for event in own:
        if timedelta(0) <= event.occurred_at - start <= window and _met(event, steps, met_by, set()):
            reached.append(event.occurred_at)
    return reached


def _met(event: Event, steps: Sequence[Step], met_by: dict[int, Event], seen: set[int]) -> bool:
    for place, step in enumerate(steps):
        if step(event) and place not in seen:
            seen.add(place)
            if place not in met_by or _met(met_by[place], steps, met_by, seen):
                met_by[place] = event
                return True
    return False


_ATTEMPT = {"ordered": _ordered, "strict": _strict, "any": _any}
