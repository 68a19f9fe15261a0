"""The shop goes on: sessions that begin now, their events when their time has come. For pages that show the present."""

import heapq
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from events.demo.month import EVENTS_A_SESSION
from events.demo.people import People
from events.demo.product import Happened, Session

RAN_BEFORE: Final = timedelta(minutes=4)  # sessions that are under way when it begins: most are shorter


@dataclass(slots=True)
class Live:
    """`rate`: about so many events a second. Pure but for what the caller says is the time."""

    people: People
    rate: float
    day: int  # today, as the month numbers its days
    until: datetime  # sessions that begin before are made
    _coming: list[tuple[datetime, int, Happened]] = field(default_factory=list)
    _made: int = 0
    _told: datetime | None = None

    def due(self, now: datetime) -> list[Happened]:
        """Returns what has happened since the last call; the first tells nothing of the time before."""
        if self._told is None:
            self._told, self.until = self.until, self.until - RAN_BEFORE
        while self.until < now:
            self.until += timedelta(seconds=self.people.rng.expovariate(self.rate / EVENTS_A_SESSION))
            self._begin(self.until)
        found = []
        while self._coming and self._coming[0][0] <= now:
            at, _, event = heapq.heappop(self._coming)
            if at > self._told:
                found.append(event)
        self._told = now
        return found

    def _begin(self, at: datetime) -> None:
        people, name = self.people, f"s-{self.people.rng.getrandbits(48):012x}"
        for event in Session(people.rng, people, people.one(self.day), at, at, name).run():
            self._made += 1  # nothing compares two events
            heapq.heappush(self._coming, (event["occurred_at"], self._made, event))
