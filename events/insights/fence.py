"""What the kernel forbids a process that runs questions, whatever DuckDB lets through. Linux; elsewhere less is fenced."""

import contextlib
import ctypes
import os
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# Questions take what ingestion leaves. p99 of 500 requests a second beside one heavy question after the other, interleaved, on a
# busy two-core machine: 18 ms without questions, 23 at nice 0, 19 at nice 10 and 19; the questions took 0.5 s at each.
NICE: Final = 19
_SPARE_BYTES: Final = 512 * 1024 * 1024  # beyond DuckDB's own limit, which strings and lists do not heed
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_ASKED_BY_DUCKDB: Final = ("/proc/self/cgroup", "/sys/fs/cgroup", "/proc/meminfo")  # how much memory there is
# Landlock's system calls have these numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_CHANGES: Final = ((1 << 13) - 1) & ~(_EXECUTE | _READ_FILE | _READ_DIR)
_libc = ctypes.CDLL(None, use_errno=True)


def be_modest() -> None:
    """Last in line for the processor, first when memory runs out."""
    with contextlib.suppress(OSError):
        os.nice(NICE - os.nice(0))
    if hasattr(
        os, "SCHED_IDLE"
    ):  # whoever else wakes takes the processor at once; beside nice alone it waits for its turn
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def open_statm() -> int | None:
    """The file that says how much memory is mapped, opened before it is out of reach. None where there is no such."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC) if sys.platform == "linux" else None


def bound_memory(memory_mb: int, statm: int | None) -> None:
    """After the set-up: what is mapped by then does not count, for threads reserve much that they never touch."""
    if statm is None:
        return
    mapped = int(os.pread(statm, 100, 0).split()[0]) * resource.getpagesize()
    os.close(statm)
    bound = mapped + memory_mb * 1024 * 1024 + _SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def resident_bytes() -> int:
    """Of this process; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


def become_nobody() -> None:
    """Where root runs us: any other user. Files that are open stay reachable through /proc/self/fd."""
    if os.geteuid() != 0:
        return
    nobody = 65534
    with contextlib.suppress(ImportError, KeyError):
        import pwd

        nobody = pwd.getpwnam("nobody").pw_uid
    with contextlib.suppress(OSError):  # in a container that may not change users Landlock is left
        os.setgroups([])
        os.setresgid(nobody, nobody, nobody)
        os.setresuid(nobody, nobody, nobody)
        _prctl(_PR_SET_DUMPABLE)  # else /proc/self/fd belongs to root and is closed to us


def allow_reading_only(descriptors: Iterable[int]) -> bool:
    """From here on this process opens these files for reading, and nothing else. Says whether the kernel can do that."""
    with contextlib.ExitStack() as opened:
        asked = []
        for path in _ASKED_BY_DUCKDB:
            with contextlib.suppress(OSError):
                asked.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
                opened.callback(os.close, asked[-1])
        rules = [(descriptor, _READ_FILE) for descriptor in (*descriptors, *asked)]
        return _restrict(_CHANGES | _EXECUTE | _READ_FILE | _READ_DIR, rules)


def allow_writing_only(*directories: Path) -> bool:
    """From here on this process changes nothing elsewhere; reading stays free. Says whether the kernel can do that."""
    if not landlock_version():
        return False
    descriptors = [os.open(directory, os.O_PATH | os.O_CLOEXEC) for directory in directories]
    try:
        return _restrict(_CHANGES, [(descriptor, _CHANGES) for descriptor in descriptors])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def forbid_the_rest(*, open_files: int) -> None:
    """No byte written to a file, no process or thread started, few files opened."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def landlock_version() -> int:
    """Files from 1 on, also their truncation from 3, the network from 4, signals from 6. 0 where there is none."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, 0, 1))) if sys.platform == "linux" else 0


def _restrict(handled: int, rules: Iterable[tuple[int, int]]) -> bool:
    version = landlock_version()
    if version < 1:
        return False
    # What changes files came with several versions; an unknown bit would refuse the whole set.
    handled |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    net = 0b11 if version >= 4 else 0
    scoped = 0b11 if version >= 6 else 0
    attributes = struct.pack("=QQQ", handled, net, scoped)
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, (8, 16, 24)[(version >= 4) + (version >= 6)], 0)
    if ruleset < 0:
        return False
    try:
        for descriptor, allowed in rules:
            extra = (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
            rule = struct.pack("=Qi", allowed | (extra if allowed & _WRITE_FILE else 0), descriptor)
            if _libc.syscall(_ADD_RULE, ruleset, 1, rule, 0) != 0:
                return False
        _prctl(_PR_SET_NO_NEW_PRIVS)
        return bool(_libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _prctl(option: int) -> None:
    _libc.prctl(option, 1, 0, 0, 0)
