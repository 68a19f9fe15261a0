"""The edge's own HTTP, over raw sockets: whatever comes, it answers or closes, and `/healthz` goes on answering."""

import contextlib
import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from events.tests.conftest import Reply, edge_send, queued
from events.tests.test_edge import EVENT, HEAD, dial, read_reply
from projects.services import CreatedProject

__all__ = ["dial"]
Dial = Callable[[], socket.socket]
IDLE_CONNECTIONS = 10_000
HEALTH_SECONDS = 1.0


def is_healthy(port: int) -> bool:
    started = time.monotonic()
    reply = edge_send(port)(b"", path="/healthz", method="GET")
    return reply.status == 200 and time.monotonic() - started < HEALTH_SECONDS


@pytest.fixture(autouse=True)
def healthy(edge_port: int) -> Iterator[None]:
    """Before, while and after: asked every 50 ms from a thread of its own."""
    results: list[bool] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            results.append(is_healthy(edge_port))

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    done.set()
    watcher.join()
    assert all(results)
    assert is_healthy(edge_port)


def settle(connection: socket.socket, sent: bytes) -> bytes:
    """Sends, says it is the end, and returns all that comes back until the server closes."""
    with contextlib.suppress(OSError):  # it has closed already
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            received += part
    return received


def statuses(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def request(key: str, extra: str = "", body: bytes = EVENT, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return (HEAD.format(key=key) + extra + f"Content-Length: {size}\r\n\r\n").encode() + body


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 1_000,
        b"\r\n" * 1_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"POST /v1/events HTTP/9.9\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /v1/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n",
        b"POST /v1/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
        b"POST /v1/events HTTP/1.1\r\nTransfer-Encoding: gzip, x\r\n\r\nabc",
        b"POST /v1/events HTTP/1.1\r\nX\x00Y: a\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nX: a\nY\r\n\r\n",
        b"POST /v1/events\xff\xfe?key=\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST http://other.example/v1/events HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /v1/events?" + b"strict=" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
        b"POST /v1/events HTTP/1.1\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: \xff\xfe\r\nOrigin: \x80\r\nX-Api-Key: \xe9\r\n\r\n",
    ],
    ids=range(24),
)
def test_garbage_is_answered_or_the_connection_closed(dial: Dial, garbage: bytes) -> None:
    for status in statuses(settle(dial(), garbage)):
        assert 200 <= status < 500


def test_random_bytes_in_a_good_request_never_end_in_500(dial: Dial, project: CreatedProject) -> None:
    chance = random.Random(1)
    good = request(project.write_key, "Content-Encoding: gzip\r\nIdempotency-Key: k\r\nOrigin: http://a\r\n")
    for _ in range(200):
        sent = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(sent))
            sent[at : at + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 3))
        with dial() as connection:
            received = settle(connection, bytes(sent))
            assert all(status < 500 for status in statuses(received)), (bytes(sent), received)


def test_pipelined_requests_are_answered_in_order(
    dial: Dial, project: CreatedProject, valkey: redis.Redis
) -> None:
    bad = request(project.write_key, body=b"nonsense")
    last = request(project.write_key, "Connection: close\r\n", body=b"nonsense")
    # By a name of their own: what an earlier test sent and did not wait for may arrive only now.
    good = request(project.write_key, body=b'{"name":"pipelined"}')
    connection = dial()
    connection.sendall((good + bad) * 49 + good + last)
    received = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert statuses(received) == [202, 400] * 50
    assert [event["name"] for event in queued(valkey)].count("pipelined") == 50


def test_bytes_behind_a_body_are_another_request_and_refused_as_one(
    dial: Dial, project: CreatedProject, valkey: redis.Redis
) -> None:
    received = settle(dial(), request(project.write_key) + b'{"name":"b"}')
    assert statuses(received)[0] == 202
    assert all(status == 400 for status in statuses(received)[1:])
    assert len(queued(valkey)) == 1


