"""What is stored comes into the lake within seconds, whatever becomes of its worker; read as a stranger would."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import duckdb
import psutil
import pytest

from systemtest.client import Load, post_all
from systemtest.stack import Stack, stack_in_clean_folder, wait

pytestmark = pytest.mark.slow

LAKE_SECONDS = 5.0
KILLS = 3
LIVE = "SELECT coalesce(sum(rows), 0)::int FROM events_segment WHERE retired_at IS NULL"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with stack_in_clean_folder() as stack:
        yield stack.start()


def in_lake(stack: Stack) -> int:
    return int(stack.ask(LIVE)[0][0])


def by_manifest(stack: Stack) -> list[str]:
    """The ids of all events of the first project, by nothing but its files."""
    root = stack.var / "lake"
    (manifest,) = (root / "lake").glob("project=*/manifest.json")
    content = json.loads(manifest.read_text())
    ids: list[str] = []
    for file in content["files"]:
        found = duckdb.execute(
            "SELECT coalesce(client_event_id, event_id::varchar) FROM read_parquet(?) WHERE project_id = ?",
            [str(root / file["path"]), content["project"]],
        ).fetchall()
        assert len(found) == file["rows"]
        ids += [row[0] for row in found]
    return ids


def test_an_event_is_in_a_live_file_within_seconds(stack: Stack) -> None:
    wait(lambda: stack.valkey.exists("es:lake"), 30, "the lake's worker")
    for number in range(1, 4):
        begin = time.monotonic()
        (reply,) = post_all(stack.credentials, [(b'{"name": "hello"}', "plain")], threads=1)
        assert reply.status == 202
        wait(lambda wanted=number: in_lake(stack) == wanted, 30, "the event in the lake")  # type: ignore[misc]
        seconds = time.monotonic() - begin
        print(f"\nin the lake after {seconds:.2f} s")
        assert seconds < LAKE_SECONDS


def test_no_death_of_its_worker_loses_or_doubles_a_row(stack: Stack) -> None:
    before = in_lake(stack)
    load = Load(stack.credentials)
    with load.running():
        for _ in range(KILLS):
            sealed = in_lake(stack)
            wait(lambda sealed=sealed: in_lake(stack) > sealed, 30, "a seal")  # type: ignore[misc]
            for process in stack.processes():
                with suppress(psutil.Error):  # gone by itself
                    if process.environ().get("EVENTSITE_PART") == "lake":
                        _kill(process)
    wanted = before + len(load.acknowledged)
    wait(lambda: in_lake(stack) == wanted, 60, f"{wanted} rows in the lake")
    wait(lambda: len(by_manifest(stack)) == wanted, 40, "a manifest of all rows")
    ids = by_manifest(stack)
    assert len(ids) == len(set(ids))
    assert set(load.acknowledged) <= set(ids)


def _kill(process: psutil.Process) -> None:
    process.send_signal(signal.SIGKILL)
    wait(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 10, "its end")
