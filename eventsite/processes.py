"""One supervised process: its output in a bounded log, its state, its restarts."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from eventsite.launch import Launch

LOG_MAX_BYTES = 5_000_000
LOG_KEEP = 3
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_MAX_SECONDS = 5.0  # with a worker's start: events are stored again within 10 s of a cause's end
HEALTHY_AFTER_SECONDS = 60.0
TAIL_BYTES = 4_000


class BoundedLog:
    """A log file that is renamed aside when it is full. No line is lost or cut in the turn, and a full
    disk stops the writing, not the writer."""

    def __init__(self, path: Path, *, max_bytes: int = LOG_MAX_BYTES, keep: int = LOG_KEEP) -> None:
        self.path, self.max_bytes, self.keep = path, max_bytes, keep
        self.lost_bytes = 0
        self._open()

    def write(self, data: bytes) -> None:
        if self._size + len(data) > self.max_bytes and self._size:
            end_of_line = 0 if self._at_line_start else data.find(b"\n") + 1
            if self._at_line_start or end_of_line:
                self._append(data[:end_of_line])
                data = data[end_of_line:]
                self._turn()
        self._append(data)

    def close(self) -> None:
        os.close(self._file)

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size
        self._at_line_start = True

    def _append(self, data: bytes) -> None:
        while data:
            try:
                written = os.write(self._file, data)
            except (
                OSError
            ):  # a full disk: the servers must go on, and say what is missing when there is space
                self.lost_bytes += len(data)
                return
            self._size += written
            self._at_line_start = data[written - 1 : written] == b"\n"
            data = data[written:]
            if self.lost_bytes and not data:
                lost, self.lost_bytes = self.lost_bytes, 0
                data = f"[{lost} bytes of output were lost: the log could not be written]\n".encode()

    def _turn(self) -> None:
        names = [self.path, *(self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self.keep + 1))]
        with suppress(OSError):
            for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
                if newer.exists():
                    newer.replace(older)
        self.close()
        self._open()


class Child:
    """A process that should be there. The supervisor calls `start`, `pump`, `died`; this keeps what is
    known."""

    def __init__(
        self,
        name: str,
        command: Callable[[], Launch],
        *,
        logs: Path,
        ready: Callable[["Child"], bool],
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_seconds: float = 5.0,
        hard_stop_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.log = BoundedLog(logs / f"{name}.log")
        self.stop_signal, self.stop_seconds, self.hard_stop_signal = (
            stop_signal,
            stop_seconds,
            hard_stop_signal,
        )
        self.pid = 0
        self.restarts = 0
        self.is_ready = False
        self.exit_code: int | None = None
        self.since = 0.0
        self.next_start = 0.0
        self._command, self._is_ready = command, ready
        self._backoff = BACKOFF_FIRST_SECONDS
        self._process: subprocess.Popen[bytes] | None = None
        self._output = -1
        self._tail = b""
        self._started = 0.0

    @property
    def state(self) -> str:
        if self.pid:
            return "running" if self.is_ready else "starting"
        return "waiting" if self.next_start else "stopped"

    def start(self, watch: selectors.BaseSelector) -> None:
        """Starts it. Its output arrives at `pump` through the selector. Errors: OSError, StateError of its
        command."""
        self.next_start = 0.0
        reading, writing = os.pipe()
        try:
            self._process = self._command().start(output=writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        os.set_blocking(reading, False)
        if self._output >= 0:
            self._forget_output(watch)
        self._output = reading
        watch.register(reading, selectors.EVENT_READ, self)
        self.pid, self.exit_code, self.is_ready = self._process.pid, None, False
        self._started, self.since = time.monotonic(), time.time()

    def pump(self, watch: selectors.BaseSelector) -> None:
        """Moves what was said into the log."""
        try:
            data = os.read(self._output, 65536)
        except BlockingIOError:
            return
        if data:
            self.log.write(data)
            self._tail = (self._tail + data)[-TAIL_BYTES:]
        else:
            self._forget_output(watch)

    def check_ready(self) -> bool:
        if self.pid and not self.is_ready:
            self.is_ready = self._is_ready(self)
        return self.is_ready

    def died(self, exit_code: int, watch: selectors.BaseSelector) -> None:
        """Notes the end and when to start again: later each time, at once again after a minute of health."""
        while self._output >= 0 and self._has_output():
            self.pump(watch)
        if self._process is not None:
            self._process.returncode = exit_code  # reaped by the supervisor, not by Popen
        if time.monotonic() - self._started > HEALTHY_AFTER_SECONDS:
            self._backoff = BACKOFF_FIRST_SECONDS
        self.next_start = time.monotonic() + self._backoff
        self._backoff = min(self._backoff * 2, BACKOFF_MAX_SECONDS)
        self.pid, self.is_ready, self.exit_code, self.since = 0, False, exit_code, time.time()

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Its session's leader is the process itself, so its pid names its group too."""
        with suppress(ProcessLookupError, PermissionError):
            if self.pid:
                (os.killpg if group else os.kill)(self.pid, number)

    def last_words(self, count: int = 3) -> str:
        """Returns the end of what it said: the lines that tell why, where there are such."""
        lines = [line.strip() for line in self._tail.decode(errors="replace").splitlines() if line.strip()]
        telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "rror"))]
        return "\n".join(list(dict.fromkeys(telling or lines))[-count:])

    def close(self, watch: selectors.BaseSelector) -> None:
        if self._output >= 0:
            self._forget_output(watch)
        self.log.close()

    def _has_output(self) -> bool:
        with selectors.DefaultSelector() as one:
            one.register(self._output, selectors.EVENT_READ)
            return bool(one.select(0))

    def _forget_output(self, watch: selectors.BaseSelector) -> None:
        watch.unregister(self._output)
        os.close(self._output)
        self._output = -1
