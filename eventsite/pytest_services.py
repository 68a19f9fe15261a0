"""pytest plugin: PostgreSQL and Valkey of the tests' own, started before Django's settings are read, gone
afterwards.

The same servers and settings as the product's. Loaded by `-p eventsite.pytest_services` in pyproject.toml.
Django must not be imported here: its settings would be read before the servers' addresses are known.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from eventsite import embedded, launch, leftovers
from eventsite.launch import Launch
from eventsite.state import Places, places

START_SECONDS = 30.0
STOP_SECONDS = 10.0
DIRECTORY_PREFIX = "eventsite-test-"
# Asking pytest about itself needs no server.
WITHOUT_SERVICES = ("help", "version", "markers", "show_fixtures", "show_fixtures_per_test")


class Server:
    """One real server that a test may stop, kill, freeze and start again. Only from the main thread."""

    def __init__(
        self,
        name: str,
        found: Places,
        command: Callable[[], Launch],
        answers: Callable[[int], bool],
        stop_signal: signal.Signals,
    ) -> None:
        self.name = name
        self._found, self._command, self._answers, self._stop_signal = found, command, answers, stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def log(self) -> Path:
        return self._found.logs / f"{self.name}.log"

    def start(self, *, wait: bool = True) -> None:
        """Starts it where it does not run; waits until it answers."""
        if self._process is None or self._process.poll() is not None:
            leftovers.kill(self._found, part=self.name)
            with self.log.open("ab") as output:
                self._process = self._command().start(output=output)
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Errors: RuntimeError with its last words when it ends or does not answer in time."""
        deadline = time.monotonic() + seconds
        while not self._answers(self.pid):
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text(errors="replace").splitlines()[-5:]
                raise RuntimeError(f"{self.name} does not answer: " + " / ".join(said))
            time.sleep(0.01)

    def stop(self) -> None:
        """Stops it in order."""
        self._end(self._stop_signal)

    def kill(self) -> None:
        """Ends it as a crash does, its own children too."""
        self._end(signal.SIGKILL)
        leftovers.kill(self._found, part=self.name)

    def freeze(self) -> None:
        """SIGSTOP to it and its children: it hangs, connections stay open."""
        for process in leftovers.find(self._found, part=self.name):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for process in leftovers.find(self._found, part=self.name):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(number)
        if number is not signal.SIGKILL:
            self.thaw()  # a frozen process does not see the signal
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class Services:
    var: Path
    urls: embedded.Urls
    postgres: Server
    valkey: Server

    @classmethod
    def of(cls, var: Path) -> "Services":
        """Returns the servers of a state directory; makes their data, starts nothing."""
        found = places(var)
        home = embedded.prepare_postgres(var)

        def postgres() -> Launch:
            embedded.clear_stale_locks(var)
            return embedded.postgres_launch(var, home)

        return cls(
            var=found.var,
            urls=embedded.urls(var),
            postgres=Server(
                "postgres", found, postgres, lambda pid: embedded.postgres_ready(var, pid), signal.SIGINT
            ),
            valkey=Server(
                "valkey",
                found,
                lambda: embedded.valkey_launch(var),
                lambda _: embedded.valkey_ready(var),
                signal.SIGTERM,
            ),
        )

    def start(self) -> None:
        for server in (self.valkey, self.postgres):
            server.start(wait=False)
        for server in (self.valkey, self.postgres):
            server.wait_ready()

    def stop(self) -> None:
        for server in (self.postgres, self.valkey):
            server.stop()


_running: Services | None = None
_directory_lock = -1


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Before pytest-django reads the settings: its own hook is not a wrapper, so it comes after this."""
    if not any(getattr(early_config.known_args_namespace, option, False) for option in WITHOUT_SERVICES):
        _begin()
    return (yield)


def pytest_unconfigure() -> None:
    """Comes after the last test and after Ctrl-C. A killed pytest takes its servers with it (launch.py)."""
    global _running
    if _running is not None:
        _running.stop()
        shutil.rmtree(_running.var.parent, ignore_errors=True)
        _running = None


@pytest.fixture
def services() -> Generator[Services, None, None]:
    """The tests' PostgreSQL and Valkey. What a test stops or freezes is up again after it."""
    assert _running is not None  # noqa: S101
    yield _running
    for server in (_running.valkey, _running.postgres):
        server.thaw()
        server.start()


def _begin() -> None:
    global _running, _directory_lock
    _remove_abandoned()
    parent = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX))
    parent.chmod(0o711)  # ours, and empty but for the state directory: PostgreSQL of root must pass through
    _directory_lock = _lock(parent)
    _running = Services.of(parent / "var")
    # Whatever addresses the environment holds: tests never touch a server that is not theirs.
    os.environ.update(
        EVENTSITE_VAR=str(_running.var),
        DATABASE_URL=_running.urls.database_url,
        REDIS_URL=_running.urls.redis_url,
    )
    os.environ.pop(launch.STACK_MARK, None)
    _running.start()


def _lock(directory: Path) -> int:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return -1
    return descriptor


def _remove_abandoned() -> None:
    """Removes what killed test runs left: a directory whose lock nobody holds."""
    for directory in Path(tempfile.gettempdir()).glob(f"{DIRECTORY_PREFIX}*"):
        with suppress(OSError):
            if directory.stat().st_uid == os.geteuid() and (descriptor := _lock(directory)) >= 0:
                leftovers.end(places(directory / "var"), grace_seconds=2.0)
                shutil.rmtree(directory, ignore_errors=True)
                os.close(descriptor)
