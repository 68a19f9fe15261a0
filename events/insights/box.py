"""A process with DuckDB loaded and nothing opened, that forks for each question of a stranger: `python -m events.insights.box`.

The fork sets up one instance over this project's files, lets go of everything else (box_wall.py), and answers one question. So
every question starts from the same state, whatever the one before did to its process.
"""

import contextlib
import datetime as dt
import decimal
import gc
import os
import re
import signal
import socket
import sys
import time
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Final

import duckdb
import msgspec

from events.insights import box_check, fence, wire
from events.insights.box_wall import BoxBody, wall_in
from events.insights.child import Listener, refusal
from events.insights.errors import Invalid
from events.insights.values import Table, fetch
from events.insights.wire import Reply, Request

MESSAGE_LENGTH: Final = 1_000
_REQUEST_SECONDS: Final = 5.0
_PATH: Final = re.compile(r"/proc/self/fd/\d+|(?<![\w/])/(?:[\w.=-]+/)+[\w.=-]+")
_KEPT: Final = (
    dt.UTC,
    decimal.Decimal(0),
    uuid.NAMESPACE_DNS,
    zoneinfo.ZoneInfo("UTC"),
)  # loaded before the wall

Check = Callable[[duckdb.DuckDBPyConnection, str], None]


def serve(control: socket.socket, memory_mb: int, check: Check = box_check.check) -> None:
    """Forks for each socket that arrives, until the server is gone."""
    fence.be_modest()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    gc.freeze()
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        for descriptor in descriptors:
            with contextlib.suppress(BlockingIOError):  # no more processes: the server sees its end closed
                if os.fork() == 0:
                    control.close()
                    _answer_and_end(descriptor, memory_mb, check)
            os.close(descriptor)


def _answer_and_end(descriptor: int, memory_mb: int, check: Check) -> None:
    code = 1
    try:
        with socket.socket(fileno=descriptor) as channel:
            channel.settimeout(_REQUEST_SECONDS)
            request = wire.receive_request(channel)
            channel.settimeout(None)
            signal.setitimer(signal.ITIMER_REAL, request.seconds + wire.KILL_SECONDS)
            wire.send_reply(channel, _reply(request, channel, memory_mb, check))
        code = 0
    finally:
        os._exit(code)


def _reply(request: Request, channel: socket.socket, memory_mb: int, check: Check) -> Reply:
    start = time.monotonic()
    try:
        body = msgspec.msgpack.decode(request.body, type=BoxBody)
        connection = wall_in(
            body, memory_mb, before=lambda made: _listen(made, channel, start + request.seconds)
        )
        check(connection, body.sql)
        connection.execute(body.sql)
        columns, pages, is_cut = fetch(
            connection, max_rows=body.max_rows, max_bytes=wire.ANSWER_MAX_BYTES, cut=body.cut
        )
        return Reply(
            wire.DONE, msgspec.msgpack.encode(Table(columns, pages, time.monotonic() - start, is_cut))
        )
    except Invalid as refused:
        return Reply(wire.INVALID, refused.message.encode())
    except Exception as error:  # whatever a stranger's SQL brings about ends here, with its process
        reply = refusal(error)
        text = reply.body.decode(errors="replace")
        return Reply(reply.code, _PATH.sub("...", text)[:MESSAGE_LENGTH].encode())


def _listen(connection: duckdb.DuckDBPyConnection, channel: socket.socket, deadline: float) -> None:
    listener = Listener(channel, connection)
    listener.watch(deadline)
    listener.start()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
