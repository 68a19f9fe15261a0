"""Whole stacks, as `manage.py up` starts them: what they say, what they survive, what they leave behind
(nothing)."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from eventsite import leftovers, state, tenancy

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PARTS = {"valkey", "postgres", "web", "questions", "drain", "worker", "lake", "flower"}
STOP_SECONDS = 15.0
OF_THE_TESTS = ("DATABASE_URL", "REDIS_URL", "EVENTSITE_VAR", "HOST", "PUBLIC_URL", "SECRET_KEY")


def wait(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stack:
    """One `manage.py up` and what is known of it from outside."""

    def __init__(self, var: Path) -> None:
        self.found = state.places(var)
        self.ports = {"PORT": str(free_port()), "FLOWER_PORT": str(free_port())}
        self.env = {key: value for key, value in os.environ.items() if key not in OF_THE_TESTS}
        self.env |= self.ports | {"EVENTSITE_VAR": str(var)}
        self.output = var.parent / f"{var.name}.out"
        self.process: subprocess.Popen | None = None

    def run(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=self.env, capture_output=True, text=True, check=False
        )

    def start(self) -> "Stack":
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        wait(lambda: "curl http" in self.said or self.process.poll() is not None, 60, "the start")
        assert "Eventsite is up." in self.said, self.said
        return self

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def credentials(self) -> dict:
        return json.loads(self.found.credentials.read_text())

    def parts(self) -> dict[str, dict]:
        told = json.loads(self.found.status.read_text())
        return {part["name"]: part for part in told["children"]}

    def all_running(self) -> bool:
        parts = self.parts()
        return set(parts) == PARTS and all(part["state"] == "running" for part in parts.values())

    def web_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.credentials['url']}/readyz", timeout=2) as answer:  # noqa: S310
                return answer.status == 200
        except OSError:
            return False

    def stop(self, number: int) -> float:
        """Returns how many seconds it took until nothing was left."""
        begin = time.monotonic()
        self.process.send_signal(number)
        assert self.process.wait(STOP_SECONDS) == 0
        assert leftovers.find(self.found) == []
        return time.monotonic() - begin

    def destroy(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        leftovers.end(self.found, grace_seconds=3)


@pytest.fixture(scope="module")
def directory():
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o711)
        yield Path(path)


@pytest.fixture(scope="module")
def stack(directory):
    stack = Stack(directory / "one")
    yield stack.start()
    stack.destroy()


def test_it_says_last_how_to_reach_it(stack):
    known = stack.credentials
    lines = [line for line in stack.said.splitlines() if line]
    assert lines[-1].strip().startswith(f"curl {known['url']}/v1/events")
    for text in (f"{known['url']}/", known["flower_url"], known["admin_password"]):
        assert text in stack.said
    assert stack.web_answers()


def test_the_curl_line_works_as_pasted(stack):
    line = next(line for line in stack.said.splitlines() if line.strip().startswith("curl "))
    answer = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)  # noqa: S602
    assert json.loads(answer.stdout)["accepted"] == 1


def test_flower_asks_for_the_password(stack):
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(stack.credentials["flower_url"], timeout=5)  # noqa: S310
    command_lines = b"".join(
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
    )
    assert stack.credentials["admin_password"].encode() not in command_lines


def test_a_second_start_is_refused_in_one_line(stack):
    second = stack.run("manage.py", "up")
    assert second.returncode != 0
    assert (second.stderr.count("\n"), second.stdout) == (1, "")
    assert "already runs" in second.stderr
    assert stack.all_running()


def test_the_table_shows_every_part(stack):
    table = stack.run("-m", "eventsite.console", "status")
    assert table.returncode == 0
    assert {line.split()[0] for line in table.stdout.splitlines()} == {*PARTS, "NAME", "supervisor", "total"}
    supervisor = next(line for line in table.stdout.splitlines() if line.startswith("supervisor"))
    assert float(supervisor.split()[-1]) < 15


def test_what_dies_is_started_again(stack):
    before = stack.parts()
    for part in before.values():
        os.kill(part["pid"], signal.SIGKILL)
    wait(
        lambda: all(part["restarts"] > before[name]["restarts"] for name, part in stack.parts().items()),
        15,
        "restarts",
    )
    wait(stack.all_running, 20, "all parts are back")
    wait(stack.web_answers, 10, "the web answers")
    now = {part["pid"] for part in stack.parts().values()}
    assert not now & {part["pid"] for part in before.values()}


def test_a_killed_sentinel_is_replaced(stack):
    sentinel = json.loads(stack.found.status.read_text())["sentinel"]
    os.kill(sentinel, signal.SIGKILL)
    wait(
        lambda: json.loads(stack.found.status.read_text())["sentinel"] not in {0, sentinel},
        5,
        "a new sentinel",
    )


def test_a_second_stack_runs_beside_it_and_ctrl_c_ends_only_that(stack, directory):
    second = Stack(directory / "two").start()
    try:
        assert second.web_answers() and stack.web_answers()
        assert second.credentials["write_key"] != stack.credentials["write_key"]
        assert second.stop(signal.SIGINT) < STOP_SECONDS
        assert stack.all_running() and stack.web_answers()
    finally:
        second.destroy()


def test_nothing_outlives_a_killed_supervisor_and_the_next_start_works(stack):
    stack.process.kill()
    stack.process.wait()
    key = stack.credentials["write_key"]
    stack.start()  # at once: it waits for what is left
    assert stack.credentials["write_key"] == key
    stack.process.kill()
    stack.process.wait()
    wait(lambda: not leftovers.find(stack.found), 10, "nothing outlives the supervisor")


def test_a_start_after_everything_was_killed_works(stack):
    wait(lambda: not tenancy.supervisor_pid(stack.found), 10, "the lock")
    stack.start()
    sentinel = json.loads(stack.found.status.read_text())["sentinel"]
    for pid in (sentinel, stack.process.pid, *(process.pid for process in leftovers.find(stack.found))):
        with suppress(ProcessLookupError):  # gone with its parent already
            os.kill(pid, signal.SIGKILL)
    stack.process.wait()
    stack.start()
    assert stack.web_answers()


def test_sigterm_leaves_no_process_and_nothing_that_blocks(stack):
    assert stack.stop(signal.SIGTERM) < STOP_SECONDS
    assert stack.run("-m", "eventsite.console", "status").returncode == 1
    for port in stack.ports.values():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", int(port)))


def test_a_port_in_use_stops_the_start_in_one_line(directory):
    stack = Stack(directory / "three")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(stack.ports["FLOWER_PORT"])))
        taken.listen()
        refused = stack.run("manage.py", "up")
    assert refused.returncode != 0
    assert refused.stderr.count("\n") == 1
    assert f"Port {stack.ports['FLOWER_PORT']} on 127.0.0.1 is in use" in refused.stderr
    assert leftovers.find(stack.found) == []


def test_real_servers_are_used_where_they_are_given_and_not_stopped(services, directory):
    stack = Stack(directory / "four")
    stack.env |= {"DATABASE_URL": services.urls.database_url, "REDIS_URL": services.urls.redis_url}
    stack.start()
    try:
        assert set(stack.parts()) == PARTS - {"postgres", "valkey"}
        assert stack.web_answers()
        stack.stop(signal.SIGTERM)
        assert services.postgres.pid and services.valkey.pid
        services.postgres.wait_ready()
        services.valkey.wait_ready()
    finally:
        stack.destroy()


def test_a_server_that_is_away_stops_the_start_in_one_line(directory):
    stack = Stack(directory / "five")
    stack.env |= {
        "DATABASE_URL": f"postgresql://u:p@127.0.0.1:{free_port()}/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    refused = stack.run("manage.py", "up")
    assert refused.returncode != 0
    assert refused.stderr.startswith("eventsite: PostgreSQL cannot be used (DATABASE_URL)")
    assert refused.stderr.count("\n") == 1
