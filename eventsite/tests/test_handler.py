"""Django behind the event loop: its threads keep their connections, and health needs none of them."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from eventsite.handler import Handler

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/projects/new"
OTHERS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def cookie(make_user: Callable[..., Any]) -> bytes:
    """Of somebody who is signed in: a page then asks PostgreSQL."""
    client = Client()
    client.force_login(make_user("ada"))
    return "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items()).encode()


@pytest.fixture
def handler() -> Iterator[Handler]:
    made = Handler()
    before = backends()
    yield made
    made.threads.shutdown()
    with connection.cursor() as cursor:
        for pid in backends() - before:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def get(handler: Handler, *paths: str, cookie: bytes = b"") -> list[int]:
    """Returns the statuses of requests, one after another in one event loop."""

    async def one(path: str) -> int:
        sent: list[dict[str, Any]] = []
        arrived = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> dict[str, Any]:
            if (message := next(arrived, None)) is None:
                await asyncio.sleep(3600)  # the client stays
            return message or {}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "GET", "path": path, "query_string": b"", "http_version": "1.1", "scheme": "http",
            "headers": [(b"host", b"localhost"), (b"cookie", cookie)], "client": ("127.0.0.1", 1), "server": ("localhost", 80),
        }  # fmt: skip
        await handler(scope, receive, send)
        status: int = sent[0]["status"]
        return status

    async def all_of_them() -> list[int]:
        return [await one(path) for path in paths]

    return asyncio.run(all_of_them())


def backends() -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(OTHERS)
        return {pid for (pid,) in cursor.fetchall()}


def test_a_thread_keeps_its_connection_and_replaces_one_that_broke(handler: Handler, cookie: bytes) -> None:
    before = backends()
    assert get(handler, PAGE, PAGE, PAGE, cookie=cookie) == [200] * 3
    (kept,) = backends() - before
    assert get(handler, PAGE, cookie=cookie) == [200]
    assert backends() - before == {kept}
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [kept])
    assert get(handler, PAGE, cookie=cookie) == [200]
    assert kept not in backends()


def test_health_and_styles_are_answered_while_every_thread_waits(handler: Handler) -> None:
    over = threading.Event()
    try:
        for _ in range(handler.size):
            handler.threads.submit(over.wait, 60)
        assert get(handler, "/readyz", "/static/eventsite/base.css") == [200, 200]
    finally:
        over.set()
