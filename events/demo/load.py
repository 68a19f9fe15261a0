"""How the demo gets in: accepted and pushed as the edge does it, then watched until it is stored and in the lake."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import msgspec
import redis

from events import buffer, ledger, receive
from events.codes import OF_WARNED, Code
from events.demo.product import Happened
from events.lake import snapshot
from events.limits import Limits
from events.plan.book import Book
from events.plan.tally import Tallied

REQUEST_EVENTS: Final = 1_000
MOST_QUEUED: Final = 20_000  # events; more would only wait, and others share the queue
TRIES: Final = 5
POLL_SECONDS: Final = 0.1
STALL_SECONDS: Final = 60.0
TICKED_SECONDS: Final = 15.0  # the tick comes once a second


class Stalled(Exception):
    """Nothing has moved for a minute, or nothing works on the queue; says what to do."""


@dataclass(slots=True)
class Loaded:
    """What was sent, in events. `accepted` are in the queue or beyond."""

    accepted: int = 0
    refused: int = 0
    warned: int = 0


@dataclass(slots=True)
class Loader:
    """Sends events of one project. `ring` wakes a drain slot. What it pushed is durable, as after a request's 202."""

    client: redis.Redis
    project_id: int
    ring: Callable[[int], None]
    loaded: Loaded = field(default_factory=Loaded)
    _book: Book = field(default_factory=Book)

    def send(self, events: Iterable[Happened]) -> Iterator[int]:
        """Sends all, some thousand at a time; yields how many events were accepted so far. Raises Stalled, redis.RedisError."""
        waiting = iter(events)
        while some := list(islice(waiting, REQUEST_EVENTS)):
            self._wait_for_room()
            self._send(msgspec.json.encode(some))
            yield self.loaded.accepted

    def _send(self, body: bytes) -> None:
        if self._book.is_due(self.project_id):
            self._book.refresh(self.client, self.project_id)
        plan = self._book.plan(self.project_id)
        decision = receive.decide(
            body, project_id=self.project_id, content_encoding=b"", content_type=b"application/json",
            wanted=receive.NO_OPTIONS, idempotency_key=None, limits=Limits.from_settings(),
            plan=plan.at_door if plan else None,
        )  # fmt: skip
        hour = buffer.hour_of(decision.received_ms)
        if rows := receive.encoded(decision):
            self._push(buffer.unit(self.project_id, rows, decision.received_ms))
        counts = Counter(
            {(self.project_id, hour, code): n for code, n in receive.refused_counts(decision).items()}
        )
        if warned := receive.warned(decision):
            counts[self.project_id, hour, OF_WARNED + Code.PLAN_VIOLATION] += warned
        if counts:
            buffer.count_rejected(self.client, counts)
        if decision.off_plan:
            tallied = Tallied()
            tallied.add(decision.off_plan)
            tallied.send(self.client)
        self.loaded.accepted += len(rows)
        self.loaded.refused += len(decision.errors)
        self.loaded.warned += warned

    def _push(self, unit: buffer.Unit) -> None:
        """Where nothing is known, the same rows go again: their ids are theirs already, so the store tells them apart."""
        for left in reversed(range(TRIES)):
            try:
                pushed = buffer.push(self.client, [unit])
            except redis.RedisError:
                if not left:
                    raise
                continue
            if pushed.ring is not None:
                self.ring(pushed.ring)
            (outcome,) = pushed.outcomes
            if outcome.is_taken:
                return
            time.sleep(min(5, outcome.wait_seconds or 1))  # as a client that is told to come again
        raise Stalled(f"The queue does not take the events: {outcome.code}.")

    def _wait_for_room(self) -> None:
        if buffer.depth(self.client).events > MOST_QUEUED:
            wait(
                lambda: buffer.depth(self.client).events <= MOST_QUEUED // 2,
                moves=lambda: buffer.standing(self.client).drained,
            )


def check_stack(client: redis.Redis) -> None:
    """Raises Stalled where nothing would drain what is sent. A stack that has only just started may have to tick yet."""
    until = time.monotonic() + TICKED_SECONDS
    while not _ticks(standing := buffer.standing(client)) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    if not _ticks(standing):
        raise Stalled("Nothing works on the queue. Start the stack first: make up (or make start).")
    if standing.paused is not None:
        raise Stalled(f"Draining is paused ({standing.paused}). Resume first: manage.py pipeline resume")


def _ticks(standing: buffer.Standing) -> bool:
    return standing.now_ms - standing.ticked_ms <= TICKED_SECONDS * 1000


def wait(condition: Callable[[], bool], *, moves: Callable[[], object]) -> None:
    """Waits until it holds. Raises Stalled once `moves` has answered the same for a minute."""
    known, since = moves(), time.monotonic()
    while not condition():
        now = moves()
        if now != known:
            known, since = now, time.monotonic()
        if time.monotonic() - since > STALL_SECONDS:
            raise Stalled("Nothing has moved for a minute: look at manage.py pipeline status")
        time.sleep(POLL_SECONDS)


def wait_until_stored(client: redis.Redis, project_id: int, since: datetime) -> list[ledger.Line]:
    """Returns the project's lines of the ledger since a time, once none of its events is queued."""
    hour = since.replace(minute=0, second=0, microsecond=0)

    def lines() -> list[ledger.Line]:
        return ledger.lines(client, since=hour, project_id=project_id)

    wait(
        lambda: not any(line.queued or line.difference for line in lines()),
        moves=lambda: buffer.standing(client).drained,
    )
    return lines()


def wait_until_sealed() -> bool:
    """Waits until what is stored by now is in the lake, where questions find it; False if that takes over a minute."""
    begun = datetime.now(UTC)
    try:
        wait(lambda: snapshot.lag() <= datetime.now(UTC) - begun, moves=lambda: None)
    except Stalled:
        return False
    return True
