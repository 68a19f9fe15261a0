"""What the pipeline's tests share: senders for both forms of the ingest contract, envelopes, claims."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection
from django.test import Client

from events import buffer, partitions, times
from events.accept import Decision, accept
from events.envelope import encode
from events.limits import Limits
from events.protocols import native
from eventsite.parts import BACKLOG
from projects import services


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def as_bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@contextlib.contextmanager
def web_server() -> Iterator[int]:
    """A real web server with the ASGI application and the environment of the moment, at the port that it yields."""
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "granian",
        "--interface",
        "asginl",
        *("--http", "1", "--no-ws", "--loop", "uvloop"),
        *("--backlog", str(BACKLOG), "--backpressure", str(BACKLOG), "--http1-header-read-timeout", "5000"),
        "--port",
        str(port),
    ]
    process = subprocess.Popen(
        [*command, "eventsite.asgi:application"], cwd=settings.BASE_DIR, env=os.environ
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert process.poll() is None, "the web server ended"
            assert time.monotonic() < deadline, "the web server does not listen"
            time.sleep(0.02)
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="session")
def edge_port() -> Iterator[int]:
    """It needs Valkey only, so it serves every test."""
    with web_server() as port:
        yield port


def edge_send(port: int) -> Callable[..., Reply]:
    def send(body: Any, *, path: str = "/v1/events", method: str = "POST", **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
        sent_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was sent
            connection.request(method, path, as_bytes(body), sent_headers)
        response = connection.getresponse()
        reply = Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return reply

    return send


def drf_send() -> Callable[..., Reply]:
    def send(body: Any, *, path: str = "/v1/events", method: str = "POST", **headers: str) -> Reply:
        content_type = headers.pop("Content_Type", "application/json")
        path_info, _, query = path.partition("?")
        response = Client(raise_request_exception=False).generic(
            method,
            "/",
            as_bytes(body),
            content_type,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            PATH_INFO=path_info,  # the client would take //v1 for a host
            QUERY_STRING=query,
        )
        return Reply(response.status_code, {k.lower(): v for k, v in response.items()}, response.content)

    return send


@pytest.fixture(params=["edge", "drf"])
def send(request: pytest.FixtureRequest, valkey: redis.Redis) -> Callable[..., Reply]:
    """Posts to the ingest path: over HTTP to the ASGI edge, and through Django to the DRF view. The contract is one."""
    return edge_send(request.getfixturevalue("edge_port")) if request.param == "edge" else drf_send()


@pytest.fixture
def project(
    make_project: Callable[..., services.CreatedProject], valkey: redis.Redis
) -> services.CreatedProject:
    from projects import keyring

    created = make_project()
    # A test's transaction is rolled back, so its commit hooks never run: the mirror is written here.
    keyring.publish(valkey, list(created.project.keys.all()))
    return created


@pytest.fixture
def post(send: Callable[..., Reply], project: services.CreatedProject) -> Callable[..., Reply]:
    def post(body: Any, **options: Any) -> Reply:
        return send(body, **{"Authorization": f"Bearer {project.write_key}"} | options)

    return post


def decide(body: Any, **options: Any) -> Decision:
    options = {"project_id": 1, "limits": Limits.from_settings()} | options
    return accept(native.split(as_bytes(body)), **options)


def queue(client: redis.Redis, body: Any, *, received_at: datetime | None = None, **options: Any) -> Decision:
    """Accepts and pushes, as the edge does; returns the decision."""
    at = received_at or datetime.now(UTC)
    decision = decide(body, received_at=at, **options)
    rows = [encode(envelope) for envelope in decision.envelopes]
    project_id = options.get("project_id", 1)
    buffer.push(client, [buffer.unit(project_id, rows, int(at.timestamp() * 1000))])
    return decision


def queued(client: redis.Redis) -> list[dict[str, Any]]:
    """Every envelope in the stream, as JSON."""
    payloads = [fields[b"d"] for _, fields in client.xrange(buffer.STREAM)]
    return [envelope for payload in payloads for envelope in json.loads(b"[" + payload + b"]")]


@pytest.fixture
def tables(transactional_db: None, valkey: redis.Redis) -> Iterator[None]:
    """The events table with its partitions, empty again afterwards: Django flushes only what it manages."""
    partitions.ensure()
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE events_event")


def at(day: date, clock: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}+00:00")


def yesterday() -> date:
    return datetime.now(UTC).date() - timedelta(days=1)


__all__ = ["at", "decide", "queue", "queued", "times", "yesterday"]
