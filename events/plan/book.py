"""The plans as a process knows them: looked up in Valkey's mirror every other second, by whoever needs one then."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import redis
import redis.asyncio

from events.plan import wire
from events.plan.check import Check
from events.plan_models import PlanMode

LOOK_SECONDS: Final = 2.0  # with the tick that repairs the mirror, a change is everywhere within 5 s
WAIT_SECONDS: Final = 0.5
MAX_PROJECTS: Final = 200  # whose plans a process holds; the one asked for longest ago gives way
_KEYS: Final = [wire.VERSION, wire.REVISIONS, wire.DOCUMENTS]
AT_THE_DOOR: Final = (PlanMode.WARN, PlanMode.REJECT)
# A rejecting plan is kept by the store too: for what passed the door before the plan came there, and what is sent again.
AT_THE_STORE: Final = (PlanMode.BURY, PlanMode.REJECT)

Checks = Mapping[str, Check]  # by event name


class ProjectPlan:
    """One project's plan: what is checked when an event is accepted, and what when it is stored."""

    __slots__ = ("at_door", "at_store", "revision")

    def __init__(self, revision: bytes, checks: list[Check]) -> None:
        self.revision = revision
        self.at_door: Checks = {check.name: check for check in checks if check.mode in AT_THE_DOOR}
        self.at_store: Checks = {check.name: check for check in checks if check.mode in AT_THE_STORE}


class Book:
    """Answers from what it knows, once `refresh` (or `refresh_async`) was called where `is_due` says so. Of one event loop."""

    def __init__(self) -> None:
        self._version = b""
        self._revisions: dict[int, bytes] = {}
        self._plans: OrderedDict[int, ProjectPlan] = OrderedDict()
        self._next_look = 0.0
        self._has_looked = False
        self._looks: dict[int, asyncio.Task[None]] = {}

    def is_due(self, project_id: int) -> bool:
        return time.monotonic() >= self._next_look or self._lacks(project_id)

    def _lacks(self, project_id: int) -> bool:
        if not self._has_looked:
            return True
        revision = self._revisions.get(project_id)
        return revision is not None and (
            project_id not in self._plans or self._plans[project_id].revision != revision
        )

    def plan(self, project_id: int) -> ProjectPlan | None:
        """Returns the project's plan as far as it is known; None where nothing is asked of its events."""
        return self._plans.get(project_id) if project_id in self._revisions else None

    def refresh(self, client: redis.Redis, project_id: int) -> None:
        """Looks. Raises redis.RedisError only where nothing is known of the project's plan, not even what was."""
        script = client.register_script(wire.script("look"))
        try:
            self._learn(project_id, script(_KEYS, self._known(project_id)))
        except redis.RedisError:
            self._next_look = time.monotonic() + LOOK_SECONDS
            if self._lacks(project_id):
                raise

    async def refresh_async(self, client: redis.asyncio.Redis, project_id: int) -> None:
        """The same; concurrent requests of a project wait for one look. Raises OSError as well."""
        look = self._looks.get(project_id)
        if look is None:
            look = self._looks[project_id] = asyncio.create_task(self._look(client, project_id))
        await asyncio.shield(look)
        if self._lacks(project_id):
            raise redis.ConnectionError

    async def _look(self, client: redis.asyncio.Redis, project_id: int) -> None:
        """Raises nothing: its waiters may all be gone, and then nobody would hear of it."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                script = client.register_script(wire.script("look"))
                self._learn(project_id, await script(_KEYS, self._known(project_id)))
        except (redis.RedisError, OSError):
            self._next_look = time.monotonic() + LOOK_SECONDS
        finally:
            del self._looks[project_id]

    def _known(self, project_id: int) -> list[Any]:
        plan = self._plans.get(project_id)
        return [self._version, project_id, plan.revision if plan else b""]

    def _learn(self, project_id: int, answer: list[Any]) -> None:
        version, revisions, revision, document = answer
        self._next_look = time.monotonic() + LOOK_SECONDS
        self._has_looked = True
        if not version:
            return  # a Valkey that was emptied, until the tick has filled the mirror: what was known goes on
        if version != self._version:
            pairs = iter(revisions)
            self._revisions = {int(name): value for name, value in zip(pairs, pairs, strict=True)}
            self._version = version
        if not revision:
            self._revisions.pop(project_id, None)
            self._plans.pop(project_id, None)
        elif document:
            self._revisions[project_id] = revision
            self._plans[project_id] = ProjectPlan(revision, wire.checks(document))
            if len(self._plans) > MAX_PROJECTS:
                self._plans.popitem(last=False)
        if project_id in self._plans:
            self._plans.move_to_end(project_id)
