"""One supervisor for a state directory, and nothing left of it when it is killed.

The lock is held by the supervisor and by its sentinel, a fork that does nothing but outlive it: when the
supervisor goes without a word the sentinel ends what it started, and only then is the lock free for the next
start.
"""

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from eventsite import leftovers
from eventsite.state import Places

HANDOVER_SECONDS = 20.0  # more than a sentinel needs
ORPHAN_GRACE_SECONDS = 5.0


class AlreadyRunning(Exception):
    """Another supervisor runs on this state directory; the text is one clear line."""


class Tenancy:
    """The lock on a state directory. Errors of `enter`: AlreadyRunning."""

    def __init__(self, found: Places) -> None:
        self.found = found
        self.sentinel = 0
        self._lock = -1
        self._lifeline = -1

    def enter(self) -> None:
        """Takes the lock, waits for the sentinel of a killed supervisor, ends what it may have missed."""
        self._lock = os.open(self.found.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + HANDOVER_SECONDS
        while not _try_lock(self._lock):
            pid = supervisor_pid(self.found)
            if pid or time.monotonic() > deadline:
                os.close(self._lock)
                raise AlreadyRunning(
                    f"Eventsite already runs on {self.found.var} (pid {pid or '?'}): `make status` shows it, "
                    "`make down` stops it."
                )
            time.sleep(leftovers.POLL_SECONDS)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        self.found.status.unlink(missing_ok=True)

    def guard(self) -> None:
        """Forks the sentinel. Before anything else is started, so that it inherits nothing of it."""
        reading, writing = os.pipe()
        sys.stdout.flush()
        self.sentinel = os.fork()
        if self.sentinel == 0:
            os.close(writing)
            _keep_watch(self.found, reading, self._lock)
        os.close(reading)
        if self._lifeline >= 0:
            os.close(self._lifeline)
        self._lifeline = writing

    def leave(self) -> None:
        """Releases the lock after an orderly stop."""
        if self._lifeline >= 0:
            with suppress(BrokenPipeError):
                os.write(self._lifeline, b"stopped")
            os.close(self._lifeline)
            with suppress(ChildProcessError):
                os.waitpid(self.sentinel, 0)
        self.found.status.unlink(missing_ok=True)
        os.ftruncate(self._lock, 0)
        os.close(self._lock)


def supervisor_pid(found: Places) -> int:
    """Returns the pid of the living supervisor of a state directory, else 0."""
    with suppress(OSError, ValueError):
        descriptor = os.open(found.lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            if _try_lock(descriptor):
                return 0
            pid = int(os.pread(descriptor, 32, 0) or b"0")
            os.kill(pid, 0)
            return pid if pid and not _is_zombie(pid) else 0
        finally:
            os.close(descriptor)
    return 0


def _is_zombie(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return False


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _keep_watch(found: Places, lifeline: int, lock: int) -> None:
    """The sentinel's whole life. Its own session, so that what kills the supervisor's group does not reach
    it."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):  # the terminal or pipe must be able to close
            os.dup2(nowhere, descriptor)
        kept = {0, 1, 2, lifeline, lock}
        for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
            if int(name) not in kept:
                with suppress(OSError):
                    os.close(int(name))
        if os.read(lifeline, 16) == b"":
            leftovers.end(found, grace_seconds=ORPHAN_GRACE_SECONDS)
    finally:
        os._exit(0)