def test_a_body_cut_short_stores_nothing(dial: Dial, project: CreatedProject, valkey: redis.Redis) -> None:
    received = settle(dial(), request(project.write_key, length=len(EVENT) + 1))
    assert statuses(received) == [400]
    assert b"incomplete_body" in received
    assert queued(valkey) == []


def refused_early(connection: socket.socket, key: str, head: str, chunk: bytes, chunks: int) -> Reply:
    """Sends all of a body that is refused, and reads the answer only then, as most clients do."""
    connection.sendall((HEAD.format(key=key) + head).encode())
    for _ in range(chunks):
        connection.sendall(chunk)
    return read_reply(connection)


def test_the_413_is_there_before_the_body_and_the_connection_goes_on(
    dial: Dial, project: CreatedProject
) -> None:
    connection = dial()
    connection.sendall((HEAD.format(key=project.write_key) + "Content-Length: 30000000\r\n\r\n").encode())
    assert read_reply(connection).status == 413
    connection.sendall(b"x" * 30_000_000 + request(project.write_key))
    assert read_reply(connection).status == 202


@pytest.mark.parametrize(
    ("head", "chunk", "chunks"),
    [
        ("Content-Length: 30000000\r\n\r\n", b"x" * 1_000_000, 30),
        ("Transfer-Encoding: chunked\r\n\r\n", b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n", 30),
    ],
)
def test_a_client_that_sends_everything_first_reads_the_413(
    dial: Dial, project: CreatedProject, head: str, chunk: bytes, chunks: int
) -> None:
    reply = refused_early(dial(), project.write_key, head, chunk, chunks)
    assert (reply.status, reply.json["code"]) == (413, "body_too_large")


def test_a_wrong_key_is_told_so_after_a_large_body_too(
    dial: Dial, edge_port: int, valkey: redis.Redis
) -> None:
    reply = refused_early(dial(), "nonsense", "Content-Length: 15000000\r\n\r\n", b"x" * 1_000_000, 15)
    assert reply.status == 401


def test_expect_100_is_refused_without_a_body(dial: Dial, project: CreatedProject) -> None:
    connection = dial()
    head = HEAD.format(key=project.write_key) + "Expect: 100-continue\r\nContent-Length: 30000000\r\n\r\n"
    connection.sendall(head.encode())
    assert read_reply(connection).status == 413


def test_slow_headers_and_slow_bodies_end(dial: Dial, project: CreatedProject) -> None:
    """A byte now and then: a body has EVENTS_BODY_TIMEOUT_SECONDS, headers what the server is started with."""
    headers, body = dial(), dial()
    headers.sendall(HEAD.format(key=project.write_key).encode())
    body.sendall(request(project.write_key, body=b"", length=1_000))
    ended: set[socket.socket] = set()
    deadline = time.monotonic() + 14
    while len(ended) < 2:
        assert time.monotonic() < deadline
        for connection in {headers, body} - ended:
            connection.settimeout(0.1)
            try:
                connection.sendall(b"x")
                received = connection.recv(65_536)
            except TimeoutError:
                continue
            except OSError:
                ended.add(connection)
                continue
            assert received == b"" or statuses(received) == [408]
            ended.add(connection)


def test_ten_thousand_idle_connections_leave_room(edge_port: int, project: CreatedProject) -> None:
    wanted = IDLE_CONNECTIONS + 500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        pytest.skip(f"only {hard} files may be open here; {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    idle: list[socket.socket] = []
    try:
        for _ in range(IDLE_CONNECTIONS):
            connection = socket.socket()
            connection.settimeout(5)
            connection.connect(("127.0.0.1", edge_port))
            idle.append(connection)
            if len(idle) % 1_000 == 0:
                assert is_healthy(edge_port)
        assert is_healthy(edge_port)
        assert edge_send(edge_port)(EVENT, X_Api_Key=project.write_key).status == 202
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
