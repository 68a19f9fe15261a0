"""A stranger's SQL: what gets through, what does not, and what the second wall does where there is no first."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import msgspec
import pytest

from events.insights import box_check, box_functions, fence, wire
from events.insights.client import BoxQuery
from events.insights.errors import Invalid
from events.insights.wire import Reply
from events.tests.insights.box_cases import ATTEMPTS, BOMBS, GOOD
from events.tests.insights.question_process import CANARY, Zygote, write_segment

SECONDS = 0.2
# Runs its text as Python behind the second wall: what DuckDB could do there if nothing in it held.
_AS_PYTHON = "lambda connection, sql: exec(sql)"
_BEYOND = {
    "reads another's file": "open({other!r}, 'rb').read()",
    "reads a secret": "open({secret!r}).read()",
    "reads what is open elsewhere": "open('/proc/1/environ').read()",
    "writes to a segment": "open({own!r}, 'r+b').write(b'x')",
    "writes to an open segment": "open('/proc/self/fd/4', 'r+b').write(b'x')",
    "truncates a segment": "import os; os.truncate('/proc/self/fd/4', 0)",
    "makes a file": "open({new!r}, 'w').write('x')",
    "removes a segment": "import os; os.unlink({own!r})",
    "makes a segment writable": "import os; os.chmod('/proc/self/fd/4', 0o666)",
    "lists a directory": "import os; os.listdir('/')",
    "starts a process": "import os; os.fork()",
    "runs a program": "import os; os.execv('/bin/true', ['true'])",
    "connects": "import socket; open('/dev/null') if socket.socket().connect_ex((b'127.0.0.1', 1)) == 13 else 0",
    "ends a process": "import os; os.kill(os.getppid(), 0)",
    "becomes root": "import os; os.setresuid(0, 0, 0) if os.getuid() else os.setresuid(0, 0, -2)",
    "takes back a bound": "import resource as r; r.setrlimit(r.RLIMIT_AS, (1 << 46, 1 << 46))",
}


@dataclass(frozen=True)
class Lake:
    root: Path
    own: Path
    other: Path
    shared: Path
    secret: Path

    def query(self, sql: str, **changes: object) -> BoxQuery:
        return BoxQuery(
            **{
                "sql": sql, "project_id": 1, "own": [str(self.own)], "shared": [str(self.shared)], "shared_rows": 500,
                "max_rows": 1_000, "seconds": 5.0, "cut": True,
            }
            | changes
        )  # fmt: skip

    def aimed(self, attempt: str) -> str:
        places = {"own": self.own, "other": self.other, "secret": self.secret, "new": self.root / "made"}
        for name, path in places.items():
            attempt = attempt.replace("{" + name + "}", str(path))
        return attempt.replace("{glob}", f"{self.root}/lake/*/*").replace("{fd}", "/proc/self/fd/4")

    def digests(self) -> dict[str, str]:
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.root.rglob("*")
            if path.is_file()
        }


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    root = tmp_path_factory.mktemp("lake")
    secret = root / "secret.txt"
    secret.write_text(CANARY)
    return Lake(
        root,
        write_segment(root / "lake/project=1/a.parquet", more=", 'p' AS s_0011223344556677"),
        write_segment(root / "lake/project=2/a.parquet", project="2", prefix=CANARY),
        write_segment(root / "fresh/b.parquet", project="1 + i % 2", prefix=CANARY),
        secret,
    )


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as started:
        yield started


@pytest.fixture(scope="module")
def without_first_wall() -> Iterator[Zygote]:
    with Zygote(check="lambda connection, sql: None") as started:
        yield started


@pytest.fixture(scope="module")
def parser() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_attempt_is_refused_before_it_runs(
    lake: Lake, parser: duckdb.DuckDBPyConnection, attempt: str
) -> None:
    with pytest.raises((Invalid, duckdb.ParserException, duckdb.NotImplementedException)):
        box_check.check(parser, lake.aimed(attempt))


def test_without_the_first_wall_no_attempt_reads_or_changes_what_is_not_its_own(
    lake: Lake, without_first_wall: Zygote
) -> None:
    before = lake.digests()

    def leaked(attempt: str) -> bool:
        reply = without_first_wall.ask(lake.query(lake.aimed(attempt), seconds=0.5, shared=[]))
        return CANARY.encode() in reply.body or b"root:x" in reply.body

    with ThreadPoolExecutor(3) as pool:
        assert [
            attempt for attempt, is_leak in zip(ATTEMPTS, pool.map(leaked, ATTEMPTS), strict=True) if is_leak
        ] == []
    assert lake.digests() == before


@pytest.mark.skipif(fence.landlock_version() < 6, reason="this kernel's Landlock does not cover all of it")
@pytest.mark.parametrize("deed", _BEYOND)
def test_behind_the_second_wall_the_system_refuses_what_duckdb_would_not(lake: Lake, deed: str) -> None:
    before = lake.digests()
    places = {"own": str(lake.own), "other": str(lake.other), "secret": str(lake.secret), "new": "/tmp/made"}
    code = f"try:\n    {_BEYOND[deed].format(**places)}\nexcept (OSError, ValueError):\n    raise Invalid('stopped')"
    with Zygote(check=_AS_PYTHON) as zygote:
        assert zygote.ask(lake.query(code)) == Reply(wire.INVALID, b"stopped")
    assert lake.digests() == before


def test_of_a_shared_file_only_the_projects_rows_are_in_reach_even_without_the_first_wall(
    lake: Lake, without_first_wall: Zygote
) -> None:
    asked = lake.query("select count(*), count(distinct id % 2) from events", own=[])
    reply = without_first_wall.ask(asked)
    assert msgspec.msgpack.decode(reply.body)["pages"][0] == [[500, 1]]
    for descriptor in range(3, 12):
        reply = without_first_wall.ask(
            lake.query(f"select * from read_parquet('/proc/self/fd/{descriptor}')", own=[])
        )
        assert reply.code != wire.DONE


@pytest.mark.parametrize("sql", GOOD)
def test_an_honest_question_is_answered(lake: Lake, zygote: Zygote, sql: str) -> None:
    reply = zygote.ask(lake.query(sql))
    assert reply.code == wire.DONE, reply.body


def test_the_table_holds_the_projects_events_of_both_kinds_of_files(lake: Lake, zygote: Zygote) -> None:
    reply = zygote.ask(lake.query("select count(*), min(id), max(id), count(distinct person) from events"))
    persons = {f"u{i % 100}" if i % 3 == 0 else f"a{i % 1000}" for i in range(1000)}
    assert msgspec.msgpack.decode(reply.body)["pages"][0] == [[1500, 0, 999, len(persons)]]


def test_a_project_without_files_has_an_empty_table_of_the_same_columns(lake: Lake, zygote: Zygote) -> None:
    empty = msgspec.msgpack.decode(zygote.ask(lake.query("select * from events", own=[], shared=[])).body)
    full = msgspec.msgpack.decode(zygote.ask(lake.query("select * from events")).body)
    assert empty["pages"][0] == [] and empty["columns"] == full["columns"]


def test_files_with_different_property_columns_are_one_table(lake: Lake, zygote: Zygote) -> None:
    plain = write_segment(lake.root / "lake/project=1/b.parquet", rows=10)
    for own in ([lake.own, plain], [plain, lake.own]):
        reply = zygote.ask(lake.query("select count(*) from events", own=[str(p) for p in own], shared=[]))
        assert msgspec.msgpack.decode(reply.body)["pages"][0] == [[1010]]


def test_a_missing_file_is_said_to_be_missing(lake: Lake, zygote: Zygote) -> None:
    reply = zygote.ask(lake.query("select 1", own=[str(lake.root / "gone.parquet")]))
    assert reply.code == wire.FILE_MISSING


def test_an_error_tells_the_place_and_no_path(lake: Lake, zygote: Zygote) -> None:
    reply = zygote.ask(lake.query("select name,\n nope from events"))
    assert reply.code == wire.INVALID and b"LINE 2" in reply.body and b"nope" in reply.body
    reply = zygote.ask(lake.query("select name::integer from events"))
    assert (
        reply.code == wire.INVALID
        and b"/proc" not in reply.body
        and str(lake.root).encode() not in reply.body
    )


def test_rows_beyond_the_bound_are_cut_or_refused(lake: Lake, zygote: Zygote) -> None:
    cut = msgspec.msgpack.decode(zygote.ask(lake.query("select id from events", max_rows=5)).body)
    assert len(cut["pages"][0]) == 5 and cut["is_cut"]
    assert zygote.ask(lake.query("select 1", max_rows=5, cut=False)).code == wire.DONE
    assert zygote.ask(lake.query("from events", max_rows=5, cut=False)).code == wire.TOO_MANY_ROWS


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_in_time_and_the_next_question_is_answered(
    lake: Lake, without_first_wall: Zygote, name: str
) -> None:
    start = time.monotonic()
    reply = without_first_wall.ask(lake.query(BOMBS[name], seconds=SECONDS, max_rows=100_000, cut=False))
    assert time.monotonic() - start < SECONDS + 2
    assert reply.code != wire.DONE
    assert without_first_wall.ask(lake.query("select 1")).code == wire.DONE


def test_only_functions_that_exist_are_on_the_list(parser: duckdb.DuckDBPyConnection) -> None:
    found = parser.execute("select distinct lower(function_name) from duckdb_functions()").fetchall()
    known = {row[0] for row in found} | {"unnest", "list_filter", "grouping", "count_star"}
    assert box_functions.FUNCTIONS - known == set()
