"""What tests of questions share: the question process over the test's own lake."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from events.lake.layout import lake_dir
from events.tests.insights.seeded import seeded, seeded_files
from eventsite.state import places

__all__ = ["seeded", "seeded_files"]


@contextlib.contextmanager
def serving(lake: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The real process, listening, over one folder."""
    path = places(settings.VAR_DIR).question_socket
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lake.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "events.insights.server", "--socket", str(path), "--lake", str(lake)]
    process = subprocess.Popen([*command, "--memory-mb", "256", "--slots", "1"], cwd=settings.BASE_DIR)
    deadline = time.monotonic() + 20
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            if not probe.connect_ex(str(path)):
                break
        assert process.poll() is None, "the question process ended"
        assert time.monotonic() < deadline, "the question process does not listen"
        time.sleep(0.01)
    yield process
    process.terminate()
    process.wait(10)
    path.unlink(missing_ok=True)


@pytest.fixture
def questions(_own_lake: None) -> Iterator[subprocess.Popen[bytes]]:
    """The process over the lake of this test."""
    with serving(lake_dir()) as process:
        yield process


@pytest.fixture(scope="module")
def seeded_questions(seeded_files: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The process over the reference's events; beside `questions` in no module, for they have one address."""
    with serving(seeded_files[0]) as process:
        yield process
