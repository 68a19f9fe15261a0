"""The question process: limits that hold, crashes that cost one question, askers that leave."""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import polars
import pytest
from django.conf import settings

from events.insights import client, wire
from events.insights.client import BoxQuery, Query
from events.insights.errors import (
    Away,
    Busy,
    FileMissing,
    Invalid,
    QuestionError,
    TooLarge,
    TooManyRows,
    TooSlow,
)
from events.insights.line import Full, Line
from events.insights.server import WAITING, Process, Server
from events.insights.wire import Reply, Request
from events.lake.layout import lake_dir
from events.tests.insights.question_process import write_segment
from eventsite.state import places

ENDLESS = "SELECT count(*) FROM range(1000000000000) WHERE hash(range) % 7 = 3"
NOT_INTERRUPTIBLE = "SELECT levenshtein(repeat('a', 60000), repeat('b', 60000))"

pytestmark = pytest.mark.usefixtures("questions")


def run(
    sql: str, parameters: dict[str, Any] | None = None, *, max_rows: int = 100, seconds: float = 10.0
) -> list[list[Any]]:
    return client.run(Query(sql, parameters or {}, max_rows, seconds)).rows


def box(sql: str, seconds: float = 10.0) -> list[list[Any]]:
    return client.run_box(BoxQuery(sql, 1, [], [], 0, 100, seconds)).rows


