"""A supervised process: its bounded log and its restarts."""

import selectors
import sys
import time

import pytest

from eventsite.launch import Launch
from eventsite.processes import BoundedLog, Child


def lines_of(log: BoundedLog) -> list[bytes]:
    files = [log.path.with_name(f"{log.path.name}.{n}") for n in range(log.keep, 0, -1)]
    return [line for path in [*files, log.path] if path.exists() for line in path.read_bytes().splitlines()]


def test_no_line_is_lost_or_cut_when_the_log_turns(tmp_path):
    log = BoundedLog(tmp_path / "web.log", max_bytes=1_000, keep=50)
    text = b"".join(b"line %d\n" % n for n in range(3_000))
    for start in range(0, len(text), 77):  # pieces that end in the middle of lines
        log.write(text[start : start + 77])
    assert lines_of(log) == text.splitlines()


def test_old_logs_are_dropped(tmp_path):
    log = BoundedLog(tmp_path / "web.log", max_bytes=100, keep=2)
    for n in range(100):
        log.write(b"a line of about thirty bytes %d\n" % n)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.log", "web.log.1", "web.log.2"]
    assert all(path.stat().st_size <= 140 for path in tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_does_not_stop_the_writer(tmp_path):
    (tmp_path / "web.log").symlink_to("/dev/full")
    log = BoundedLog(tmp_path / "web.log")
    log.write(b"lost\n")
    assert log.lost_bytes == 5


@pytest.fixture
def watch():
    with selectors.DefaultSelector() as selector:
        yield selector


def run_once(child: Child, watch: selectors.BaseSelector) -> None:
    child.start(watch)
    while child._process.poll() is None:
        for key, _ in watch.select(0.05):
            key.data.pump(watch)
    child.died(child._process.returncode, watch)


def test_what_a_process_says_last_is_in_its_log(tmp_path, watch):
    code = "import os; os.write(1, b'x' * 60_000 + b'\\nValueError: last words\\n')"
    command = Launch([sys.executable, "-c", code], {}, tmp_path)
    child = Child("web", lambda: command, logs=tmp_path, ready=lambda _: False)
    run_once(child, watch)
    assert child.log.path.read_bytes().endswith(b"last words\n")
    assert child.last_words(1) == "ValueError: last words"


def test_each_death_waits_longer_up_to_a_bound(tmp_path, watch):
    command = Launch([sys.executable, "-S", "-c", ""], {}, tmp_path)
    child = Child("web", lambda: command, logs=tmp_path, ready=lambda _: False)
    waits = []
    for _ in range(7):
        run_once(child, watch)
        waits.append(round(child.next_start - time.monotonic(), 1))
    assert waits == pytest.approx([0.5, 1, 2, 4, 5, 5, 5], abs=0.11)
