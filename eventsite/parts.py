"""What a stack consists of: the command, the readiness and the way to stop of each of its processes."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eventsite import embedded, identity, launch
from eventsite.broker import broker_url
from eventsite.launch import Launch
from eventsite.processes import Child
from eventsite.state import Places, StateError, places, private_dir

BASE_DIR = Path(__file__).resolve().parent.parent
READY_FILE = "EVENTSITE_READY_FILE"  # a worker touches the file named by it once it consumes (celery.py)
# Connections at a time; granian accepts none beyond it, so that the next client, and /healthz too, would hang. An idle one
# costs 2.5 kB, and is closed after the 30 s that headers may take.
BACKLOG = 16_384


@dataclass(frozen=True)
class Options:
    """What `manage.py up` hands over: settings that were checked there, by the names of their variables."""

    var: Path
    host: str
    port: int
    flower_port: int
    web_workers: int
    drain_slots: int
    stall_seconds: int
    lake: Path
    question_memory_mb: int
    question_slots: int
    valkey_maxmemory_mb: int
    valkey_appendfsync: str
    own_postgres: bool
    own_valkey: bool
    detached: bool

    @classmethod
    def from_environment(cls, env: Mapping[str, str], *, detached: bool) -> "Options":
        """Errors: StateError when the supervisor is started by hand instead of by `manage.py up`."""
        try:
            return cls(
                var=places(env["EVENTSITE_VAR"]).var,
                host=env["HOST"],
                port=int(env["PORT"]),
                flower_port=int(env["FLOWER_PORT"]),
                web_workers=int(env["WEB_WORKERS"]),
                drain_slots=int(env["EVENTS_DRAIN_SLOTS"]),
                stall_seconds=int(env["EVENTS_STALL_SECONDS"]),
                lake=Path(env["EVENTS_LAKE_DIR"]),
                question_memory_mb=int(env["EVENTS_QUESTION_MEMORY_MB"]),
                question_slots=int(env["EVENTS_QUESTION_SLOTS"]),
                valkey_maxmemory_mb=int(env["VALKEY_MAXMEMORY_MB"]),
                valkey_appendfsync=env["VALKEY_APPENDFSYNC"],
                own_postgres=not env.get("DATABASE_URL"),
                own_valkey=not env.get("REDIS_URL"),
                detached=detached,
            )
        except KeyError as missing:
            raise StateError(
                f"{missing.args[0]} is not set: start with `make up` or `manage.py up`."
            ) from None

    @property
    def connect_host(self) -> str:
        """Where to reach what listens on `host`."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104


def postgres(options: Options, found: Places, home: identity.Home) -> Child:
    def command() -> Launch:
        embedded.clear_stale_locks(found.var)
        return embedded.postgres_launch(found.var, home)

    return Child(
        "postgres", command, logs=found.logs,
        ready=lambda child: embedded.postgres_ready(found.var, child.pid),
        stop_signal=signal.SIGINT, stop_seconds=3.5, hard_stop_signal=signal.SIGQUIT,
    )  # fmt: skip


def valkey(options: Options, found: Places) -> Child:
    def command() -> Launch:
        return embedded.valkey_launch(
            found.var, maxmemory_mb=options.valkey_maxmemory_mb, appendfsync=options.valkey_appendfsync
        )

    ready = lambda _: embedded.valkey_ready(found.var)  # noqa: E731
    return Child("valkey", command, logs=found.logs, ready=ready, stop_seconds=2.0)


def bootstrap(found: Places) -> Child:
    command = _python("bootstrap", found, str(BASE_DIR / "manage.py"), "bootstrap")
    return Child("bootstrap", command, logs=found.logs, ready=lambda _: True)


def web(options: Options, found: Places) -> Child:
    command = _python(
        "web", found, "-m", "granian", "eventsite.asgi:application", "--interface", "asginl", "--http", "1",
        "--host", options.host, "--port", str(options.port), "--workers", str(options.web_workers),
        "--loop", "uvloop", "--backlog", str(BACKLOG), "--backpressure", str(BACKLOG), "--no-ws",
        "--no-access-log", "--respawn-failed-workers", "--workers-kill-timeout", "2",
    )  # fmt: skip
    ready = lambda _: answers(options.connect_host, options.port, "/readyz")  # noqa: E731
    return Child("web", command, logs=found.logs, ready=ready, stop_seconds=3.0)


