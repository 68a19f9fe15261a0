"""Finds and ends processes that an earlier run of the same state directory left behind, and never any other.

A process is ours when it carries the mark of the state directory in its environment, or when it is a postgres
or valkey-server that works in its data directory (PostgreSQL's children overwrite their environment with
their title).
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eventsite.launch import PART_MARK, STACK_MARK
from eventsite.state import Places

PROC = Path("/proc")
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Process:
    pid: int
    part: str
    started: str  # in ticks since boot: with the pid it names one process for ever
    is_postmaster: bool = False


def find(found: Places, *, part: str | None = None) -> list[Process]:
    """Returns the living processes of this state directory (of one part of it), without this one."""
    homes = {
        str(found.postgres_data.resolve()): ("postgres", "postgres"),
        str(found.valkey.resolve()): ("valkey", "valkey-server"),
    }
    stack_mark = f"{STACK_MARK}={found.var}".encode()
    return [
        process
        for pid in _pids()
        if pid != os.getpid()
        if (process := _ours(pid, stack_mark, homes)) is not None
        if part is None or process.part == part
    ]


def end(found: Places, *, grace_seconds: float, part: str | None = None) -> int:
    """Asks each to stop in its own way, kills what is left after the grace, waits until all are gone.

    Returns how many there were. Errors: TimeoutError when one does not even go when killed (a hung disk).
    """
    there = find(found, part=part)
    for process in there:
        if process.part != "postgres":
            _send(process, signal.SIGTERM)
        elif process.is_postmaster:
            _send(process, signal.SIGINT)  # fast shutdown; backends are its business
    if there and not _wait_gone(found, part, grace_seconds):
        for process in find(found, part=part):
            _send(process, signal.SIGKILL)
        if not _wait_gone(found, part, 5.0):
            raise TimeoutError("processes of an earlier run do not end, even when killed")
    return len(there)


def kill(found: Places, *, part: str) -> None:
    """Kills what a dead part left (its own children), so that it can start again."""
    for process in find(found, part=part):
        _send(process, signal.SIGKILL)
    _wait_gone(found, part, 5.0)


def _wait_gone(found: Places, part: str | None, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while find(found, part=part):
        if time.monotonic() > deadline:
            return False
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(POLL_SECONDS)
    return True


def _pids() -> Iterable[int]:
    # No /proc (macOS): nothing is found; the servers' own locks then guard the data.
    names = os.listdir(PROC) if PROC.is_dir() else []
    return (int(name) for name in names if name.isdigit())


def _ours(pid: int, stack_mark: bytes, homes: dict[str, tuple[str, str]]) -> Process | None:
    try:
        state, started = _state(pid)
        if state in "ZX":
            return None
        environment = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        executable, directory = _link(pid, "exe"), _link(pid, "cwd")
    except (OSError, ValueError):  # gone meanwhile, or another user's
        return None
    part, program = homes.get(directory, ("", ""))
    in_home = bool(program) and Path(executable).name == program
    if not in_home and stack_mark not in environment:
        return None
    if not in_home:
        prefix = f"{PART_MARK}=".encode()
        part = next((item[len(prefix) :].decode() for item in environment if item.startswith(prefix)), "")
    return Process(
        pid, part, started, is_postmaster=in_home and part == "postgres" and _is_postmaster(pid, directory)
    )


def _state(pid: int) -> tuple[str, str]:
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]


def _link(pid: int, name: str) -> str:
    return os.readlink(PROC / str(pid) / name).removesuffix(" (deleted)")


def _is_postmaster(pid: int, data: str) -> bool:
    with suppress(OSError, ValueError):
        return int((Path(data) / "postmaster.pid").read_text().split("\n", 1)[0]) == pid
    return False


def _send(process: Process, number: signal.Signals) -> None:
    """Signals that very process: the descriptor pins it, then its start time is compared."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (OSError, AttributeError):
        return
    try:
        if _state(process.pid)[1] == process.started:
            signal.pidfd_send_signal(descriptor, number)
    except (OSError, ValueError):
        return
    finally:
        os.close(descriptor)
