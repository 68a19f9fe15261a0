"""The edge alone: what happens between the socket and the decision, and when the queue does not answer."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from events import buffer
from events.tests.conftest import Reply, drf_send, edge_send, queued
from eventsite.pytest_services import Services
from projects.services import CreatedProject

EVENT = b'{"name":"a"}'
HEAD = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {key}\r\n"


@pytest.fixture
def dial(edge_port: int) -> Iterator[Callable[[], socket.socket]]:
    opened: list[socket.socket] = []

    def dial() -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", edge_port), timeout=15))
        return opened[-1]

    yield dial
    for connection in opened:
        connection.close()


def read_reply(connection: socket.socket) -> Reply:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@pytest.mark.parametrize("fault", ["stop", "freeze"])
@pytest.mark.parametrize("form", ["edge", "drf"])
def test_without_the_queue_the_answer_is_503_within_two_seconds_and_it_heals(
    fault: str, form: str, edge_port: int, project: CreatedProject, services: Services, valkey: redis.Redis
) -> None:
    send = edge_send(edge_port) if form == "edge" else drf_send()
    key = {"X_Api_Key": project.write_key}
    assert send(EVENT, **key).status == 202
    getattr(services.valkey, fault)()
    try:
        for _ in range(2):
            started = time.monotonic()
            reply = send(EVENT, **key)
            assert reply.status == 503
            assert time.monotonic() - started < 2
            assert 1 <= int(reply.headers["retry-after"]) <= 60
            assert reply.json.keys() >= {"code", "message", "detail", "error"}
    finally:
        services.valkey.thaw() if fault == "freeze" else services.valkey.start()
    deadline = time.monotonic() + 10
    while send(EVENT, **key).status != 202:
        assert time.monotonic() < deadline


def test_concurrent_requests_share_entries(
    edge_port: int, project: CreatedProject, valkey: redis.Redis
) -> None:
    send, replies = edge_send(edge_port), []

    def post_some() -> None:
        replies.extend(send(EVENT, X_Api_Key=project.write_key).status for _ in range(5))

    threads = [threading.Thread(target=post_some) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == [202] * 200
    assert len(queued(valkey)) == 200 > valkey.xlen(buffer.STREAM)


def test_a_chunked_body_is_read_whole(dial: Callable[[], socket.socket], project: CreatedProject) -> None:
    connection = dial()
    head = HEAD.format(key=project.write_key) + "Transfer-Encoding: chunked\r\n\r\n"
    connection.sendall(head.encode() + b"5\r\n" + EVENT[:5] + b"\r\n")
    connection.sendall(b"7\r\n" + EVENT[5:] + b"\r\n0\r\n\r\n")
    assert read_reply(connection).status == 202


def test_a_connection_is_kept_alive_across_good_and_bad_requests(
    dial: Callable[[], socket.socket], project: CreatedProject
) -> None:
    connection = dial()
    for body, status in ((EVENT, 202), (b"nonsense", 400), (b"", 400), (EVENT, 202)):
        head = HEAD.format(key=project.write_key) + f"Content-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        assert read_reply(connection).status == status


def test_a_length_that_is_too_large_is_refused_before_the_body(
    dial: Callable[[], socket.socket], project: CreatedProject
) -> None:
    connection = dial()
    connection.sendall((HEAD.format(key=project.write_key) + "Content-Length: 900000000\r\n\r\n").encode())
    reply = read_reply(connection)
    assert (reply.status, reply.json["code"]) == (413, "body_too_large")


def test_content_length_beside_transfer_encoding_ends_the_connection(
    dial: Callable[[], socket.socket], project: CreatedProject
) -> None:
    connection = dial()
    head = HEAD.format(key=project.write_key) + "Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.sendall(head.encode() + b"c\r\n" + EVENT + b"\r\n0\r\n\r\n")
    # The server goes by the chunks, as RFC 9112 has it, and takes no second request from behind them.
    assert read_reply(connection).headers["connection"] == "close"
    assert connection.recv(1) == b""


def test_a_client_that_leaves_midway_leaves_nothing(
    dial: Callable[[], socket.socket], project: CreatedProject, edge_port: int, valkey: redis.Redis
) -> None:
    connection = dial()
    connection.sendall((HEAD.format(key=project.write_key) + "Content-Length: 100\r\n\r\n").encode() + EVENT)
    connection.close()
    assert edge_send(edge_port)(EVENT, X_Api_Key=project.write_key).status == 202
    assert len(queued(valkey)) == 1


def test_health_answers_at_the_edge(edge_port: int) -> None:
    reply = edge_send(edge_port)(b"", path="/healthz", method="GET")
    assert (reply.status, json.loads(reply.raw)) == (200, {"status": "ok"})
