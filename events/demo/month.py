"""In what order a month of the shop arrives: day by day, jobs between the sessions, some of it late, some of it twice. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from operator import itemgetter
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

from events.demo.people import People
from events.demo.product import Happened, Session, release_of

ZONE: Final = "Europe/Berlin"
EVENTS_A_SESSION: Final = 10.5  # measured; jobs apart
JOBS: Final = 0.04  # of all events
LATE: Final = 0.012  # of the sessions: a phone without a network, whose events come a day or two later
TWICE: Final = 0.06  # of what has an id: the answer was lost, so it was sent again
# Weights of the hours of a day in the shop's time zone.
_WORKDAY: Final = (4, 2, 1, 1, 1, 2, 6, 13, 20, 24, 27, 29, 33, 29, 27, 26, 27, 31, 36, 42, 46, 38, 24, 11)
_WEEKEND: Final = (8, 5, 3, 2, 1, 1, 2, 5, 11, 20, 28, 32, 33, 31, 31, 33, 35, 36, 37, 40, 41, 34, 23, 13)
_JOBS: Final = {
    "mails.send_receipt": 1.2, "images.resize": 4.0, "stock.sync": 18.0, "search.reindex": 95.0, "reports.daily": 140.0,
    "carts.remind": 7.0,
}  # fmt: skip


def happenings(people: People, *, events: int, days: int, now: datetime) -> Iterator[Happened]:
    """Yields about `events` events of the `days` days up to `now`, in the order of their arrival; people come to be known.

    The same for the same seed of people and the same `now`.
    """
    rng = people.rng
    sessions_a_day = events * (1 - JOBS) / EVENTS_A_SESSION / days
    people.open_before(sessions_a_day)
    today = now.astimezone(ZoneInfo(ZONE)).replace(hour=0, minute=0, second=0, microsecond=0)
    late: list[tuple[int, list[Happened]]] = []
    for day in range(days + 1):  # the first and the last are parts of days
        midnight = today - timedelta(days=days - day)
        weights = _WEEKEND if midnight.weekday() >= 5 else _WORKDAY
        arrived: list[Happened] = []
        for visitor in people.of_day(day, midnight.weekday(), days, sessions_a_day):
            hour = rng.choices(range(24), weights)[0]
            begin = midnight.replace(hour=hour, minute=rng.randrange(60), second=rng.randrange(60))
            session = Session(
                rng, people, visitor, begin.astimezone(now.tzinfo), now, f"s-{rng.getrandbits(48):012x}"
            )
            done = session.run()
            if rng.random() < LATE and day < days - 3:
                late.append((day + rng.choice((1, 1, 2)), done))
            else:
                arrived += done
        arrived += _jobs(rng, midnight.astimezone(now.tzinfo), now, round(events * JOBS / days))
        arrived.sort(key=itemgetter("occurred_at"))
        for until, done in late:
            if until == day:
                arrived += done
        for event in arrived:
            if now - timedelta(days=days) <= event["occurred_at"] <= now:
                yield event
                if "id" in event and rng.random() < TWICE:
                    yield event


def _jobs(rng: Random, midnight: datetime, now: datetime, count: int) -> list[Happened]:
    made: list[Happened] = []
    for _ in range(count):
        job, seconds = rng.choice(list(_JOBS.items()))
        at_night = job in ("search.reindex", "reports.daily")
        at = midnight + timedelta(
            seconds=rng.uniform(3_600 * 2, 3_600 * 4) if at_night else rng.uniform(0, 86_400)
        )
        fails = rng.random() < 0.012
        properties = {
            "job": job, "queue": "nightly" if at_night else "default", "attempt": 1 + (rng.random() < 0.05),
            "runtime_s": round(seconds * rng.lognormvariate(0, 0.4), 2),
        }  # fmt: skip
        name = "job_failed" if fails else "job_finished"
        context = {"platform": "worker", "release": release_of(now - at)}
        made.append({"name": name, "occurred_at": at, "properties": properties, "context": context})
    return made
