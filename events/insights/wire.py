"""How the question process is spoken to: length-prefixed frames over Unix sockets. Standard library only, for the server's sake.

A request is its kind, its time limit, the file it may leave behind, and a body that the server passes on unread.
"""

import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RUN: Final = b"R"  # SQL of ours
BOX: Final = b"B"  # SQL of a stranger
EXPORT: Final = b"E"  # SQL of ours, into a file
STOP: Final = b"S"  # the asker is gone
_REQUEST: Final = struct.Struct("!cdHI")
_REPLY: Final = struct.Struct("!BBI")

DONE: Final = 0
TOO_SLOW: Final = 1
TOO_LARGE: Final = 2
TOO_MANY_ROWS: Final = 3
INVALID: Final = 4
FILE_MISSING: Final = 5
AWAY: Final = 6
BUSY: Final = 7

WAITING_SECONDS: Final = 5.0  # in line, before the answer is "busy"
KILL_SECONDS: Final = 1.0  # from the interrupt to the kill
EXPORT_SECONDS: Final = 600.0  # the most that an export may take
ANSWER_MAX_BYTES: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class Request:
    kind: bytes
    seconds: float
    path: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """`body`: msgpack of what was asked for, or the text of an error. After the last one a process is to be replaced."""

    code: int
    body: bytes = b""
    is_last: bool = False


def spill_dir(lake: Path, pid: int) -> Path:
    """Where a process puts what it has no memory for. Not in the lake's `tmp`, which an erasure empties."""
    return lake / "questions" / str(pid)


def pack(request: Request) -> bytes:
    path = request.path.encode()
    return _REQUEST.pack(request.kind, request.seconds, len(path), len(request.body)) + path + request.body


def send_reply(connection: socket.socket, reply: Reply) -> None:
    connection.sendall(_REPLY.pack(reply.code, reply.is_last, len(reply.body)))
    connection.sendall(reply.body)


def receive_request(connection: socket.socket) -> Request:
    """Errors: EOFError where the other side is gone, OSError."""
    kind, seconds, path_bytes, body_bytes = _REQUEST.unpack(_receive(connection, _REQUEST.size))
    path = _receive(connection, path_bytes).decode()
    return Request(kind, seconds, path, _receive(connection, body_bytes))


def receive_reply(connection: socket.socket) -> Reply:
    """Errors: EOFError where the other side is gone, OSError."""
    code, is_last, size = _REPLY.unpack(_receive(connection, _REPLY.size))
    return Reply(code, _receive(connection, size), bool(is_last))


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        count = connection.recv_into(view[got:])
        if not count:
            raise EOFError
        got += count
    return bytes(data)
