"""The second wall around a stranger's SQL, which holds also where the first (box_check.py) let something through.

DuckDB: no access to files but this question's, no network, extensions or settings. Its allowed paths grant writing too, so the
operating system: files are 0444 and this process is another user (where root runs us), opens nothing but these files and only
for reading (Landlock), writes no byte to any file, and starts no process. Memory is bounded by both.
"""

import os
from collections.abc import Callable
from typing import Any, Final

import duckdb
import msgspec

from events.insights import fence
from events.persons import PERSON_SQL

_COLUMNS: Final = (
    f"id, event_id, client_event_id, name, user_id, anonymous_id, {PERSON_SQL} AS person, session_id,"
    " occurred_at, received_at, stored_at, properties, context"
)
_NOTHING: Final = (
    "SELECT 0::BIGINT AS id, NULL::UUID AS event_id, '' AS client_event_id, '' AS name, '' AS user_id, '' AS anonymous_id,"
    " '' AS person, '' AS session_id, NULL::TIMESTAMPTZ AS occurred_at, NULL::TIMESTAMPTZ AS received_at,"
    " NULL::TIMESTAMPTZ AS stored_at, '' AS properties, '' AS context WHERE false"
)
# Every kind of value once, so that what Python loads for it is there before the wall is.
_WARM_UP: Final = "SELECT now(), uuid(), 1.5, current_date, INTERVAL 1 DAY, [{'a': 'x'::BLOB}], MAP {'a': 1}"
_SPARE_FILES: Final = 16
# Fresh rows that are copied at the set-up (0.1 s), so that files which hold other projects' rows too need not stay in reach.
# Beyond that, which is a merge that has fallen behind, the first wall alone stands before those.
_COPIED_ROWS: Final = 100_000


class BoxBody(msgspec.Struct):
    sql: str
    project_id: int
    own: list[str]
    shared: list[str]
    shared_rows: int
    max_rows: int
    cut: bool


def wall_in(
    body: BoxBody, memory_mb: int, *, before: Callable[[duckdb.DuckDBPyConnection], None]
) -> duckdb.DuckDBPyConnection:
    """Returns a connection whose table `events` holds the project's events; this process can reach nothing else from here on.

    `before` is called while threads may still be started. Errors: OSError where a file is gone.
    """
    own = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in body.own]
    shared = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in body.shared]
    files, statm = own + shared, fence.open_statm()
    fence.become_nobody()
    fence.allow_reading_only(files)  # before there are threads: it holds for those of later
    config: dict[str, Any] = {
        "threads": 1,
        "memory_limit": f"{memory_mb}MB",
        "temp_directory": "",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_persistent_secrets": "false",
    }
    connection = duckdb.connect(config=config)
    connection.execute(
        "SET TimeZone = 'UTC'; SET enable_progress_bar = false; SET python_enable_replacements = false"
    )
    mine = (
        f"SELECT {_COLUMNS} FROM {_reader(shared)} WHERE project_id = {int(body.project_id)}"
        if shared
        else ""
    )
    if shared and body.shared_rows <= _COPIED_ROWS:
        connection.execute(f"CREATE TABLE fresh AS {mine}")
        mine, files = "FROM fresh", own
    parts = [f"SELECT {_COLUMNS} FROM {_reader(own)}"] if own else []
    parts += [mine] if mine else []
    connection.execute(f"CREATE VIEW events AS {' UNION ALL '.join(parts) or _NOTHING}")
    connection.execute(f"SET allowed_paths = [{_paths(files)}]")
    for descriptor in set(shared) - set(files):
        os.close(descriptor)
    connection.execute(_WARM_UP).fetchall()
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")
    before(connection)
    fence.bound_memory(memory_mb, statm)
    fence.forbid_the_rest(open_files=len(own) + len(shared) + len(files) + _SPARE_FILES)
    return connection


def _reader(files: list[int]) -> str:
    return f"read_parquet([{_paths(files)}], hive_partitioning = false)"


def _paths(files: list[int]) -> str:
    return ", ".join(f"'/proc/self/fd/{file}'" for file in files)
