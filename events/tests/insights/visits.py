"""Events in bursts, with silences of exactly the limit and a hair more or less; and their sessions in plain Python."""

import random
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from events.tests.insights import seeded
from events.tests.insights.reference import Event, grouped

GAP = timedelta(minutes=30)
HAIR = timedelta(microseconds=1)
DAY = timedelta(days=1)
SILENCES = [
    timedelta(0),
    timedelta(0),
    timedelta(seconds=1),
    timedelta(minutes=4),
    GAP,
    GAP - HAIR,
    GAP + HAIR,
]
LONG = [timedelta(hours=1), timedelta(hours=7), timedelta(minutes=31)]
NAMES = ["page_view", "page_view", "page_view", "order_paid", "signup", "Zürich 'q\" %", *"abcdefgh"]
EDGES = [  # of the periods that the tests ask for
    datetime(2026, 10, 23, 22, tzinfo=UTC),
    datetime(2026, 10, 26, 23, tzinfo=UTC),
]


def visits(persons: int = 60, seed: int = 3) -> list[Event]:
    """Around the change of the clocks in October, the ids in no order; some of nobody, some without a `session_id`."""
    chance = random.Random(seed)
    found: list[Event] = []
    for number in range(persons):
        moment = datetime(2026, 10, 22, 12, tzinfo=UTC) + timedelta(seconds=chance.randrange(86_400 * 4))
        session = 0
        for _ in range(chance.randrange(1, 60)):
            if chance.random() < 0.25:
                moment += chance.choice(LONG)
                session += chance.random() < 0.8
            else:
                moment += chance.choice(SILENCES)
            found.append(_event(chance, number, moment, session))
    for edge in EDGES:
        for number, silence in enumerate((GAP, GAP + HAIR, timedelta(minutes=10))):
            for moment in (edge - silence, edge, edge + GAP, edge + timedelta(minutes=61)):
                found.append(_event(chance, 1_000 + number + persons * EDGES.index(edge), moment, 0))
    for step in range(70):  # a session that goes on for more than a day after the period
        found.append(_event(chance, 2_000, EDGES[1] - 3 * GAP + step * timedelta(minutes=28), 0))
    chance.shuffle(found)
    return [replace(event, id=number + 1) for number, event in enumerate(found)]


def _event(chance: random.Random, person: int, moment: datetime, session: int) -> Event:
    is_nobody = person % 15 == 7
    user = f"u{person}" if person % 3 else None
    properties: dict[str, Any] = {}
    if chance.random() < 0.8:
        properties["plan"] = chance.choice(["free", "free", "pro", None, 1, "1", True])
    return Event(
        0, chance.choice(NAMES), moment, None if is_nobody else user, None if is_nobody else f"a{person}",
        f"s{person}.{session}" if chance.random() < 0.8 else None, properties, uuid.UUID(int=chance.getrandbits(128)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def seeded_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Any], list[Event]]]:
    """In place of the reference's events, where a test module imports it."""
    root = tmp_path_factory.mktemp("visits")
    events = visits()
    before = django_settings.EVENTS_LAKE_DIR
    django_settings.EVENTS_LAKE_DIR = root
    try:
        drafts = list(seeded._drafts(events))
    finally:
        django_settings.EVENTS_LAKE_DIR = before
    yield root, drafts, events


# --- sessions, by their definition ---


def sessions_of(events: list[Event], by: str = "silence", gap: timedelta = GAP) -> list[list[Event]]:
    """Every session there is, its events in order."""
    key = (lambda event: event.person) if by == "silence" else (lambda event: event.session_id)
    found: list[list[Event]] = []
    for whose, own in grouped(events, key).items():
        if whose is None:
            continue
        own.sort(key=lambda event: (event.occurred_at, event.id))
        current = [own[0]]
        for before, event in pairwise(own):
            if by == "silence" and event.occurred_at - before.occurred_at > gap:
                found.append(current)
                current = []
            current.append(event)
        found.append(current)
    return found
