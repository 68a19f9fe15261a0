"""Rows in order without holding many: where they are fat, sorted runs one after another, each the next part of the order.

DuckDB's sort holds some 120,000 rows at least, whatever its memory limit: of 2 kB each that is more than a writer may use.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import duckdb

from events.lake.duck import LARGE_BYTES, LARGE_ROW_BYTES
from events.lake.layout import lake_dir

SORT_ROWS: Final = 122_880  # held by a sort at least
SORT_BYTES: Final = 52 << 20  # of such rows, that fit beside what else a merge needs
RUN_BYTES: Final = LARGE_BYTES
# Of a row in memory, about.
SIZE: Final = "strlen(properties) + strlen(context) + coalesce(octet_length(raw), 0) + 200"

# A name's place among all: keys of a fixed size spill at half the cost of texts.
BY_PLACE: Final = """
WITH source AS NOT MATERIALIZED ({source}),
    places AS (SELECT name, row_number() OVER (ORDER BY name) AS place FROM (SELECT DISTINCT name FROM source))
SELECT source.* FROM source JOIN places USING (name) ORDER BY {order}
"""


@contextmanager
def in_order(
    duck: duckdb.DuckDBPyConnection,
    source: str,
    values: Sequence[Any],
    *,
    key: Sequence[str],
    rows: int,
    size: int,
    turn: Callable[[], AbstractContextManager[None]],
) -> Iterator[tuple[str, list[Any]]]:
    """Takes a SELECT of `rows` rows of `size` bytes in all, by SIZE; yields one of the same rows in order of `key`, and its
    parameters. The files of runs are gone afterwards. `turn`: what each statement is carried out in.
    """  # fmt: skip
    order = ", ".join(key)
    fitting = SORT_BYTES if size < rows * LARGE_ROW_BYTES else RUN_BYTES
    if size * min(1.0, SORT_ROWS / max(rows, 1)) <= fitting:
        yield f"{source} ORDER BY {order}" if rows <= SORT_ROWS else _by_place(source, key), list(values)
        return
    folder = lake_dir() / "tmp"
    written: list[str] = []
    try:
        with turn():
            bounds = _bounds(duck, source, values, order)
        for bound, after in zip(bounds, [*bounds[1:], None], strict=True):
            written.append(str(folder / f"{uuid.uuid4().hex}.parquet"))
            conditions, limits = _between(key, bound, after)
            target = written[-1].replace("'", "''")
            with turn():
                duck.execute(
                    f"COPY (SELECT * FROM ({source}) WHERE {conditions} ORDER BY {order})"
                    f" TO '{target}' (FORMAT parquet, ROW_GROUP_SIZE 4096)",
                    [*values, *limits],
                )
        yield "SELECT * FROM read_parquet(?)", [written]
    finally:
        for path in written:
            (folder / path).unlink(missing_ok=True)


def _by_place(source: str, key: Sequence[str]) -> str:
    order = ", ".join("place" if column == "name" else column for column in key)
    return BY_PLACE.format(source=source, order=order)


def _bounds(
    duck: duckdb.DuckDBPyConnection, source: str, values: Sequence[Any], order: str
) -> list[tuple[Any, ...]]:
    """The key of the first row of each run. Plan: a sort of the keys alone, then a streaming sum."""
    return duck.execute(
        f"SELECT {order} FROM (SELECT *, sum(size) OVER (ROWS UNBOUNDED PRECEDING) AS until"
        f" FROM (SELECT {order}, {SIZE} AS size FROM ({source}) ORDER BY {order}))"
        f" WHERE until = size OR (until - size) // {RUN_BYTES} <> until // {RUN_BYTES} ORDER BY until",
        list(values),
    ).fetchall()


def _between(
    key: Sequence[str], first: tuple[Any, ...], after: tuple[Any, ...] | None
) -> tuple[str, list[Any]]:
    """What both bounds have in common, and the column after that, once more alone: by those row groups are skipped."""
    order, places = ", ".join(key), ", ".join("?" * len(key))
    conditions, values = [f"({order}) >= ({places})"], [*first]
    if after is not None:
        conditions.append(f"({order}) < ({places})")
        values += after
    for column, low, high in zip(key, first, after or (None,) * len(key), strict=True):
        conditions.append(f"{column} >= ?")
        values.append(low)
        if after is None:
            break
        conditions.append(f"{column} <= ?")
        values.append(high)
        if low != high:
            break
    return " AND ".join(conditions), values
