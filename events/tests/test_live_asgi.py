"""The stream as an ASGI application: who may not come in, and how it ends."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
import redis

from events.live import asgi, names
from events.live.asgi import Live

T = TypeVar("T")
SCOPE = {"type": "http", "method": "GET", "path": "/api/projects/1/live/", "query_string": b"", "headers": []}


def django(*statuses: int) -> Callable[..., Awaitable[None]]:
    """Answers with these by turns, the last one for ever."""
    left = list(statuses)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope[asgi.MARK]
        status = left.pop(0) if len(left) > 1 else left[0]
        await send({"type": "http.response.start", "status": status, "headers": [(b"vary", b"Cookie")]})
        await send({"type": "http.response.body", "body": b"{}"})

    return application


class Client:
    """One connection. It stays until `gone` is set, and takes `takes` messages."""

    def __init__(self, takes: int = 1_000) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone, self.begun = asyncio.Event(), asyncio.Event()
        self._takes = takes

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if len(self.sent) >= self._takes:
            await asyncio.Event().wait()
        self.sent.append(message)
        self.begun.set()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


async def serve(live: Live, client: Client) -> None:
    async with asyncio.timeout(10):
        await live(dict(SCOPE), client.receive, client.send)


def run(live: Live, main: Coroutine[Any, Any, T]) -> T:
    async def run_and_close() -> T:
        try:
            return await main
        finally:
            if live._hub:
                live._hub.close()

    return asyncio.run(run_and_close())


def readers(live: Live) -> int:
    return live._hub._readers if live._hub else 0


pytestmark = pytest.mark.usefixtures("valkey")


@pytest.mark.parametrize("status", [401, 404, 503])
def test_a_refusal_is_passed_on_as_it_is(status: int, valkey: redis.Redis) -> None:
    client, live = Client(), Live(django(status))
    run(live, serve(live, client))
    assert (client.status, client.sent[1]["body"]) == (status, b"{}")
    assert valkey.keys("es:live*") == []


def test_a_reader_that_goes_leaves_nothing() -> None:
    live, client = Live(django(200)), Client()

    async def go() -> None:
        task = asyncio.create_task(serve(live, client))
        await client.begun.wait()
        assert readers(live) == 1
        client.gone.set()
        await task
        assert readers(live) == 0

    run(live, go())


def test_a_reader_that_takes_nothing_is_dropped_and_its_answer_is_not_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "STUCK_SECONDS", 0.1)
    client, live = Client(takes=2), Live(django(200))
    run(live, serve(live, client))
    assert readers(live) == 0
    assert client.sent[-1]["more_body"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_may_no_longer_read_is_sent_away(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(asgi, "ASKED_AGAIN_SECONDS", -30)
    client, live = Client(), Live(django(200, status))
    run(live, serve(live, client))
    assert client.sent[-1] == {"type": "http.response.body", "body": b""}


@pytest.mark.parametrize("bound", ["MAX_READERS", "MAX_PROJECT_READERS", "MAX_PROJECTS"])
def test_one_too_many_is_told_to_come_later(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(names, bound, int(bound != "MAX_PROJECTS"))

    live, first, second = Live(django(200)), Client(), Client()

    async def both_come() -> None:
        task = asyncio.create_task(serve(live, first))
        await first.begun.wait()
        await serve(live, second)
        first.gone.set()
        await task

    run(live, both_come())
    assert (second.status, json.loads(second.sent[1]["body"])["code"]) == (503, "too_many_readers")
    assert (b"retry-after", b"5") in second.sent[0]["headers"]


def test_when_the_process_stops_its_streams_end_and_none_begins() -> None:
    live, first, second = Live(django(200)), Client(), Client()

    async def stop() -> None:
        task = asyncio.create_task(serve(live, first))
        await first.begun.wait()
        assert live._hub
        live._hub.close()
        await task
        await serve(live, second)

    run(live, stop())
    assert (first.sent[-1]["body"], second.status) == (b"", 503)


def test_other_paths_and_methods_are_not_touched() -> None:
    passed: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["path"])

    async def go() -> None:
        for scope in (
            SCOPE | {"path": "/api/projects/1/lively/"},
            SCOPE | {"method": "POST"},
            {"type": "lifespan", "path": "-"},
        ):
            await Live(application)(scope, Client().receive, Client().send)

    asyncio.run(go())
    assert passed == ["/api/projects/1/lively/", SCOPE["path"], "-"]
