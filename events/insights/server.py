"""The question process: admits questions, keeps the processes that answer them, ends those that go too far.

`python -m events.insights.server --socket PATH --lake DIR --memory-mb N --slots N`. It passes bytes on and imports neither
Django nor DuckDB, so that it weighs little while nobody asks. A thread for each connection; a connection is one question.

What a killed server leaves: its children see their socket closed and end too; files of exports and spills go at the next start.
"""

import argparse
import contextlib
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from events.insights import wire
from events.insights.line import Full, Line
from events.insights.wire import Reply, Request
from eventsite.launch import PART_MARK, STACK_MARK

WAITING: Final = 20  # questions in line; more are told to come back. The web has threads for twice as many (eventsite/handler.py)
WAITING_EXPORTS: Final = 8
REQUEST_SECONDS: Final = 5.0  # for a request to arrive
IDLE_SECONDS: Final = 600.0  # after which a process that answers nothing ends
_LOOK_SECONDS: Final = 15.0
_BACKLOG: Final = 128
# No address of a database, no password: a process that runs SQL of others has none of them in its memory.
_HANDED_ON: Final = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", STACK_MARK, PART_MARK)


class ClientGone(Exception):
    """Whoever asked has closed the connection."""


@dataclass(eq=False)
class Process:
    """One process of ours at the other end of a socket."""

    popen: "subprocess.Popen[bytes]"
    channel: socket.socket
    spill: Path | None = None
    idle_since: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, module: str, *arguments: str, lake: Path | None = None) -> "Process":
        """`lake`: where it spills, in a folder by its number, which a killed one cannot clear itself."""
        ours, theirs = socket.socketpair()
        with theirs:
            popen = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _HANDED_ON if name in os.environ},
            )
        return cls(popen, ours, wire.spill_dir(lake, popen.pid) if lake else None)

    def end(self) -> None:
        self.channel.close()
        self.popen.kill()
        self.popen.wait()
        if self.spill is not None:
            shutil.rmtree(self.spill, ignore_errors=True)


