"""The edge with limits of its own, called as an ASGI server calls it: slow bodies, and bytes in flight."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest
import redis

from events.edge import Edge
from projects.services import CreatedProject

Message = MutableMapping[str, Any]


class Caller:
    """One request: its body messages wait until the test puts them."""

    def __init__(self, edge: Edge, key: str) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        self.is_answered = asyncio.Event()
        headers = [(b"x-api-key", key.encode())]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/events",
            "query_string": b"",
            "headers": headers,
        }
        self.task = asyncio.create_task(edge(scope, self.messages.get, self._send))

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body":
            self.is_answered.set()

    async def body(self, part: bytes, *, more: bool = False) -> None:
        await self.messages.put({"type": "http.request", "body": part, "more_body": more})

    async def answer(self) -> tuple[int, str]:
        await self.is_answered.wait()
        return self.sent[0]["status"], json.loads(self.sent[1]["body"]).get("code", "")


async def _nobody(*_: Any) -> None:
    raise AssertionError("not an ingest path")


@pytest.fixture
def key(project: CreatedProject, valkey: redis.Redis) -> str:
    return project.write_key


def test_a_body_that_does_not_arrive_is_408(key: str, settings: Any) -> None:
    settings.EVENTS_BODY_TIMEOUT_SECONDS = 0.1

    async def scenario() -> list[tuple[int, str]]:
        edge = Edge(_nobody, lambda slot: None)
        silent, slow = Caller(edge, key), Caller(edge, key)
        await slow.body(b'{"name":', more=True)
        return [await silent.answer(), await slow.answer()]

    assert asyncio.run(scenario()) == [(408, "body_timeout")] * 2


def test_bytes_in_flight_are_bounded_and_given_back(key: str, settings: Any) -> None:
    settings.EVENTS_MAX_IN_FLIGHT_BYTES = 1_000

    async def scenario() -> list[tuple[int, str]]:
        edge = Edge(_nobody, lambda slot: None)
        first, second = Caller(edge, key), Caller(edge, key)
        await first.body(b" " * 800, more=True)
        await asyncio.sleep(0.05)  # the first is being read
        await second.body(b" " * 800)
        refused = await second.answer()
        await first.messages.put({"type": "http.disconnect"})
        await first.task
        third = Caller(edge, key)
        await third.body(b'{"name":"a"}')
        return [refused, await third.answer()]

    assert asyncio.run(scenario()) == [(503, "too_much_in_flight"), (202, "")]


def test_a_chunked_body_over_the_limit_is_413(key: str, settings: Any) -> None:
    settings.EVENTS_MAX_BODY_BYTES = 100

    async def scenario() -> tuple[int, str]:
        caller = Caller(Edge(_nobody, lambda slot: None), key)
        await caller.body(b" " * 90, more=True)
        await caller.body(b" " * 90, more=True)
        return await caller.answer()

    assert asyncio.run(scenario()) == (413, "body_too_large")


def test_a_request_that_goes_away_does_not_take_its_neighbours_along(key: str, settings: Any) -> None:
    settings.EVENTS_LINGER_MS = 200

    async def scenario() -> tuple[int, str]:
        edge = Edge(_nobody, lambda slot: None)
        callers = [Caller(edge, key) for _ in range(2)]
        for caller in callers:
            await caller.body(b'{"name":"a"}')
        await asyncio.sleep(0.1)  # both wait for one push
        callers[0].task.cancel()
        return await callers[1].answer()

    assert asyncio.run(scenario()) == (202, "")
