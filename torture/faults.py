"""The fault injector: one function per fault. Each returns when its cause has ended; recovery is the system's business."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from systemtest.stack import ROOT, Stack, wait
from torture.crowd import Crowd, Link, Project, Sending, new_ids

RESTART_SECONDS = 30.0


@dataclass(frozen=True)
class Severity:
    """How long what lasts a while does last. The shorter one is for the suite."""

    freeze_seconds: tuple[float, float] = (5.0, 20.0)
    read_only_seconds: float = 30.0
    full_seconds: float = 8.0
    storm_seconds: float = 5.0
    rounds: int = 30


SHORT = Severity((3.0, 3.0), read_only_seconds=4.0, full_seconds=3.0, storm_seconds=2.0, rounds=10)


@dataclass
class Stage:
    """What a fault needs: the stack, who sends to it, and chance, which comes from the seed."""

    stack: Stack
    crowd: Crowd
    rng: random.Random
    severity: Severity = field(default_factory=Severity)


Inflict = Callable[[Stage], None]

# --- who can be hit -----------------------------------------------------------------------------------------------


def part_pid(stack: Stack, name: str) -> int:
    """The pid of a part, once it runs."""
    wait(lambda: _running(stack, name), RESTART_SECONDS, f"{name} to run")
    return _running(stack, name)


def _running(stack: Stack, name: str) -> int:
    with suppress(OSError, ValueError):  # the file is replaced whole, but may be looked for while it is
        told = json.loads((stack.var / "run" / "status.json").read_text())
        return next(
            (int(p["pid"]) for p in told["children"] if p["name"] == name and p["state"] == "running"), 0
        )
    return 0


def _child_pid(stage: Stage, name: str) -> int:
    """A child of a part: a pool process of the worker, the web server's own worker."""

    def children() -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(part_pid(stage.stack, name)).children()
        return []

    wait(children, RESTART_SECONDS, f"a child of {name}")
    return stage.rng.choice(sorted(child.pid for child in children()))


def _backend_pid(stage: Stage) -> int:
    """A backend that serves a client, most likely a drain process or the tick."""
    rows = stage.stack.ask(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY pid"
    )
    return int(stage.rng.choice(rows)[0]) if rows else 0


VICTIMS: dict[str, Callable[[Stage], int]] = {
    "drain worker": lambda stage: part_pid(stage.stack, "drain"),
    "drain worker's child": lambda stage: _child_pid(stage, "drain"),
    "default worker": lambda stage: part_pid(stage.stack, "worker"),
    "web": lambda stage: part_pid(stage.stack, "web"),
    "web's worker": lambda stage: _child_pid(stage, "web"),
    "Valkey": lambda stage: part_pid(stage.stack, "valkey"),
    "PostgreSQL": lambda stage: part_pid(stage.stack, "postgres"),
    "a backend": _backend_pid,
    "the lake's worker": lambda stage: part_pid(stage.stack, "lake"),
}

# --- faults -------------------------------------------------------------------------------------------------------


def kill(victim: str, stage: Stage) -> None:
    """kill -9. Over when its children are gone too: the supervisor ends them, and some would serve for a moment longer."""
    if pid := VICTIMS[victim](stage):
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(pid).children(recursive=True)
            end(pid, signal.SIGKILL)
            wait(
                lambda: not any(map(_lives, children)),
                RESTART_SECONDS,
                f"the end of the children of {victim}",
            )


def freeze(victim: str, stage: Stage) -> None:
    """SIGSTOP: it hangs, its connections stay open. SIGCONT ends it, unless somebody ended the process meanwhile."""
    pid = VICTIMS[victim](stage)
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)  # psutil signals this very process, never a later one of that number
        process.suspend()
        time.sleep(stage.rng.uniform(*stage.severity.freeze_seconds))
        process.resume()


def read_only(stage: Stage) -> None:
    """PostgreSQL takes no writes, as a standby does after a failover. Sessions that stand are ended."""
    _alter_system(stage.stack, "default_transaction_read_only = on")
    time.sleep(stage.severity.read_only_seconds)
    _alter_system(stage.stack, "default_transaction_read_only = off")


def valkey_full(stage: Stage) -> None:
    """maxmemory is below what is used, so every command that needs memory is refused; then it is raised again."""
    client: Any = stage.stack.valkey
    before = client.config_get("maxmemory")["maxmemory"]
    client.config_set("maxmemory", 1_000_000)
    time.sleep(stage.severity.full_seconds)
    client.config_set("maxmemory", before)


