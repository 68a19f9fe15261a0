"""kill -9 of a real process that seals or merges, after every step; a disk that is full; two that merge at once."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from events.lake import plan
from events.lake.layout import lake_dir
from events.lake.sweep import ORPHAN_SECONDS, sweep
from events.models import Batch, Segment
from events.tests.lake.pond import in_lake, in_table, odd_rows, put

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables"), pytest.mark.slow]

SealAll, MergeAll = Callable[[], int], Callable[..., list[str]]
# Arguments: database, lake, seal or merge, the step to die after, the largest file it may write.
PROCESS = """
import os, resource, signal, sys, django
from pathlib import Path
django.setup()
from django.conf import settings
from events.lake import merge, seal
name, lake, what, step, most = sys.argv[1:]
settings.DATABASES["default"]["NAME"], settings.EVENTS_LAKE_DIR = name, Path(lake)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if int(most):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
def reached(what):
    if what == step:
        os.kill(os.getpid(), signal.SIGKILL)
print({"seal": seal.seal, "merge": merge.merge}[what](reached=reached))
"""


def run(what: str, step: str = "", *, most: int = 0) -> subprocess.CompletedProcess[str]:
    arguments = [str(connection.settings_dict["NAME"]), str(lake_dir()), what, step, str(most)]
    return subprocess.run(
        [sys.executable, "-c", PROCESS, *arguments],
        cwd=settings.BASE_DIR, env=os.environ | {"DJANGO_SETTINGS_MODULE": "eventsite.settings"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def sweep_later() -> None:
    """The sweep when everything has its age."""
    then = time.time() - ORPHAN_SECONDS - 1
    for file in lake_dir().rglob("*"):
        os.utime(file, (then, then))
    Segment.objects.filter(retired_at__isnull=False).update(retired_at=Now() - timedelta(hours=1))
    sweep()


def prove_equal() -> None:
    """The lake holds what the table holds, and its folder what is listed."""
    assert in_lake() == in_table()
    sweep_later()
    assert in_lake() == in_table()
    listed = set(Segment.objects.values_list("path", flat=True))
    assert {str(file.relative_to(lake_dir())) for file in lake_dir().rglob("*") if file.is_file()} == listed


@pytest.fixture
def projects(make_project: Callable[..., Any]) -> list[int]:
    return [make_project(name=f"P{n}").project.pk for n in range(3)]


def store(projects: list[int], seed: int) -> None:
    put([row | {"project_id": projects[row["project_id"] - 1]} for row in odd_rows(60, seed=seed)])


@pytest.mark.parametrize("step", ["spooled", "written", "marked", "committed"])
def test_a_sealer_killed_after_any_step_loses_and_doubles_nothing(
    step: str, projects: list[int], seal_all: SealAll
) -> None:
    store(projects, 1)
    store(projects, 2)
    assert run("seal", step).returncode == -9
    assert Batch.objects.filter(seal=None).count() == (0 if step == "committed" else 2)
    # The dead process's lock is gone once PostgreSQL has noticed.
    while run_seal_busy():
        pass
    prove_equal()


def run_seal_busy() -> bool:
    from events.lake.seal import seal

    return seal().busy


@pytest.mark.parametrize("step", ["written", "published", "committed"])
def test_a_merger_killed_after_any_step_loses_and_doubles_nothing(
    step: str, projects: list[int], seal_all: SealAll, merge_all: MergeAll
) -> None:
    for n in range(plan.FAN_IN):
        store(projects, n)
        seal_all()
    assert run("merge", step).returncode == -9
    merge_all()
    assert Segment.objects.filter(retired_at=None).count() == 1
    prove_equal()


@pytest.mark.parametrize("most", [1, 4_096])
def test_a_full_disk_changes_nothing_and_sealing_goes_on_by_itself(
    most: int, projects: list[int], seal_all: SealAll
) -> None:
    """The spool does not fit, or the Parquet file does not."""
    store(projects, 1)
    failed = run("seal", most=most)
    assert failed.returncode == 1
    assert "File too large" in failed.stderr
    assert (Segment.objects.count(), Batch.objects.filter(seal=None).count()) == (0, 1)
    seal_all()
    prove_equal()


def test_two_that_merge_at_once_do_each_step_once(projects: list[int], seal_all: SealAll) -> None:
    for n in range(plan.FAN_IN):
        store(projects, n)
        seal_all()
    arguments = [str(connection.settings_dict["NAME"]), str(lake_dir()), "merge", "", "0"]
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, *arguments],
            cwd=settings.BASE_DIR, env=os.environ | {"DJANGO_SETTINGS_MODULE": "eventsite.settings"},
            stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = sorted(process.communicate(timeout=60)[0] for process in both)
    assert [text.partition("(")[0].strip() for text in said] == ["Merged", "None"]
    prove_equal()
