"""What an earlier run left is found and ended; nothing else is."""

import os
import subprocess
import sys
import time

import pytest

from eventsite import launch, leftovers, state

SLEEP = "import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEP}"


@pytest.fixture
def found(tmp_path):
    return state.prepare(tmp_path / "var")


@pytest.fixture
def begin():
    started = []

    def run(code: str, env: dict[str, str]) -> subprocess.Popen:
        started.append(
            subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **env}, stdout=subprocess.PIPE)
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def wait_found(found: state.Places, pid: int) -> None:
    """Between fork and exec a process still shows the environment of who started it."""
    deadline = time.monotonic() + 5
    while pid not in [process.pid for process in leftovers.find(found)]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_marked_process_is_ended(found, begin):
    process = begin(SLEEP, launch.marked({}, stack=found.var, part="web"))
    wait_found(found, process.pid)
    assert leftovers.end(found, grace_seconds=5) == 1
    assert process.wait(1) is not None


def test_one_that_does_not_listen_is_killed_after_the_grace(found, begin):
    process = begin(STUBBORN, launch.marked({}, stack=found.var, part="web"))
    process.stdout.readline()
    leftovers.end(found, grace_seconds=0.2)
    assert process.wait(1) is not None


def test_another_stack_and_a_longer_path_are_not_touched(found, begin):
    others = [
        begin(SLEEP, launch.marked({}, stack=found.var.with_name(name), part="web"))
        for name in ("var2", "va")
    ]
    others.append(begin(SLEEP, {"NOTE": f"{launch.STACK_MARK}={found.var}"}))
    assert leftovers.end(found, grace_seconds=1) == 0
    assert [process.poll() for process in others] == [None, None, None]


def test_only_the_asked_part_is_killed(found, begin):
    web, drain = (begin(SLEEP, launch.marked({}, stack=found.var, part=part)) for part in ("web", "drain"))
    wait_found(found, web.pid)
    wait_found(found, drain.pid)
    leftovers.kill(found, part="web")
    assert web.wait(1) is not None
    assert drain.poll() is None


def test_a_process_that_got_a_leftovers_number_is_not_signalled(found, begin):
    process = begin(SLEEP, {})
    leftovers._send(leftovers.Process(process.pid, "web", started="1"), leftovers.signal.SIGKILL)
    assert process.poll() is None
