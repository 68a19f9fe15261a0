"""Rows in order without holding many: where they are fat, sorted runs one after another, each the next part of the order.

DuckDB's sort holds some 120,000 rows at least, whatever its memory limit: of 2 kB each that is more than a writer may use.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import duckdb

from events.lake.layout import lake_dir

SORT_ROWS: Final = 122_880  # held by a sort at least
SORT_BYTES: Final = 40 << 20  # of such rows, uncompressed, that fit beside what else a merge needs
RUN_BYTES: Final = 16 << 20


@contextmanager
def in_order(
    duck: duckdb.DuckDBPyConnection,
    source: str,
    values: Sequence[Any],
    *,
    key: Sequence[str],
    files: Sequence[str],
) -> Iterator[tuple[str, list[Any], int]]:
    """Takes a SELECT of rows of some files, yields one of the same rows in order of `key`, its parameters, and the
    bytes of a row on average. The files of runs are gone afterwards.
    """  # fmt: skip
    rows, row_bytes = measure(duck, files)
    order = ", ".join(key)
    if min(rows, SORT_ROWS) * row_bytes <= SORT_BYTES:
        yield f"{source} ORDER BY {order}", list(values), row_bytes
        return
    folder = lake_dir() / "tmp"
    written: list[str] = []
    try:
        bounds = _bounds(duck, source, values, order, max(RUN_BYTES // row_bytes, 1))
        for bound, after in zip(bounds, [*bounds[1:], None], strict=True):
            written.append(str(folder / f"{uuid.uuid4().hex}.parquet"))
            conditions, limits = _between(key, bound, after)
            duck.execute(
                f"COPY (SELECT * FROM ({source}) WHERE {conditions} ORDER BY {order})"
                f" TO '{written[-1].replace(chr(39), chr(39) * 2)}' (FORMAT parquet, ROW_GROUP_SIZE 4096)",
                [*values, *limits],
            )
        yield "SELECT * FROM read_parquet(?)", [written], row_bytes
    finally:
        for path in written:
            (folder / path).unlink(missing_ok=True)


def measure(duck: duckdb.DuckDBPyConnection, files: Sequence[str]) -> tuple[int, int]:
    """Rows of some files, and the bytes of one on average, by what they say of themselves."""
    rows = duck.execute("SELECT sum(num_rows) FROM parquet_file_metadata(?)", [list(files)]).fetchall()[0][0]
    size = duck.execute(
        "SELECT sum(total_uncompressed_size) FROM parquet_metadata(?) WHERE path_in_schema NOT SIMILAR TO '[sn]_[0-9a-f]{16}'",
        [list(files)],
    ).fetchall()[0][0]
    return int(rows or 0), int(size or 0) // max(int(rows or 0), 1)


def _bounds(
    duck: duckdb.DuckDBPyConnection, source: str, values: Sequence[Any], order: str, run_rows: int
) -> list[tuple[Any, ...]]:
    """The key of the first row of each run. Plan: a sort of the keys alone."""
    return duck.execute(
        f"SELECT {order} FROM (SELECT *, row_number() OVER () AS place FROM (SELECT {order} FROM ({source}) ORDER BY {order}))"
        f" WHERE (place - 1) % {int(run_rows)} = 0 ORDER BY place",
        list(values),
    ).fetchall()


def _between(
    key: Sequence[str], first: tuple[Any, ...], after: tuple[Any, ...] | None
) -> tuple[str, list[Any]]:
    """The first column alone once more, for row groups are skipped by that."""
    order, places = ", ".join(key), ", ".join("?" * len(key))
    conditions, values = f"({order}) >= ({places}) AND {key[0]} >= ?", [*first, first[0]]
    if after is not None:
        conditions += f" AND ({order}) < ({places}) AND {key[0]} <= ?"
        values += [*after, after[0]]
    return conditions, values
