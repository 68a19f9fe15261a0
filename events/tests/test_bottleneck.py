"""The bottleneck's sentence: each state of the queue and of the latest samples names its stage and its setting."""

from typing import Any

import pytest

from events import bottleneck
from events.buffer import Standing
from events.history import Sample

NOW_MS = 1_800_000_000_000


@pytest.fixture(autouse=True)
def _settings(settings: Any) -> None:
    settings.EVENTS_DRAIN_SLOTS, settings.EVENTS_DRAIN_RATE = 2, 10
    settings.EVENTS_QUEUE_MAX_EVENTS, settings.EVENTS_QUEUE_MAX_BYTES = 1_000, 1_000_000


def standing(**fields: Any) -> Standing:
    numbers = dict.fromkeys(("events", "bytes", "entries", "drained", "drained_per_second", "accepted", "oldest_ms",
                             "progress_ms", "resumed_ms", "ticked_ms", "messages"), 0)  # fmt: skip
    others: dict[str, Any] = {"paused": None, "held": [], "at_work": [], "alarms": {}, "unbalanced": {}}
    return Standing(**(numbers | others | {"now_ms": NOW_MS} | fields))


def sample(at: int = 0, **fields: Any) -> Sample:
    known = {"seconds": 10.0, "accepted": 0, "drained": 0, "queued": 0, "bytes": 0, "oldest_seconds": 0.0, "held": 0,
             "paused": False, "full": 0, "limited": 0, "refused": 0, "projects": {}}  # fmt: skip
    return Sample(**(known | {"at": at} | fields))


def waiting(**fields: Any) -> Standing:
    return standing(events=500, oldest_ms=NOW_MS - 9_000, **fields)


BUSY = {"runs": 40, "busy": 1.9}


@pytest.mark.parametrize(
    ("stands", "recent", "stage", "setting"),
    [
        (standing(), [sample()], "", ""),
        (standing(), [], "", ""),
        (standing(), [sample(limited=5)], "accept", "EVENTS_QUOTA_PER_SECOND"),
        (standing(), [sample(full=5)], "buffer", "EVENTS_QUEUE_MAX_EVENTS"),
        (waiting(), [sample(runs=99, busy=0.4, storing=0.3)], "drain", "EVENTS_DRAIN_RATE"),
        (waiting(), [sample(**BUSY, storing=1.8)], "store", "EVENTS_DRAIN_SLOTS"),
        (waiting(), [sample(**BUSY, storing=0.5)], "drain", "EVENTS_DRAIN_SLOTS"),
        (waiting(), [sample(runs=5, busy=0.4, storing=0.3)], "drain", ""),
        (waiting(), [sample()], "drain", "EVENTS_DRAIN_SLOTS"),  # where nothing is counted
        (standing(paused="by hand"), [sample(full=5)], "drain", ""),
        (waiting(held=[1]), [sample()], "store", ""),
    ],
)
def test_the_stage_that_limits_is_named_with_its_setting(
    stands: Standing, recent: list[Sample], stage: str, setting: str
) -> None:
    found = bottleneck.limit(stands, recent, database_answers=True, stalled=False)
    assert (found.stage, setting in found.setting, bool(found.sentence)) == (stage, True, True)
    assert bool(found.setting) == bool(setting)


def test_what_is_away_comes_before_what_is_slow() -> None:
    away = bottleneck.limit(waiting(), [sample(**BUSY)], database_answers=False, stalled=True)
    stuck = bottleneck.limit(waiting(), [sample(**BUSY)], database_answers=True, stalled=True)
    assert (away.stage, away.tone, stuck.stage, stuck.tone) == ("store", "bad", "drain", "bad")


def test_senders_that_are_turned_away_make_it_bad() -> None:
    slow = [sample(**BUSY, storing=0.5, full=7)]
    found = bottleneck.limit(waiting(), slow, database_answers=True, stalled=False)
    assert (found.stage, found.tone) == ("drain", "bad")
    assert "turned away" in found.sentence


@pytest.mark.parametrize(
    ("stands", "queued", "room"),
    [
        (standing(events=600), (200, 400, 600), bottleneck.Room(0.6, 20.0)),
        (standing(events=600), (600, 600, 600), bottleneck.Room(0.6, None)),
        (standing(events=1_000), (0, 0, 1_000), bottleneck.Room(1.0, 0.0)),
        (standing(), (0, 0, 0), bottleneck.Room(0.0, None)),
    ],
)
def test_the_room_is_what_is_left_at_this_rate(
    stands: Standing, queued: tuple[int, ...], room: bottleneck.Room
) -> None:
    recent = [sample(at=10 * place, queued=events) for place, events in enumerate(queued)]
    assert bottleneck.room(stands, recent) == room
