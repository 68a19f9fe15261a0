"""DuckDB as the lake's writers use it: one thread, little memory, spilling to a folder of its own."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb

from events.lake.layout import lake_dir

FULL: Final = re.compile(r"no space left|disk quota|file too large", re.IGNORECASE)  # of errors: the disk is
MEMORY: Final = "96MB"  # the process takes 60 to 80 MB more
LARGE_ROW_BYTES: Final = 1_200  # on average
# Of large rows at a time: DuckDB works on 2,048 rows, and reading, parsing and writing them takes some six times as much.
LARGE_BYTES: Final = 8 << 20
_turn: Final = threading.Lock()
_kept: Final[dict[Path, duckdb.DuckDBPyConnection]] = {}


def connect(*, memory: str = MEMORY) -> duckdb.DuckDBPyConnection:
    """Returns an instance in memory that writes Parquet within its bounds."""
    temporary = lake_dir() / "tmp"
    temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "threads": 1,
        "memory_limit": memory,
        "temp_directory": str(temporary / "spill"),
        "preserve_insertion_order": "false",  # else row groups cannot be bounded in bytes; one thread keeps the order
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    connection = duckdb.connect(config=config)
    connection.execute(
        "SET TimeZone = 'UTC'; SET enable_progress_bar = false; SET python_enable_replacements = false;"
        "SET enable_external_file_cache = false"  # no file is read twice
    )
    return connection


@contextmanager
def kept() -> Iterator[duckdb.DuckDBPyConnection]:
    """Yields this process's own for the folder, which stays: to open one costs as much as to seal 4,000 rows.

    For one thread. After an error the next is a new one, for some errors make an instance unusable.
    """
    folder = lake_dir()
    connection = _kept.pop(folder, None) or connect()
    try:
        yield connection
    except BaseException:
        connection.close()
        raise
    _kept[folder] = connection


@contextmanager
def at_most(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupts what runs on it after that time: duckdb.InterruptException."""
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def in_turn(*, patience: float = -1) -> Iterator[None]:
    """For work on large rows: a seal and a merge of them at once would take more memory than the worker may.

    After `patience` seconds it goes on all the same, for to be late is worse.
    """
    has_turn = _turn.acquire(timeout=patience)
    try:
        yield
    finally:
        if has_turn:
            _turn.release()