def connect(sql: str, kind: bytes = wire.RUN, path: str = "", **more: Any) -> socket.socket:
    """An asker that does not wait for its answer."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(places(settings.VAR_DIR).question_socket))
    body = msgspec.msgpack.encode({"sql": sql, "parameters": {}, "max_rows": 100} | more)
    connection.sendall(wire.pack(Request(kind, 60.0, path, body)))
    return connection


def children(process: "subprocess.Popen[bytes]") -> list[int]:
    return [int(child.name) for child in Path("/proc").glob("[0-9]*") if _parent(child) == process.pid]


def _parent(process: Path) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def wait_for(condition: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def running(call: Callable[[], object]) -> Iterator["Future[object]"]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call)


VALUES = {
    "1::BIGINT": 1,
    "9007199254740993": 9007199254740993,
    "18446744073709551615::UBIGINT": 18446744073709551615,
    "170141183460469231731687303715884105727::HUGEINT": "170141183460469231731687303715884105727",
    "sum(5)": 5,
    "1.5": 1.5,
    "'nan'::DOUBLE": None,
    "'-inf'::FLOAT": None,
    "NULL": None,
    "true": True,
    "TIMESTAMPTZ '2026-03-29 03:30:00.000001+02'": "2026-03-29T01:30:00.000001Z",
    "TIMESTAMP '2026-03-29 03:30:00'": "2026-03-29T03:30:00.000000",
    "DATE '2026-03-29'": "2026-03-29",
    "TIME '03:30:00'": "03:30:00",
    "INTERVAL 1 DAY": "1 day, 0:00:00",
    "'00000000-0000-0000-0000-000000000001'::UUID": "00000000-0000-0000-0000-000000000001",
    "'\\x00\\xFF'::BLOB": "AP8=",
    "[1, NULL]": [1, None],
    "[TIMESTAMPTZ '2026-01-01 00:00:00+00']": ["2026-01-01T00:00:00.000000Z"],
    "{'a': ['nan'::DOUBLE], 'b': 1.25}": {"a": [None], "b": 1.25},
    "MAP {1: 'x'}": {"1": "x"},
    "TIMESTAMP '290000-01-01 00:00:00'": "290000-01-01 00:00:00",
    "'ä\U0001f600'": "ä\U0001f600",
}


def test_values_arrive_as_json_can_say_them() -> None:
    assert run("SELECT " + ", ".join(VALUES))[0] == list(VALUES.values())


def test_parameters_of_each_type_arrive() -> None:
    moment = datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC)
    given = {"t": "x'; --", "i": 2**63, "f": 0.5, "b": True, "n": None, "l": ["a", "b"], "m": moment}
    found = run("SELECT $t, $i, $f, $b, $n, $l, $m::TIMESTAMPTZ", given)
    assert found == [["x'; --", 2**63, 0.5, True, None, ["a", "b"], "2026-03-29T01:30:00.000001Z"]]


REFUSALS = {
    "endless": (ENDLESS, TooSlow),
    "not to be interrupted": (NOT_INTERRUPTIBLE, TooSlow),
    "large": ("SELECT list(repeat('x', 1000) || range) FROM range(10000000)", TooLarge),
    "rows": ("FROM range(101)", TooManyRows),
    "bytes": ("SELECT repeat('x', 1000000) FROM range(100)", TooManyRows),
    "nonsense": ("SELECT nope", Invalid),
    "writing": ("COPY (SELECT 1) TO '{lake}/made.parquet'", QuestionError),
    "reading beyond the lake": ("FROM read_text('/etc/passwd')", Invalid),
    "settings": ("SET enable_external_access = true", Invalid),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_goes_too_far_is_refused_in_time_and_the_next_question_is_answered(case: str) -> None:
    sql, error = REFUSALS[case]
    run("SELECT 1")
    start = time.monotonic()
    with pytest.raises(error):
        run(sql.replace("{lake}", str(lake_dir())), seconds=5.0 if error is TooLarge else 0.5)
    assert error is TooLarge or time.monotonic() - start < 2.5
    assert run("SELECT 1") == [[1]]
    assert not (lake_dir() / "made.parquet").exists()


def test_a_file_that_is_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    with pytest.raises(FileMissing):
        run("FROM read_parquet($files)", {"files": [str(lake_dir() / "gone.parquet")]})


def test_a_killed_child_costs_one_question(questions: "subprocess.Popen[bytes]") -> None:
    run("SELECT 1")
    with running(lambda: run(ENDLESS)) as asked:
        child = children(questions)[0]
        wait_for(lambda: _cpu(child) > 20)
        os.kill(child, signal.SIGKILL)
        assert isinstance(asked.exception(5), Away)
    assert run("SELECT 1") == [[1]] and box("SELECT 1") == [[1]]


def test_a_killed_child_that_was_idle_costs_nothing(questions: "subprocess.Popen[bytes]") -> None:
    run("SELECT 1")
    box("SELECT 1")
    killed = children(questions)
    for child in killed:
        os.kill(child, signal.SIGKILL)
    wait_for(lambda: not any(_is_running(child) for child in killed))
    assert run("SELECT 1") == [[1]] and box("SELECT 1") == [[1]]


def test_children_end_with_their_server(questions: "subprocess.Popen[bytes]") -> None:
    box("SELECT 1")
    with running(lambda: run(ENDLESS)) as asked:
        wait_for(lambda: len(children(questions)) == 2)
        left = children(questions)
        wait_for(lambda: any(_cpu(child) > 20 for child in left))
        questions.kill()
        questions.wait()
        assert isinstance(asked.exception(5), Away)
    wait_for(lambda: not any(_is_running(child) for child in left))


@pytest.mark.parametrize("kind", [wire.RUN, wire.BOX])
def test_a_question_ends_when_its_asker_leaves(kind: bytes) -> None:
    run("SELECT 1")
    box("SELECT 1")
    more = (
        {"project_id": 1, "own": [], "shared": [], "shared_rows": 0, "cut": False} if kind == wire.BOX else {}
    )
    connection = connect(ENDLESS, kind, **more)
    start = time.monotonic()
    connection.close()
    assert run("SELECT 1") == [[1]]  # the only slot
    assert time.monotonic() - start < 3


def test_the_waiting_line_is_bounded() -> None:
    askers = [connect(ENDLESS) for _ in range(WAITING + 2)]  # one is answered, the line is full
    try:
        answered = select.select(askers, [], [], 2)[0]
        assert [wire.receive_reply(asker).code for asker in answered] == [wire.BUSY]
    finally:
        for asker in askers:
            asker.close()

    def is_answered() -> bool:
        with contextlib.suppress(Busy):
            return run("SELECT 1") == [[1]]
        return False

    wait_for(is_answered, 2)


def test_who_waits_too_long_is_told_to_come_back_and_who_left_is_not_waited_for() -> None:
    line = Line(places=1, waiting=2, seconds=0.1)
    with line.place(has_left=lambda: False):
        for has_left in (False, True):
            with pytest.raises(Full), line.place(has_left=lambda left=has_left: left):
                pass
    with line.place(has_left=lambda: False):
        pass


READERS: dict[str, Callable[[Path], list[tuple[Any, ...]]]] = {
    "ndjson": lambda path: [tuple(msgspec.json.decode(line).values()) for line in path.open()],
    "csv": lambda path: polars.read_csv(path).rows(),
    "parquet": lambda path: polars.read_parquet(path).rows(),
}


@pytest.mark.parametrize("format", READERS)
def test_an_export_is_a_whole_file(format: client.Format) -> None:
    path = lake_dir() / "tmp" / "exports" / f"x.{format}"
    segment = write_segment(lake_dir() / "lake/project=1/a.parquet")
    columns = "id, name, properties"
    if format == "ndjson":
        columns = "to_json(struct_pack(id := id, name := name, properties := properties))::VARCHAR"
    sql = f"SELECT {columns} FROM read_parquet($files) f ORDER BY f.id"
    rows = client.export(sql, {"files": [str(segment)]}, format=format, path=path, seconds=20)
    assert rows == 1_000 and READERS[format](path)[999] == (999, "event_49", '{"plan": "p5"}')


def test_an_export_that_fails_or_is_left_leaves_no_file() -> None:
    path = lake_dir() / "tmp" / "exports" / "x.csv"
    with pytest.raises(TooSlow):
        client.export("FROM range(100000000000)", {}, format="csv", path=path, seconds=0.5)
    assert not path.exists()
    connection = connect("FROM range(100000000000)", wire.EXPORT, str(path), format="csv")
    wait_for(path.exists)
    connection.close()
    wait_for(lambda: not path.exists())


def test_questions_are_answered_beside_an_export() -> None:
    path = lake_dir() / "tmp" / "exports" / "x.csv"
    with contextlib.closing(connect("FROM range(100000000000)", wire.EXPORT, str(path), format="csv")):
        wait_for(path.exists)
        assert run("SELECT 1") == [[1]]


def test_what_has_no_room_in_memory_is_spilled_also_after_an_erasure_emptied_the_folder_of_writers() -> None:
    sql = "SELECT max(x) FROM (SELECT repeat('x', 1000) || range AS x FROM range(400000) ORDER BY hash(range) OFFSET 1)"
    run("SELECT 1")
    shutil.rmtree(lake_dir() / "tmp")
    assert run(sql, seconds=30)[0][0].endswith("99999")


def test_while_nobody_asks_it_weighs_little(questions: "subprocess.Popen[bytes]") -> None:
    rollup = Path(f"/proc/{questions.pid}/smaps_rollup").read_text()
    assert int(rollup.partition("Pss:")[2].split()[0]) < 16_000
    assert "duckdb" not in Path(f"/proc/{questions.pid}/maps").read_text()


def test_idle_processes_end(tmp_path: Path) -> None:
    server = Server(lake=tmp_path, memory_mb=64, slots=1)
    process = Process.start("events.insights.child", str(tmp_path), "64", lake=tmp_path)
    wait_for(lambda: list((tmp_path / "questions").glob("*")))
    server._keep_or_end(process, Reply(wire.DONE))
    server.end_idle(60)
    assert process.popen.poll() is None
    server.end_idle(0)
    assert process.popen.poll() == -signal.SIGKILL
    assert list((tmp_path / "questions").glob("*")) == []


def test_segments_of_the_process_are_duckdbs_own(tmp_path: Path) -> None:
    segment = write_segment(lake_dir() / "lake/project=1/b.parquet", rows=10)
    assert run("SELECT count(*) FROM read_parquet($files)", {"files": [str(segment)]}) == [[10]]
    with pytest.raises(QuestionError):
        run(f"COPY (SELECT 1) TO '{segment}' (FORMAT parquet, USE_TMP_FILE false)")
    with duckdb.connect() as duck:
        assert duck.execute("SELECT count(*) FROM read_parquet(?)", [str(segment)]).fetchone() == (10,)


def _is_running(pid: int) -> bool:
    """Not gone, and not only waiting to be reaped."""
    with contextlib.suppress(OSError, IndexError):
        is_over = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        return not is_over or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    return False


def _cpu(pid: int) -> int:
    """Hundredths of a second that a process has worked."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return 0