class Server:
    def __init__(self, *, lake: Path, memory_mb: int, slots: int) -> None:
        self.arguments = (str(lake), str(memory_mb))
        self.lake = lake
        self._lock = threading.Lock()
        self._idle: list[Process] = []
        self._zygote: Process | None = None
        self._questions = Line(places=slots, waiting=WAITING, seconds=wire.WAITING_SECONDS)
        self._exports = Line(places=1, waiting=WAITING_EXPORTS, seconds=wire.WAITING_SECONDS)

    def listen(self, path: Path) -> None:
        """Serves for ever."""
        for left_over in ("questions", "tmp/exports"):
            shutil.rmtree(self.lake / left_over, ignore_errors=True)
        path.unlink(missing_ok=True)
        os.umask(0o077)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            listening.bind(str(path))
            path.chmod(0o600)
            listening.listen(_BACKLOG)
            listening.settimeout(_LOOK_SECONDS)
            while True:
                with contextlib.suppress(TimeoutError):
                    client, _ = listening.accept()
                    threading.Thread(target=self._serve, args=[client], daemon=True).start()
                self.end_idle(IDLE_SECONDS)

    def end_idle(self, seconds: float) -> None:
        oldest = time.monotonic() - seconds
        with self._lock:
            ended = [process for process in self._idle if process.idle_since < oldest]
            self._idle = [process for process in self._idle if process not in ended]
            if self._zygote is not None and self._zygote.idle_since < oldest:
                ended.append(self._zygote)
                self._zygote = None
        for process in ended:
            process.end()

    # --- one question ----------------------------------------------------------------------------------------

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, EOFError, ClientGone):
            client.settimeout(REQUEST_SECONDS)
            request = wire.receive_request(client)
            line = self._exports if request.kind == wire.EXPORT else self._questions
            try:
                with line.place(has_left=lambda: _is_readable(client)):
                    reply = self._reply(request, client)
            except Full:
                reply = Reply(wire.BUSY)
            client.settimeout(REQUEST_SECONDS)
            wire.send_reply(client, reply)

    def _reply(self, request: Request, client: socket.socket) -> Reply:
        try:
            if request.kind == wire.BOX:
                return self._ask_box(request, client)
            if request.kind == wire.EXPORT:
                return self._export(request, client)
            return self._ask_child(request, client)
        except BlockingIOError:  # no more processes may be started
            return Reply(wire.AWAY)

    def _ask_child(self, request: Request, client: socket.socket) -> Reply:
        frame = wire.pack(request)
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            process = kept or Process.start("events.insights.child", *self.arguments, lake=self.lake)
            try:
                reply = _exchange(process, frame, request.seconds, client)
            except BrokenPipeError:  # it ended while nobody asked
                process.end()
                if kept is None:
                    return Reply(wire.AWAY)
                continue
            except ClientGone:
                self._keep_or_end(process, _stop(process))
                raise
            self._keep_or_end(process, reply)
            return reply

    def _export(self, request: Request, client: socket.socket) -> Reply:
        """In a process of its own, so that questions go on, and gone with it."""
        process = Process.start("events.insights.child", *self.arguments, lake=self.lake)
        is_done = False
        try:
            reply = _exchange(process, wire.pack(request), request.seconds, client)
            is_done = reply.code == wire.DONE
            return reply
        except BrokenPipeError:
            return Reply(wire.AWAY)
        finally:
            process.end()
            if not is_done:
                with contextlib.suppress(OSError):
                    os.unlink(request.path)

    def _ask_box(self, request: Request, client: socket.socket) -> Reply:
        """A process for this question alone, forked from one that has DuckDB loaded and nothing else."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._fork(theirs)
        with ours:  # closing it ends the fork
            try:
                ours.sendall(wire.pack(request))
            except BrokenPipeError:
                return Reply(wire.AWAY)
            return _await(ours, request.seconds, client)

    def _fork(self, channel: socket.socket) -> None:
        for _ in range(2):
            with self._lock:
                if self._zygote is None:
                    self._zygote = Process.start("events.insights.box", self.arguments[1])
                zygote = self._zygote
                zygote.idle_since = time.monotonic()
                try:
                    socket.send_fds(zygote.channel, [b"F"], [channel.fileno()])
                    return
                except OSError:
                    self._zygote = None
            zygote.end()

    def _keep_or_end(self, process: Process, reply: Reply) -> None:
        if reply.is_last:
            process.end()
            return
        process.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(process)


def _exchange(process: Process, frame: bytes, seconds: float, client: socket.socket) -> Reply:
    """Errors: ClientGone; BrokenPipeError where the process was gone before."""
    try:
        process.channel.sendall(frame)
    except ConnectionError as error:
        raise BrokenPipeError from error
    return _await(process.channel, seconds, client)


def _await(channel: socket.socket, seconds: float, client: socket.socket) -> Reply:
    """Returns the reply, or what to say of a process that gave none. Errors: ClientGone."""
    start = time.monotonic()
    # The process ends itself a second after its limit. Half a second more, and it is ended from here.
    last = start + seconds + wire.KILL_SECONDS + 0.5
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(client, select.POLLIN)
    while (left := last - time.monotonic()) > 0:
        ready = dict(poll.poll(left * 1000))
        if channel.fileno() in ready:
            with contextlib.suppress(OSError, EOFError):
                return wire.receive_reply(channel)
            is_late = time.monotonic() - start >= seconds
            return Reply(wire.TOO_SLOW if is_late else wire.AWAY, is_last=True)
        if client.fileno() in ready:
            raise ClientGone
    return Reply(wire.TOO_SLOW, is_last=True)


def _stop(process: Process) -> Reply:
    """Interrupts what a process does; returns what it says then."""
    with contextlib.suppress(OSError, EOFError):
        process.channel.sendall(wire.pack(Request(wire.STOP, 0.0)))
        process.channel.settimeout(wire.KILL_SECONDS)
        reply = wire.receive_reply(process.channel)
        process.channel.settimeout(None)
        return reply
    return Reply(wire.TOO_SLOW, is_last=True)


def _is_readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--memory-mb", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    given = parser.parse_args()
    Server(lake=given.lake, memory_mb=given.memory_mb, slots=given.slots).listen(given.socket)
