"""A worker that is alive but deaf is ended and started again; one that only waits for the database is not."""

import http.client
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

from eventsite import leftovers
from eventsite.tests.test_supervisor import Stack, wait
from eventsite.watch import Watch

STALL_SECONDS = 2
READY = {"/readyz": 200, "/livez/drain": 200, "/livez/tick": 200, "/livez/lake": 200}


class Pages(BaseHTTPRequestHandler):
    statuses: dict[str, int]

    def do_GET(self) -> None:
        self.send_response(self.statuses[self.path])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pages() -> Iterator[tuple[dict[str, int], int]]:
    """A web server that answers as a test wishes."""
    statuses = dict(READY)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Wished", (Pages,), {"statuses": statuses}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield statuses, server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def look(pages: tuple[dict[str, int], int]) -> Callable[..., list[str]]:
    statuses, port = pages
    watch = Watch(SimpleNamespace(connect_host="127.0.0.1", port=port, stall_seconds=0.3))
    workers = [SimpleNamespace(name=name, is_ready=True) for name in ("web", "drain", "worker", "lake")]

    def look(seconds: float, **wished: int) -> list[str]:
        """Looks twice, so many seconds apart; returns whom to end."""
        statuses.update({path: wished.get(path.rpartition("/")[2], 200) for path in READY})
        assert watch.look(workers) == []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.01)
        return [worker.name for worker in watch.look(workers)]

    return look


@pytest.mark.parametrize(
    ("wished", "ended"),
    [
        ({}, []),
        ({"drain": 503}, ["drain"]),
        ({"tick": 503}, ["worker"]),
        ({"lake": 503}, ["lake"]),
        ({"drain": 503, "readyz": 503}, []),  # the database or the queue is away: nobody is deaf
        ({"drain": 404}, []),
    ],
)
def test_who_stalls_while_everything_answers_is_ended(
    look: Callable[..., list[str]], wished: dict[str, int], ended: list[str]
) -> None:
    assert look(0.35, **wished) == ended


def test_the_stall_must_last(look: Callable[..., list[str]]) -> None:
    assert look(0.0, drain=503) == []
    assert look(0.35) == []
    assert look(0.0, drain=503) == []


# --- a real stack ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o711)
        stack = Stack(Path(path) / "one")
        stack.env["EVENTS_STALL_SECONDS"] = str(STALL_SECONDS)
        try:
            yield stack.start()
        finally:
            stack.destroy()


def post(stack: Stack) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(stack.ports["PORT"]), timeout=10)
    key = {"Authorization": f"Bearer {stack.credentials['write_key']}"}
    connection.request("POST", "/v1/events", json.dumps({"name": "a"}), key)
    assert connection.getresponse().status == 202


def stored(stack: Stack) -> int:
    connection = psycopg2.connect(stack.credentials["database_url"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM events_event")
        count = int(cursor.fetchone()[0])
    connection.close()
    return count


def signal_part(stack: Stack, name: str, number: int) -> None:
    for process in leftovers.find(stack.found, part=name):
        with suppress(ProcessLookupError):  # a backend may end between the two
            os.kill(process.pid, number)


@pytest.mark.slow
def test_a_deaf_drain_worker_is_replaced_and_the_events_are_stored(stack: Stack) -> None:
    before: dict[str, Any] = stack.parts()["drain"]
    os.kill(before["pid"], signal.SIGSTOP)
    count = stored(stack)
    post(stack)
    wait(lambda: stored(stack) == count + 1, 60, "the event")
    now = stack.parts()
    assert (now["drain"]["restarts"], now["worker"]["restarts"]) == (before["restarts"] + 1, 0)
    assert "drain is alive but makes no progress" in (stack.found.logs / "supervisor.log").read_text()


@pytest.mark.slow
def test_a_deaf_default_worker_is_replaced(stack: Stack) -> None:
    os.kill(stack.parts()["worker"]["pid"], signal.SIGSTOP)
    wait(lambda: stack.parts()["worker"]["restarts"] == 1 and stack.all_running(), 60, "a new worker")


@pytest.mark.slow
def test_a_worker_that_waits_for_the_database_is_left_alone(stack: Stack) -> None:
    wait(stack.all_running, 30, "all parts")
    before, count = stack.parts(), stored(stack)
    signal_part(stack, "postgres", signal.SIGSTOP)
    post(stack)
    deadline = time.monotonic() + 4 * STALL_SECONDS
    while time.monotonic() < deadline:
        assert stack.parts()["drain"]["restarts"] == before["drain"]["restarts"]
        time.sleep(0.1)
    signal_part(stack, "postgres", signal.SIGCONT)
    wait(lambda: stored(stack) == count + 1, 30, "the event")
    assert stack.parts()["drain"]["restarts"] == before["drain"]["restarts"]
