"""Questions from Django's processes to the question process. Blocking; a thread of its own under ASGI."""

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from django.conf import settings

from events.insights import wire
from events.insights.errors import Away, Busy, FileMissing, Invalid, TooLarge, TooManyRows, TooSlow
from events.insights.wire import Reply, Request
from eventsite.state import places

Format = Literal["ndjson", "csv", "parquet"]
_PLAIN_ERRORS: Final = {
    wire.TOO_SLOW: TooSlow,
    wire.TOO_LARGE: TooLarge,
    wire.TOO_MANY_ROWS: TooManyRows,
    wire.FILE_MISSING: FileMissing,
    wire.BUSY: Busy,
}
_BOX_FIELDS: Final = ("sql", "project_id", "own", "shared", "shared_rows", "max_rows", "cut")
_encode = msgspec.msgpack.Encoder(enc_hook=str).encode


class _Table(msgspec.Struct):
    columns: list[str]
    pages: list[list[list[Any]]]
    seconds: float
    is_cut: bool = False


_decode_table = msgspec.msgpack.Decoder(_Table).decode


@dataclass(frozen=True, slots=True)
class Query:
    """SQL of ours with named parameters (`$name`). More rows than `max_rows` are an error; `seconds` is the time limit."""

    sql: str
    parameters: dict[str, Any]
    max_rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BoxQuery:
    """SQL of a stranger over the events of one project: rows of `own` files all count, of `shared` ones the project's.

    `shared_rows`: how many those are. With `cut`, rows beyond `max_rows` are left off instead of being an error.
    """

    sql: str
    project_id: int
    own: list[str]
    shared: list[str]
    shared_rows: int
    max_rows: int
    seconds: float
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """Values are as values.py says. `seconds`: within DuckDB."""

    columns: list[str]
    rows: list[list[Any]]
    seconds: float
    is_cut: bool = field(default=False)


def run(query: Query) -> Result:
    """Errors: those of errors.py, BadQuestion apart."""
    body = {"sql": query.sql, "parameters": query.parameters, "max_rows": query.max_rows}
    return _result(_ask(Request(wire.RUN, query.seconds, "", _encode(body))))


def run_box(query: BoxQuery) -> Result:
    """Errors: those of errors.py, BadQuestion apart; Invalid says to the asker what is wrong with the SQL."""
    body = {name: getattr(query, name) for name in _BOX_FIELDS}
    return _result(_ask(Request(wire.BOX, query.seconds, "", _encode(body))))


def export(
    sql: str,
    parameters: dict[str, Any],
    *,
    format: Format,
    path: Path,
    seconds: float,
    opened: Callable[[socket.socket], None] | None = None,
) -> int:
    """Writes what SQL returns to a file in `tmp/exports` of the lake; returns its rows. One at a time beside the questions.

    `ndjson` takes one column, which holds the lines. `opened` gets the connection: another thread that shuts it down stops
    the export. The file is complete on return; after an error there is none. Errors: as `run`; TooLarge also where the disk is
    short.
    """
    body = _encode({"sql": sql, "parameters": parameters, "format": format})
    reply = _ask(Request(wire.EXPORT, min(seconds, wire.EXPORT_SECONDS), str(path), body), opened)
    return int(msgspec.msgpack.decode(reply.body)["rows"])


def _ask(request: Request, opened: Callable[[socket.socket], None] | None = None) -> Reply:
    patience = wire.WAITING_SECONDS + request.seconds + 3 * wire.KILL_SECONDS
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
            connection.settimeout(patience)
            connection.connect(str(places(settings.VAR_DIR).question_socket))
            if opened is not None:
                opened(connection)
            connection.sendall(wire.pack(request))
            reply = wire.receive_reply(connection)
    except (OSError, EOFError) as error:
        raise Away from error
    if reply.code == wire.DONE:
        return reply
    if reply.code == wire.INVALID:
        raise Invalid(reply.body.decode(errors="replace"))
    raise _PLAIN_ERRORS.get(reply.code, Away)


def _result(reply: Reply) -> Result:
    table = _decode_table(reply.body)
    rows = [row for page in table.pages for row in page]
    return Result(table.columns, rows, table.seconds, table.is_cut)