def questions(options: Options, found: Places) -> Child:
    """Answers questions of the lake. Stopped with the web, whose threads wait for it; its own processes end with it."""
    arguments = (
        "-m", "events.insights.server", "--socket", str(found.question_socket), "--lake", str(options.lake),
        "--memory-mb", str(options.question_memory_mb), "--slots", str(options.question_slots),
    )  # fmt: skip

    def command() -> Launch:
        private_dir(found.question_socket.parent)
        return _python("questions", found, *arguments)()

    ready = lambda _: listens(found.question_socket)  # noqa: E731
    return Child("questions", command, logs=found.logs, ready=ready, stop_seconds=1.0)


def drain(options: Options, found: Places) -> Child:
    return _worker("drain", found, "-Q", "drain", "-c", str(options.drain_slots))


def lake(found: Places) -> Child:
    # One process instead of two saves 50 MB. What hangs in it is interrupted, or the watch ends it (/livez/lake).
    return _worker("lake", found, "-Q", "lake", "-P", "solo")


def worker(found: Places) -> Child:
    # Beat rides along: one schedule, in the state directory.
    return _worker("worker", found, "-Q", "celery", "-c", "2", "-B", "-s", str(found.run / "beat-schedule"))


def flower(options: Options, found: Places, password: str, redis_url: str) -> Child:
    command = _python(
        # Without our app: Flower needs the broker's address only, and Django would cost it 40 MB.
        "flower", found, "-m", "celery", "flower", f"--address={options.host}", f"--port={options.flower_port}",
        # Not as arguments: those are seen by every user.
        extra={"FLOWER_BASIC_AUTH": f"admin:{password}", "CELERY_BROKER_URL": broker_url(redis_url)},
    )  # fmt: skip
    ready = lambda _: answers(options.connect_host, options.flower_port, "/healthcheck")  # noqa: E731
    return Child("flower", command, logs=found.logs, ready=ready, stop_seconds=3.0)


# Checks were run before the migrations; they load every address, and 30 MB with them.
CELERY = ("-m", "celery", "--skip-checks", "-A", "eventsite.celery:app")


def _worker(name: str, found: Places, *arguments: str) -> Child:
    ready_file = found.run / f"{name}.ready"
    build = _python(
        name, found, *CELERY, "worker", "-n", f"{name}@%h", "-E", "-l", os.environ.get("LOG_LEVEL", "INFO"),
        "--prefetch-multiplier", "1", "--without-mingle", "--without-gossip", *arguments,
        extra={READY_FILE: str(ready_file)},
    )  # fmt: skip

    def command() -> Launch:
        ready_file.unlink(missing_ok=True)
        return build()

    # A worker may be killed at any moment without loss, so it gets what is left of the fifteen seconds and no
    # more.
    return Child(name, command, logs=found.logs, ready=lambda _: ready_file.exists(), stop_seconds=4.5)


def _python(
    part: str, found: Places, *arguments: str, extra: Mapping[str, str] | None = None
) -> Callable[[], Launch]:
    env = launch.marked({**os.environ, "PYTHONUNBUFFERED": "1", **(extra or {})}, stack=found.var, part=part)
    return lambda: Launch([sys.executable, *arguments], env, BASE_DIR)


def answers(host: str, port: int, path: str) -> bool:
    """Says whether a server answers 200."""
    return status_of(host, port, path) == 200


def listens(path: Path) -> bool:
    """Says whether a server accepts connections at a Unix socket."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        connection.connect(str(path))
        return True
    return False


def status_of(host: str, port: int, path: str) -> int:
    """Returns an answer's status, 0 where there is none. A bare socket: http.client would cost the supervisor megabytes."""
    request = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with (
        suppress(OSError, ValueError, IndexError),
        socket.create_connection((host, port), timeout=1.0) as connection,
    ):
        connection.sendall(request.encode())
        return int(connection.recv(64).split(b" ")[1])
    return 0
