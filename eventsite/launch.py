"""How a child process starts: with whose rights, in a session of its own, and ended with its parent."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

PART_MARK = "EVENTSITE_PART"
STACK_MARK = "EVENTSITE_STACK"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWUSER = 0x10000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Identity:
    """Whose rights a server runs with.

    own        as whoever started us.
    drop       root started us: set to `uid`, which reaches binaries and data.
    namespace  root, and a parent directory is closed: a user namespace in which root is seen as `uid`.
               Outside of it the process is still root.
    """

    mode: Literal["own", "drop", "namespace"]
    uid: int
    gid: int

    @property
    def owner(self) -> int:
        """The user that must own its files, as seen from outside of the namespace."""
        return self.uid if self.mode == "drop" else os.geteuid()

    @property
    def owner_group(self) -> int:
        return self.gid if self.mode == "drop" else os.getegid()


def ours() -> Identity:
    """The rights of this process."""
    return Identity("own", os.geteuid(), os.getegid())


@dataclass(frozen=True)
class Launch:
    """One command, ready to start any number of times."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    identity: Identity = field(default_factory=ours)
    # What the kernel sends when the supervisor dies without a word: each server's own way of stopping in
    # order.
    orphan_signal: int = signal.SIGTERM

    def start(self, *, output: int | IO[bytes], stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
        """Starts it, stdout and stderr to `output`. Only from the main thread: the kernel's orphan signal
        follows the thread that started a process, not its process."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "start servers from the main thread: they end with the thread that started them"
            )
        return subprocess.Popen(
            self.argv,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            **self._rights(),
        )

    def run(self, *, text: str = "") -> "subprocess.CompletedProcess[str]":
        """Runs it to its end with `text` as its input; returns exit code and output."""
        return subprocess.run(
            self.argv,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            **self._rights(),
        )

    def _rights(self) -> dict[str, Any]:
        """Popen's arguments. They drop rights before preexec_fn runs, so the orphan signal (which a change
        of user clears) is set after it."""
        dropped: dict[str, Any] = {}
        if self.identity.mode == "drop":
            dropped = {"user": self.identity.uid, "group": self.identity.gid, "extra_groups": []}
        return dropped | {
            "env": dict(self.env),
            "cwd": self.cwd,
            "start_new_session": True,
            "preexec_fn": self._last_steps(os.getpid()),
        }

    def _last_steps(self, parent: int) -> Callable[[], None]:
        def in_child() -> None:
            os.umask(0o077)
            if self.identity.mode == "namespace":
                enter_namespace(self.identity.uid, self.identity.gid)
            if sys.platform == "linux":
                _libc.prctl(_PR_SET_PDEATHSIG, int(self.orphan_signal), 0, 0, 0)
                if os.getppid() != parent:  # it died before the line above
                    os._exit(1)

        return in_child


def enter_namespace(uid: int, gid: int) -> None:
    """Puts this process into a user namespace where its own user is seen as `uid` (as `unshare --user
    --map-user` does, without needing a util-linux of that age). Errors: OSError where namespaces are
    refused."""
    own_uid, own_gid = os.geteuid(), os.getegid()
    if _libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/uid_map").write_text(f"{uid} {own_uid} 1\n")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{gid} {own_gid} 1\n")


def adopt_orphans() -> None:
    """Makes this process the parent of its descendants whose parent dies, so that it can end and reap
    them."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def marked(env: Mapping[str, str], *, stack: Path, part: str) -> dict[str, str]:
    """Returns `env` with the marks by which leftovers of a stack are found again (leftovers.py)."""
    return {**env, STACK_MARK: str(stack), PART_MARK: part}
