"""A whole stack, as `manage.py up` starts it, seen from outside: its output, its credentials file, its servers.

Imports nothing of the product. What a client could not do (kill a worker, stop PostgreSQL) is done by signals.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import redis

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.05
PR_SET_PDEATHSIG = 1
# What a test run or a person's shell may have set, and what would point the stack elsewhere.
NOT_INHERITED = (
    "DATABASE_URL",
    "REDIS_URL",
    "EVENTSITE_VAR",
    "HOST",
    "PUBLIC_URL",
    "SECRET_KEY",
    "EVENTSITE_STACK",
)


def wait(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Waits for a condition; returns how many seconds it took. Errors: AssertionError after `seconds`."""
    begin = time.monotonic()
    while not condition():
        waited = time.monotonic() - begin
        if waited > seconds:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(min(POLL_SECONDS, seconds / 20))
    return time.monotonic() - begin


def _end_with_parent() -> None:
    """In the child: a killed test run takes its stack with it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """One state directory and the stack on it, started and stopped any number of times."""

    def __init__(self, var: Path, **settings: object) -> None:
        self.var = var
        self.ports = {"PORT": str(free_port()), "FLOWER_PORT": str(free_port())}
        self.env = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        self.env |= self.ports | {"EVENTSITE_VAR": str(var)}
        self.env |= {name: str(value) for name, value in settings.items()}
        self._output = var.parent / f"{var.name}.out"
        self._process: subprocess.Popen[bytes] | None = None

    # --- life ----------------------------------------------------------------------------------------------

    def start(self) -> "Stack":
        """Returns once the stack has printed its curl line. Errors: AssertionError with what it said instead."""
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        wait(lambda: self.curl_line or self.process.poll() is not None, START_SECONDS, "the start")
        assert self.curl_line, self.said
        for name in ("credentials", "valkey"):  # cached: another start may have written others
            self.__dict__.pop(name, None)
        return self

    def stop(self) -> float:
        """SIGTERM; returns how many seconds passed until the supervisor was gone."""
        begin = time.monotonic()
        self.process.terminate()
        self.process.wait(STOP_SECONDS)
        return time.monotonic() - begin

    def destroy(self) -> None:
        """Leaves nothing behind, however the test ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def processes(self) -> list[psutil.Process]:
        """Every living process of this state directory: it works in it, or carries it in its environment."""
        mark, found = str(self.var), []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                inside = process.cwd().startswith(mark) or process.environ().get("EVENTSITE_VAR") == mark
                if inside and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                    found.append(process)
        return found

    @contextmanager
    def unattended(self) -> Iterator[None]:
        """The supervisor is frozen: what dies meanwhile stays dead until the end."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    # --- what a person sees --------------------------------------------------------------------------------

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "not started"
        return self._process

    @property
    def said(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def curl_line(self) -> str:
        lines = (line.strip() for line in self.said.splitlines())
        return next((line for line in lines if line.startswith("curl ")), "")

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs Python with the stack's environment, as the Makefile does."""
        return subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True, check=False
        )

    def parts(self) -> dict[str, int]:
        """The running parts by name, with their pids, as `make status` shows them."""
        rows = [
            line.split() for line in self.run("-m", "eventsite.console", "status").stdout.splitlines()[1:]
        ]
        return {
            row[0]: int(row[1]) for row in rows if len(row) > 2 and row[1].isdigit() and row[2] == "running"
        }

    def log(self, part: str) -> str:
        return (self.var / "logs" / f"{part}.log").read_text(errors="replace")

    # --- its doors -----------------------------------------------------------------------------------------

    @cached_property
    def credentials(self) -> Mapping[str, Any]:
        known: dict[str, Any] = json.loads((self.var / "credentials.json").read_text())
        return known

    @cached_property
    def valkey(self) -> redis.Redis:
        return redis.Redis.from_url(self.credentials["redis_url"])

    @contextmanager
    def inserts_blocked(self) -> Iterator[None]:
        """Nothing is inserted into the events table, and who tries waits inside its transaction."""
        connection = psycopg2.connect(self.credentials["database_url"], connect_timeout=5)
        try:
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE events_event IN SHARE MODE")
                yield
        finally:
            connection.close()

    def ask(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Asks PostgreSQL, on a connection of its own. Numbers of jsonb come as text: ask for `::text`."""
        connection = psycopg2.connect(self.credentials["database_url"], connect_timeout=5)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()


@contextmanager
def served_by_wsgi(stack: Stack, *, threads: int = 8) -> Iterator[Mapping[str, Any]]:
    """Django alone, beside the stack: the same ingest contract as a DRF view. Yields credentials with its address."""
    with served("eventsite.wsgi:application", env=stack.env, threads=threads) as url:
        yield {**stack.credentials, "url": url}


@contextmanager
def served(application: str, *, env: Mapping[str, str], threads: int) -> Iterator[str]:
    """Serves a WSGI application until the end of the block; yields its address once it listens."""
    port = free_port()
    command = [
        "-m",
        "granian",
        application,
        "--interface",
        "wsgi",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += ["--blocking-threads", str(threads), "--backlog", "4096", "--backpressure", "4096"]
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait(
            lambda: listens(port) or process.poll() is not None,
            START_SECONDS,
            f"{application} on port {port}",
        )
        assert process.poll() is None, f"{application} ended with {process.returncode}"
        yield f"http://127.0.0.1:{port}"
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def stack_in_clean_folder(**settings: object) -> Iterator[Stack]:
    """A stack that is not started yet, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="eventsite-systemtest-") as folder:
        # PostgreSQL of root runs as nobody, who must pass through to the state directory.
        Path(folder).chmod(0o711)
        stack = Stack(Path(folder).resolve() / "var", **settings)
        try:
            yield stack
        finally:
            stack.destroy()
