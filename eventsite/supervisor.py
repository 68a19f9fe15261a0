"""The supervisor: starts a stack, restarts what dies, stops it in order. `manage.py up` becomes this process.

It stays in memory for as long as the stack runs, so it imports neither Django nor Celery. One thread, one
loop.
"""

import json
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from eventsite import console, embedded, launch, leftovers, parts, preflight, state
from eventsite.parts import Options
from eventsite.processes import Child
from eventsite.state import StateError
from eventsite.tenancy import AlreadyRunning, Tenancy
from eventsite.watch import Watch

START_SECONDS = 60.0
VALKEY_LOAD_SECONDS = 600.0  # a large append-only file takes its time, as does PostgreSQL's recovery
TRIES_AT_START = 3  # a part that dies this often before it was ever ready stops the start
SECOND_SIGNAL_SECONDS = 1.0  # make and the terminal both pass on a signal: that is not yet impatience


class Stopping(Exception):
    """Somebody asked to stop while the stack was starting."""


class Supervisor:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.found = state.prepare(options.var)
        self.tenancy = Tenancy(self.found)
        self.children: list[Child] = []
        self.watch_progress = Watch(options)
        self.phase = "starting"
        self._watch = selectors.DefaultSelector()
        self._stop_asked = 0.0
        self._impatient = False

    def run(self) -> int:
        """Runs the stack until it is asked to stop. Returns the exit code: 0 after an orderly stop."""
        preflight.check_python()
        self.tenancy.enter()
        try:
            self.journal = console.Journal(self.found.logs / "supervisor.log")
            self._listen_to_signals()
            launch.adopt_orphans()
            ended = leftovers.end(self.found, grace_seconds=5.0)
            if ended:
                self.journal.say(f"Ended {ended} processes that an earlier run had left.")
            for counted in self.found.metrics.glob("*.db"):
                counted.unlink()
            preflight.check_ports(
                self.options.host, {"PORT": self.options.port, "FLOWER_PORT": self.options.flower_port}
            )
            preflight.check_disk(self.found.var)
            preflight.raise_open_files()
            self.tenancy.guard()
            try:
                self._start()
                self._set_phase("running")
                if (
                    not self.options.detached
                ):  # else whoever waits for us says it; a log must not hold the password
                    console.say_hello(self.found)
                while not self._stop_asked:
                    self._turn(self._next_timer())
            except Stopping:
                pass
            finally:
                self._stop()
        finally:
            self.tenancy.leave()
        return 0

    # --- start ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._start_servers()
        self._run_bootstrap()
        known = json.loads(self.found.credentials.read_text())
        options, found = self.options, self.found
        self._begin(
            parts.web(options, found),
            parts.questions(options, found),
            parts.drain(options, found),
            parts.worker(found),
            parts.lake(found),
            parts.flower(options, found, known["admin_password"], known["redis_url"]),
        )
        self._wait_ready(START_SECONDS)

    def _start_servers(self) -> None:
        if self.options.own_valkey:
            self._begin(parts.valkey(self.options, self.found))  # comes up while PostgreSQL's data are made
        if self.options.own_postgres:
            home = embedded.prepare_postgres(self.found.var)
            if home.note:
                self.journal.write(home.note)
            self._begin(parts.postgres(self.options, self.found, home))
        self._wait_ready(VALKEY_LOAD_SECONDS)

    def _run_bootstrap(self) -> None:
        """Migrations, partitions, first admin and project: a Django process of its own, gone afterwards."""
        once = parts.bootstrap(self.found)
        self._begin(once)
        self._wait(lambda: once.exit_code is not None, START_SECONDS * 10, "The preparation of the database")
        self.children.remove(once)
        once.close(self._watch)
        if once.exit_code != 0:
            why = once.last_words(1).removeprefix("CommandError: ")
            raise StateError(why or f"bootstrap ended with {once.exit_code}: see {once.log.path}")

    def _begin(self, *children: Child) -> None:
        for child in children:
            self.children.append(child)
            child.start(self._watch)
        self._write_status()

    def _wait_ready(self, seconds: float) -> None:
        def all_ready() -> bool:
            for child in self.children:
                if child.restarts >= TRIES_AT_START and not child.is_ready:
                    raise StateError(f"{child.name} does not start ({child.log.path}):\n{child.last_words()}")
            return all(child.check_ready() for child in self.children)

        self._wait(all_ready, seconds, "The start")

    def _wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if self._stop_asked:
                raise Stopping
            if time.monotonic() > deadline:
                late = ", ".join(child.name for child in self.children if not child.is_ready)
                raise StateError(f"{what} took more than {seconds:.0f} s ({late}): see {self.found.logs}.")
            self._turn(0.05)

    # --- the loop ------------------------------------------------------------------------------------------

    def _turn(self, seconds: float) -> None:
        """One turn: moves output, reaps the dead, starts again what is due."""
        for key, _ in self._watch.select(seconds):
            if isinstance(key.data, Child):
                key.data.pump(self._watch)
            else:
                with suppress(BlockingIOError):
                    os.read(key.fd, 1024)
        self._reap()
        for child in self.children:
            if self.phase != "stopping" and child.next_start and time.monotonic() >= child.next_start:
                self._restart(child)
            elif self.phase == "running" and not child.is_ready and child.check_ready():
                self._write_status()
        if self.phase == "running" and self.watch_progress.due_in() <= 0:
            for deaf in self.watch_progress.look(self.children):
                self._report(f"{deaf.name} is alive but makes no progress: it is ended")
                deaf.signal(signal.SIGKILL, group=True)

    def _next_timer(self) -> float:
        starting = any(child.pid and not child.is_ready for child in self.children)
        due = [child.next_start - time.monotonic() for child in self.children if child.next_start]
        return max(0.0, min([0.5 if starting else self.watch_progress.due_in(), *due]))

    def _reap(self) -> None:
        """Reaps our children and the orphans that we adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.tenancy.sentinel and self.phase != "stopping":
                self._report("the sentinel was killed: a new one watches")
                self.tenancy.guard()
                self._write_status()
            child = next((child for child in self.children if child.pid == pid), None)
            if child is not None:
                self._buried(child, os.waitstatus_to_exitcode(status))

    def _buried(self, child: Child, exit_code: int) -> None:
        child.signal(
            signal.SIGKILL, group=True
        )  # what is left of its group must not work beside its successor
        child.died(exit_code, self._watch)
        if self.phase == "stopping" or child.name == "bootstrap":
            child.next_start = 0.0
            return
        leftovers.kill(self.found, part=child.name)
        how = (
            f"was killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with {exit_code}"
        )
        self._report(f"{child.name} {how}, starts again in {child.next_start - time.monotonic():.1f} s")
        self._write_status()

    def _restart(self, child: Child) -> None:
        child.restarts += 1
        try:
            child.start(self._watch)
        except (OSError, StateError) as error:
            child.died(127, self._watch)
            self._report(f"{child.name} cannot be started: {error}")
        self._write_status()

    # --- stop ----------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Stops in order within 15 s: no new events, then the workers, then what they write to."""
        self._set_phase("stopping")
        for names in (
            {"web", "questions", "bootstrap"},
            {"drain", "worker", "lake", "flower"},
            {"postgres"},
            {"valkey"},
        ):
            group = [child for child in self.children if child.name in names and child.pid]
            for child in group:
                child.signal(child.stop_signal)
            self._wait_gone(group, lambda child: child.stop_seconds)
            for child in group:
                child.signal(child.hard_stop_signal)
            self._wait_gone(group, lambda child: 0.5 if child.hard_stop_signal != signal.SIGKILL else 0.0)
            for child in group:
                child.signal(signal.SIGKILL, group=True)
            self._wait_gone(group, lambda child: 1.0)
        leftovers.end(self.found, grace_seconds=0.0)
        self.found.question_socket.unlink(missing_ok=True)
        for directory in (
            self.found.postgres_sockets,
            self.found.valkey_sockets,
            self.found.question_socket.parent,
        ):
            with suppress(
                OSError
            ):  # empty now, and made anew at the next start; the other, under var, may hold more
                directory.rmdir()
        for child in self.children:
            child.close(self._watch)
        self.journal.write("stopped")

    def _wait_gone(self, group: list[Child], seconds: Callable[[Child], float]) -> None:
        start = time.monotonic()

        def awaited(child: Child) -> bool:
            patience = min(seconds(child), 0.5) if self._impatient else seconds(child)
            return bool(child.pid) and time.monotonic() - start < patience

        while any(awaited(child) for child in group):
            self._turn(0.05)

    def _listen_to_signals(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._watch.register(reading, selectors.EVENT_READ, None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._asked_to_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake the loop

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        if not self._stop_asked:
            self._stop_asked = time.monotonic()
        elif time.monotonic() - self._stop_asked > SECOND_SIGNAL_SECONDS:
            self._impatient = True

    def _report(self, text: str) -> None:
        """What happens while it runs: for the log, and for who watches in a terminal."""
        watched = self.phase == "running" and not self.options.detached
        (self.journal.say if watched else self.journal.write)(text)

    def _set_phase(self, phase: str) -> None:
        self.phase = phase
        self.journal.write(phase)
        self._write_status()

    def _write_status(self) -> None:
        children = [
            {"name": c.name, "pid": c.pid, "state": c.state, "restarts": c.restarts, "since": c.since}
            for c in self.children
        ]
        status = {
            "pid": os.getpid(),
            "sentinel": self.tenancy.sentinel,
            "phase": self.phase,
            "children": children,
        }
        with suppress(OSError):  # a full disk must not end the stack
            state.write_private(self.found.status, json.dumps(status))


def main(arguments: list[str]) -> int:
    """Takes `--detached` when nobody watches; returns the exit code. Every foreseen failure is one line."""
    try:
        return Supervisor(Options.from_environment(os.environ, detached="--detached" in arguments)).run()
    except (StateError, AlreadyRunning, TimeoutError) as error:
        print(f"eventsite: {error}", file=sys.stderr)
    except OSError as error:
        print(f"eventsite: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
