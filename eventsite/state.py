"""The state directory (`EVENTSITE_VAR`): what lies where, and the modes that keep other users out.

Imported by settings and by the supervisor, so it knows neither Django nor anything that weighs.
"""

import json
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_MAX_BYTES = 107  # sun_path holds 108 with its closing zero
# libpq and PostgreSQL split socket directories at commas and treat some characters apart: such a path is not
# used.
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/+-")
POSTGRES_SOCKET = ".s.PGSQL.5432"
VALKEY_SOCKET = "valkey.sock"
QUESTION_SOCKET = "questions.sock"


class StateError(Exception):
    """The state directory cannot be used; the text is one clear line for a person."""


@dataclass(frozen=True)
class Places:
    """Every path under one state directory."""

    var: Path

    @property
    def logs(self) -> Path:
        return self.var / "logs"

    @property
    def run(self) -> Path:
        return self.var / "run"

    @property
    def metrics(self) -> Path:
        """What processes count for /metrics (metrics.py); begun anew at each start."""
        return self.run / "metrics"

    @property
    def postgres(self) -> Path:
        """Holds `data/` and `run/`; a symbolic link where root had to move it (see identity.py)."""
        return self.var / "postgres"

    @property
    def postgres_data(self) -> Path:
        return self.postgres / "data"

    @property
    def valkey(self) -> Path:
        return self.var / "valkey"

    @property
    def secrets(self) -> Path:
        return self.var / "secrets.json"

    @property
    def credentials(self) -> Path:
        return self.var / "credentials.json"

    @property
    def lock(self) -> Path:
        return self.run / "supervisor.lock"

    @property
    def status(self) -> Path:
        return self.run / "status.json"

    @property
    def postgres_sockets(self) -> Path:
        """Apart from `run`, for root's PostgreSQL is another user, to whom `run` is closed."""
        return _short(self.postgres / "run", POSTGRES_SOCKET, f"eventsite-{fingerprint(self.var)}-postgres")

    @property
    def valkey_sockets(self) -> Path:
        return _short(self.run, VALKEY_SOCKET, f"eventsite-{fingerprint(self.var)}-valkey")

    @property
    def question_socket(self) -> Path:
        directory = _short(self.run, QUESTION_SOCKET, f"eventsite-{fingerprint(self.var)}-questions")
        return directory / QUESTION_SOCKET


def places(var_dir: Path | str) -> Places:
    """Takes the state directory in any spelling, returns its paths; nothing is made."""
    return Places(Path(var_dir).resolve())


def fingerprint(path: Path) -> str:
    """Returns 16 hex digits for a path. Two checksums, not hashlib: OpenSSL would cost the supervisor 4
    MB."""
    spelled = os.fsencode(path)
    return f"{zlib.crc32(spelled):08x}{zlib.crc32(spelled[::-1], zlib.adler32(spelled)):08x}"


def _short(wanted: Path, socket_name: str, fallback: str) -> Path:
    spelled = os.fsencode(wanted / socket_name)
    if len(spelled) <= SOCKET_PATH_MAX_BYTES and _PLAIN.issuperset(str(wanted)):
        return wanted
    # Not tempfile.gettempdir(): TMPDIR may differ between the process that listens and the one that connects.
    return Path("/tmp") / fallback  # noqa: S108  made 0700 and verified by private_dir


def private_dir(path: Path, *, uid: int | None = None, gid: int | None = None) -> None:
    """Makes a directory 0700, or tightens ours; root may hand it to `uid`. A directory of anyone else is
    refused."""
    owner = os.geteuid() if uid is None else uid
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), owner}:
        raise StateError(
            f"{path} is not a directory of ours: remove it, or set EVENTSITE_VAR to another place."
        )
    if found.st_uid != owner:
        os.chown(path, owner, owner if gid is None else gid)
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)


def prepare(var_dir: Path | str) -> Places:
    """Makes the state directory, its logs and run directories and the secrets; returns the paths.
    Repeatable."""
    found = places(var_dir)
    with _or_one_line(found.var):
        found.var.mkdir(parents=True, exist_ok=True)
        for directory in (found.logs, found.run, found.metrics, found.valkey):
            private_dir(directory)
    read_or_make_secrets(found)
    return found


def read_secrets(found: Places) -> dict[str, str]:
    """Returns the secrets, or nothing where none were made yet."""
    try:
        secrets: dict[str, str] = json.loads(found.secrets.read_text())
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise StateError(
            f"{found.secrets} cannot be read by this user: start as its owner or as root."
        ) from None
    return secrets


def read_or_make_secrets(found: Places) -> dict[str, str]:
    """Returns the secrets, made once: of several processes that make them at the same time, one wins."""
    if not found.secrets.exists():
        with _or_one_line(found.var):
            _make_secrets(found)
    return read_secrets(found)


def _make_secrets(found: Places) -> None:
    made = {"secret_key": os.urandom(32).hex(), "postgres_password": os.urandom(24).hex()}
    found.var.mkdir(parents=True, exist_ok=True)
    draft = _draft(found.secrets, json.dumps(made, indent=2) + "\n")
    with suppress(FileExistsError):
        os.link(draft, found.secrets)
    draft.unlink()


@contextmanager
def _or_one_line(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(f"{directory} cannot be used (EVENTSITE_VAR): {error.strerror}.") from None


def write_private(path: Path, text: str) -> None:
    """Replaces a file, mode 0600, so that a reader sees the old text or the new, never half."""
    _draft(path, text).replace(path)


def _draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft
