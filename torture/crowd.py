"""Clients as SDKs are: keep-alive, the same ids again after 429, 503 or a lost connection, Retry-After honoured.

What was acknowledged is logged here, outside of the system, and nothing else is believed.
"""

import http.client
import json
import random
import threading
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from systemtest.stack import Stack

POISON = "poison"  # the name of events that the torture's database refuses
POISON_EVERY = 5  # batches
AGAIN_EVERY = 10  # sendings: sent once more after it was acknowledged
LOST_SECONDS = 0.2  # before the next try where no Retry-After came
ANSWER_SECONDS = 40.0  # longer than anything is frozen


@dataclass(frozen=True, slots=True)
class Project:
    id: int
    write_key: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An event that was answered with 202. `place`: number of the fault that was at work then."""

    project_id: int
    event_id: str
    place: int
    is_poison: bool = False


@dataclass(frozen=True, slots=True)
class Sending:
    """One request: some events of one project, the last one perhaps poison."""

    project: Project
    ids: Sequence[str]
    poison: str = ""

    def body(self) -> bytes:
        events = [
            {"id": event_id, "name": "torture", "properties": {"n": n}} for n, event_id in enumerate(self.ids)
        ]
        if self.poison:
            events.append({"id": self.poison, "name": POISON})
        return json.dumps(events if len(events) > 1 else events[0]).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` 0: the connection was lost, so nothing is known."""

    status: int
    retry_after: str | None = None


class Link:
    """One keep-alive connection. Opened again where it was lost."""

    def __init__(self, url: str) -> None:
        address = urllib.parse.urlsplit(url)
        self._connection = http.client.HTTPConnection(address.netloc, timeout=ANSWER_SECONDS)

    def post(self, sending: Sending) -> Answer:
        headers = {"Authorization": f"Bearer {sending.project.write_key}", "Content-Type": "application/json"}
        try:
            self._connection.request("POST", "/v1/events", sending.body(), headers)
            reply = self._connection.getresponse()
            body = reply.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return Answer(0)
        if reply.status == 202 and b'"rejected":0' not in body:
            return Answer(-202)  # a valid event was refused: a fault of its own
        return Answer(reply.status, reply.getheader("Retry-After"))

    def close(self) -> None:
        self._connection.close()


@dataclass
class Crowd:
    """Threads that send until they are told to stop. `seed` decides what they send, not when.

    `patient` clients wait as Retry-After says and send the same ids again; others give the events up and go on.
    `offered` counts events sent, each as often as it was; `wrong` is what no client should be answered.
    """

    url: str
    projects: Sequence[Project]
    seed: int
    threads: int = 6
    largest_batch: int = 40
    pace_seconds: float = 0.1
    patient: bool = True
    with_poison: bool = True
    place: int = 0
    offered: int = 0
    acknowledged: list[Acknowledged] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._turn = threading.Condition()
        self._open, self._stopping, self._busy = True, threading.Event(), 0

    @contextmanager
    def sending(self) -> Iterator["Crowd"]:
        crowd = [
            threading.Thread(target=self._live, args=(number,), daemon=True) for number in range(self.threads)
        ]
        for thread in crowd:
            thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            for thread in crowd:
                thread.join(ANSWER_SECONDS)

    @contextmanager
    def quiet(self, seconds: float = 120.0) -> Iterator[None]:
        """Every request under way comes to its end, and none begins before the block's end."""
        with self._turn:
            self._open = False
            if not self._turn.wait_for(lambda: not self._busy, seconds):
                raise AssertionError(
                    f"after {seconds:.0f} s {self._busy} requests still find no answer but refusals"
                )
        try:
            yield
        finally:
            with self._turn:
                self._open = True
                self._turn.notify_all()

    def deliver(self, link: Link, sending: Sending, *, note: bool = True) -> bool:
        """Sends until it is acknowledged, or once where clients are not patient; says whether it was."""
        while not self._stopping.is_set():
            self.offered += len(sending.ids)
            answer = link.post(sending)
            self._look_at(answer)
            if answer.status == 202:
                if note:
                    self.note(sending)
                return True
            if not self.patient:
                return False
            self._stopping.wait(float(answer.retry_after or LOST_SECONDS))
        return False

    def note(self, sending: Sending) -> None:
        place = self.place
        self.acknowledged += [Acknowledged(sending.project.id, event_id, place) for event_id in sending.ids]
        if sending.poison:
            self.acknowledged.append(Acknowledged(sending.project.id, sending.poison, place, is_poison=True))

    def _live(self, number: int) -> None:
        rng, link, sent = random.Random(f"{self.seed} {number}"), Link(self.url), 0
        while self._begin():
            sending = self._compose(rng, sent)
            delivered = self.deliver(link, sending)
            if delivered and sent % AGAIN_EVERY == 0 and not sending.poison:
                self.deliver(link, sending, note=False)
            sent += 1
            with self._turn:
                self._busy -= 1
                self._turn.notify_all()
            self._stopping.wait(self.pace_seconds)
        link.close()

    def _begin(self) -> bool:
        with self._turn:
            while not self._turn.wait_for(lambda: self._open or self._stopping.is_set(), 0.5):
                pass
            self._busy += 1
        return not self._stopping.is_set()

    def _compose(self, rng: random.Random, sent: int) -> Sending:
        events = 1 if rng.random() < 0.5 else rng.randint(2, self.largest_batch)
        ids = new_ids(rng, events)
        poisoned = self.with_poison and sent % POISON_EVERY == POISON_EVERY - 1
        return Sending(rng.choice(self.projects), ids, new_ids(rng, 1)[0] if poisoned else "")

    def _look_at(self, answer: Answer) -> None:
        self.answers[answer.status] += 1
        if answer.status in (429, 503):
            if not (answer.retry_after or "").isdigit() or not 1 <= int(answer.retry_after or 0) <= 60:
                self.wrong.append(f"{answer.status} with Retry-After {answer.retry_after}")
        elif answer.status not in (0, 202, 408):  # 408: frozen within a body, to be sent again as documented
            self.wrong.append(f"answered {answer.status}")


def new_ids(rng: random.Random, count: int) -> list[str]:
    return [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(count)]


def projects_of(stack: Stack, count: int) -> list[Project]:
    """The demo project and further ones, made through the API."""
    known = stack.credentials
    projects = [Project(known["project_id"], known["write_key"])]
    for number in range(1, count):
        made = _post_json(
            known["url"], "/api/projects/", {"name": f"Torture {number}"}, token=known["api_token"]
        )
        projects.append(Project(made["id"], made["write_key"]))
    return projects


def refuse_poison(stack: Stack) -> None:
    """From now on this database refuses events named `poison`, with SQLSTATE 23514."""
    stack.ask("ALTER TABLE events_event ADD CONSTRAINT torture_poison CHECK (name <> 'poison') NOT VALID")


def _post_json(url: str, path: str, body: dict[str, Any], *, token: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=20)
    headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
    connection.request("POST", path, json.dumps(body), headers)
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    if reply.status != 201:
        raise AssertionError(f"{path} answered {reply.status}: {text[:200]!r}")
    made: dict[str, Any] = json.loads(text)
    return made
