"""A process with DuckDB that answers one question after another, and ends with the server that started it.

`python -m events.insights.child <socket> <lake> <memory_mb>`. The time limit is kept here: an interrupt when it is reached,
and an alarm a second later, which the kernel turns into the end of this process whatever it is doing.
"""

import contextlib
import os
import queue
import resource
import select
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from events.insights import fence, wire
from events.insights.errors import TooManyRows
from events.insights.values import Table, fetch
from events.insights.wire import Reply, Request

SPILL_MB: Final = 4_096
EXPORT_MAX_BYTES: Final = 16 * 1024**3
RESIDENT_SPARE_BYTES: Final = 256 * 1024 * 1024  # above DuckDB's limit: then a fresh process is better
_FORMATS: Final = {
    # One column of texts, each a line as it is: DuckDB's own JSON would round numbers and lose what is in a text.
    "ndjson": "FORMAT csv, HEADER false, DELIMITER '', QUOTE '', ESCAPE ''",
    "csv": "FORMAT csv, HEADER true",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
}
_MEMORY_WORDS: Final = ("bad_alloc", "bad allocation", "failed to allocate", "out of memory")
_GONE_WORDS: Final = ("no such file", "no files found")
_DISK_WORDS: Final = ("no space left", "file too large", "disk quota")


class RunBody(msgspec.Struct):
    sql: str
    parameters: dict[str, Any]
    max_rows: int


class ExportBody(msgspec.Struct):
    sql: str
    parameters: dict[str, Any]
    format: str


class Listener(threading.Thread):
    """Reads what the server sends. Interrupts a question at its limit or when its asker is gone, until it ends."""

    def __init__(self, channel: socket.socket, connection: duckdb.DuckDBPyConnection) -> None:
        super().__init__(daemon=True)
        self.channel, self.connection = channel, connection
        self.requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self.is_busy = False
        self._deadline = 0.0

    def watch(self, deadline: float) -> None:
        """From now on a question is under way."""
        self._deadline = deadline
        self.is_busy = True

    def run(self) -> None:
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        while True:
            wait = max(self._deadline - time.monotonic(), 0.05) * 1000 if self.is_busy else None
            if poll.poll(wait):
                self._receive()
            if self.is_busy and time.monotonic() >= self._deadline:
                self.connection.interrupt()

    def _receive(self) -> None:
        try:
            request = wire.receive_request(self.channel)
        except (EOFError, OSError):
            os._exit(0)  # the server is gone, and with it whoever would read the answer
        if request.kind == wire.STOP:
            self._deadline = time.monotonic()
        else:
            self.watch(time.monotonic() + request.seconds)
            self.requests.put(request)


def main(descriptor: int, lake: Path, memory_mb: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    fence.be_modest()
    own, exports = wire.spill_dir(lake, os.getpid()), lake / "tmp" / "exports"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(mode=0o700, parents=True)
    exports.mkdir(mode=0o700, parents=True, exist_ok=True)
    fence.allow_writing_only(own, exports)  # before there are threads: it holds for those of later
    connection = connect(lake, own, memory_mb)
    fence.bound_memory(memory_mb, fence.open_statm())
    channel = socket.socket(fileno=descriptor)
    listener = Listener(channel, connection)
    listener.start()
    while True:
        request = listener.requests.get()
        signal.setitimer(signal.ITIMER_REAL, request.seconds + wire.KILL_SECONDS)
        reply, is_sound = answer(connection, request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        listener.is_busy = False
        is_sound = is_sound and fence.resident_bytes() < memory_mb * 1024 * 1024 + RESIDENT_SPARE_BYTES
        wire.send_reply(channel, Reply(reply.code, reply.body, is_last=not is_sound))
        if not is_sound:
            shutil.rmtree(own, ignore_errors=True)
            os._exit(0)


def connect(lake: Path, spill: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Returns an instance that reads the lake and spills, and cannot be told to do anything else."""
    config: dict[str, Any] = {
        "threads": min(2, os.cpu_count() or 1),
        "memory_limit": f"{memory_mb}MB",
        "temp_directory": str(spill),
        "max_temp_directory_size": f"{SPILL_MB}MB",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_persistent_secrets": "false",
    }
    connection = duckdb.connect(config=config)
    quoted = str(lake).replace("'", "''")
    connection.execute(
        "SET TimeZone = 'UTC'; SET enable_progress_bar = false; SET python_enable_replacements = false;"
        f"SET parquet_metadata_cache = true; SET allowed_directories = ['{quoted}/'];"
        "SET enable_external_access = false; SET lock_configuration = true"
    )
    return connection


def answer(connection: duckdb.DuckDBPyConnection, request: Request) -> tuple[Reply, bool]:
    """Returns the reply, and whether this process is as good as new after it."""
    start = time.monotonic()
    try:
        if request.kind == wire.EXPORT:
            return Reply(wire.DONE, _export(connection, request, start)), True
        body = msgspec.msgpack.decode(request.body, type=RunBody)
        connection.execute(body.sql, body.parameters)
        columns, pages, _ = fetch(
            connection, max_rows=body.max_rows, max_bytes=wire.ANSWER_MAX_BYTES, cut=False
        )
        table = Table(columns, pages, time.monotonic() - start)
        return Reply(wire.DONE, msgspec.msgpack.encode(table)), True
    except (duckdb.Error, TooManyRows, MemoryError, RuntimeError, OSError, ValueError, TypeError) as error:
        return refusal(error), not isinstance(
            error, duckdb.FatalException | duckdb.InternalException | MemoryError
        )


def refusal(error: BaseException) -> Reply:
    """What an error of DuckDB means to whoever asked."""
    text = str(error)
    lowered = text.lower()
    if isinstance(error, TooManyRows):
        return Reply(wire.TOO_MANY_ROWS)
    if isinstance(error, duckdb.InterruptException):
        return Reply(wire.TOO_SLOW)
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException) or any(
        word in lowered for word in _MEMORY_WORDS
    ):
        return Reply(wire.TOO_LARGE)
    if isinstance(error, duckdb.IOException | OSError) and any(word in lowered for word in _GONE_WORDS):
        return Reply(wire.FILE_MISSING)
    if isinstance(error, duckdb.IOException | OSError) and any(word in lowered for word in _DISK_WORDS):
        return Reply(wire.TOO_LARGE)
    if isinstance(error, duckdb.FatalException | duckdb.InternalException | duckdb.IOException | OSError):
        print(f"{type(error).__name__}: {text.partition(chr(10))[0][:300]}", file=sys.stderr, flush=True)
        return Reply(wire.AWAY)
    return Reply(wire.INVALID, text[:2_000].encode())


def _export(connection: duckdb.DuckDBPyConnection, request: Request, start: float) -> bytes:
    body = msgspec.msgpack.decode(request.body, type=ExportBody)
    free = shutil.disk_usage(Path(request.path).parent).free
    bound = min(EXPORT_MAX_BYTES, free // 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bound, resource.RLIM_INFINITY))
    quoted = request.path.replace("'", "''")
    try:
        connection.execute(
            f"COPY ({body.sql}) TO '{quoted}' ({_FORMATS[body.format]}, USE_TMP_FILE false)", body.parameters
        )
        made = connection.fetchone()
    except BaseException:
        with contextlib.suppress(OSError):
            Path(request.path).unlink()
        raise
    rows = int(made[0]) if made else 0
    return msgspec.msgpack.encode({"rows": rows, "seconds": time.monotonic() - start})


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