def client_kill_storm(stage: Stage) -> None:
    """Every connection to Valkey is cut, twenty times a second."""
    client: Any = stage.stack.valkey
    end_at = time.monotonic() + stage.severity.storm_seconds
    while time.monotonic() < end_at:
        for kind in ("normal", "pubsub"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        time.sleep(0.05)


def rolling_restart(stage: Stage) -> None:
    """SIGTERM to web and both workers, one after another, each waited for."""
    for name in ("web", "drain", "worker"):
        old = part_pid(stage.stack, name)
        os.kill(old, signal.SIGTERM)
        wait(lambda: _running(stage.stack, name) not in (0, old), RESTART_SECONDS, f"a new {name}")  # noqa: B023


def midnight(stage: Stage) -> None:
    """The same ids on both sides of midnight; their batch is stored by a process that dies before it can ack."""
    call = f"from torture import inside; inside.midnight({stage.rng.getrandbits(32)})"
    died = stage.stack.run("manage.py", "shell", "--no-imports", "-c", call)
    if died.returncode != -signal.SIGKILL:
        raise AssertionError(
            f"the process that was to die between store and ack did not: {died.stderr[-2000:]}"
        )
    told = json.loads(died.stdout)
    stage.crowd.note(Sending(Project(told["project_id"], ""), told["ids"]))


def opposite_order(stage: Stage) -> None:
    """Two workers, and two clients that send the same ids at the same time in opposite order. One worker is then killed."""
    crowd, project, links = stage.crowd, stage.crowd.projects[0], [Link(stage.crowd.url) for _ in "ab"]
    with second_worker(stage.stack), ThreadPoolExecutor(2) as both:
        for _ in range(stage.severity.rounds):
            ids = new_ids(stage.rng, 200)
            there = both.submit(crowd.deliver, links[0], Sending(project, ids))
            back = both.submit(crowd.deliver, links[1], Sending(project, ids[::-1]), note=False)
            there.result()
            back.result()


def kill_storm(stage: Stage) -> None:
    """Web, drain worker, PostgreSQL and Valkey are killed within a second."""
    victims = ["web", "drain worker", "PostgreSQL", "Valkey"]
    stage.rng.shuffle(victims)
    for pid in [VICTIMS[victim](stage) for victim in victims]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)


FAULTS: dict[str, Inflict] = {
    **{f"kill -9 {victim}": partial(kill, victim) for victim in VICTIMS},
    **{f"SIGSTOP {victim}": partial(freeze, victim) for victim in VICTIMS},
    "kill -9 all within a second": kill_storm,
    "PostgreSQL read-only": read_only,
    "Valkey at maxmemory": valkey_full,
    "CLIENT KILL storm": client_kill_storm,
    "SIGTERM, rolling restart": rolling_restart,
    "midnight, killed between store and ack": midnight,
    "two workers, opposite order": opposite_order,
}

# --- tools --------------------------------------------------------------------------------------------------------


def end(pid: int, number: signal.Signals) -> None:
    """Signals a process and returns when it does no more work."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.send_signal(number)
        wait(lambda: not _lives(process), RESTART_SECONDS, f"the end of {pid}")


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _alter_system(stack: Stack, setting: str) -> None:
    connection = psycopg2.connect(stack.credentials["database_url"], connect_timeout=5)
    connection.autocommit = True  # ALTER SYSTEM takes no transaction
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER SYSTEM SET {setting}")
            cursor.execute("SELECT pg_reload_conf()")
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
    finally:
        connection.close()


@contextmanager
def second_worker(stack: Stack) -> Iterator[None]:
    """A further drain worker, as README starts one. Killed in the end."""
    ready, log = stack.var / "run" / "drain2.ready", stack.var / "logs" / "drain2.log"
    ready.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "eventsite.celery:app",
        "worker",
        "-n",
        "drain2@%h",
        "-Q",
        "drain",
    ]
    command += ["-c", "2", "-E", "--prefetch-multiplier", "1", "--without-mingle", "--without-gossip"]
    with log.open("ab") as output:
        worker = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**stack.env, "EVENTSITE_READY_FILE": str(ready)},
            stdout=output,
            stderr=output,
        )
    try:
        wait(lambda: ready.exists() or worker.poll() is not None, RESTART_SECONDS, "a second drain worker")
        yield
    finally:
        family = psutil.Process(worker.pid).children() if worker.poll() is None else []
        worker.kill()
        worker.wait()
        for child in family:
            end(child.pid, signal.SIGKILL)


# --- a full disk: on a stack of its own ---------------------------------------------------------------------------


@contextmanager
def small_disk(stack: Stack, *, megabytes: int = 400) -> Iterator[Path | None]:
    """A tmpfs in the place of PostgreSQL's directory, before the first start; None where mounts are not allowed."""
    place = stack.var / "postgres"
    place.mkdir(parents=True, mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "none", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        yield None
        return
    try:
        yield place
    finally:
        stack.destroy()
        subprocess.run(["umount", str(place)], check=True)


def fill_disk(disk: Path, stage: Stage) -> None:
    """Not a byte is left for PostgreSQL, neither for tables nor for its log; then there is again."""
    balloon = disk / "balloon"
    try:
        with balloon.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 65536):
                pass
        time.sleep(stage.severity.full_seconds)
    finally:
        balloon.unlink()
