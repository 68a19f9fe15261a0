"""Rows in order without holding many: where they are large, sorted runs one after another, each the next part of the order.

DuckDB's sort holds some 120,000 rows at least, whatever its memory limit: of 2 kB each that is more than a writer may use.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from events.lake.duck import LARGE_BYTES, LARGE_ROW_BYTES
from events.lake.layout import lake_dir

SORT_ROWS: Final = 122_880  # held by a sort at least
SORT_BYTES: Final = 52 << 20  # of such rows, that fit beside what else a merge needs
RUN_BYTES: Final = LARGE_BYTES  # of large rows
# How much longer runs of others are: no more memory than their sort takes, and fewer scans.
MEDIUM_RUNS: Final = 3
RUN_GROUP_ROWS: Final = 4_096  # a row group is held while it is written or read
# With 4,096 a file's footer took longer to read than the rows of one project's day in it.
FILE_GROUP_ROWS: Final = 16_384
IN_ORDER: Final = ()  # a key of rows that come so already
# Of a row in memory, about.
SIZE: Final = "strlen(properties) + strlen(context) + coalesce(octet_length(raw), 0) + 200"

# A name's place among all: keys of a fixed size spill at half the cost of texts.
BY_PLACE: Final = """
WITH source AS NOT MATERIALIZED ({source}),
    places AS (SELECT name, row_number() OVER (ORDER BY name) AS place FROM (SELECT DISTINCT name FROM source))
SELECT source.* FROM source JOIN places USING (name) ORDER BY {order}
"""


@dataclass(frozen=True, slots=True)
class Rows:
    """What is to be in order: a SELECT and its parameters, of so many rows of `size` bytes in all, by SIZE.

    `key`: the columns of the order, or IN_ORDER. `turn`: what each statement is carried out in.
    """

    duck: duckdb.DuckDBPyConnection
    source: str
    values: Sequence[Any]
    key: Sequence[str]
    rows: int
    size: int
    turn: Callable[[], AbstractContextManager[None]]

    @property
    def order(self) -> str:
        return ", ".join(self.key)

    @property
    def is_large(self) -> bool:
        return self.size >= self.rows * LARGE_ROW_BYTES

    def is_held(self) -> bool:
        """Whether one sort of all of them fits."""
        held = self.size * min(1.0, SORT_ROWS / max(self.rows, 1))
        return self.key == IN_ORDER or held <= (RUN_BYTES if self.is_large else SORT_BYTES)

    def sorted(self) -> str:
        if self.key == IN_ORDER:
            return self.source
        if self.rows <= SORT_ROWS:
            return f"{self.source} ORDER BY {self.order}"
        by_place = ", ".join("place" if column == "name" else column for column in self.key)
        return BY_PLACE.format(source=self.source, order=by_place)


@contextmanager
def in_order(of: Rows) -> Iterator[tuple[str, list[Any]]]:
    """Yields a SELECT of the same rows in order, and its parameters. The files of runs are gone afterwards."""
    if of.is_held():
        yield of.sorted(), list(of.values)
        return
    with in_files(of) as files:
        yield "SELECT * FROM read_parquet(?)", [files]


@contextmanager
def in_files(of: Rows) -> Iterator[list[str]]:
    """Yields files of the same rows, one after another in order. They are gone afterwards."""
    folder = lake_dir() / "tmp"
    written: list[str] = []
    try:
        if of.is_held():
            group_rows, runs = FILE_GROUP_ROWS, [(of.sorted(), list(of.values))]
        else:
            with of.turn():
                group_rows, runs = RUN_GROUP_ROWS, _runs(of)
        for sql, values in runs:
            written.append(str(folder / f"{uuid.uuid4().hex}.parquet"))
            target = written[-1].replace("'", "''")
            with of.turn():
                of.duck.execute(
                    f"COPY ({sql}) TO '{target}' (FORMAT parquet, ROW_GROUP_SIZE {group_rows})", values
                )
        yield written
    finally:
        for path in written:
            (folder / path).unlink(missing_ok=True)


def _runs(of: Rows) -> list[tuple[str, list[Any]]]:
    """The SELECT of each. Plan of their bounds, each the key of a run's first row: a sort of the keys, then a streaming sum."""
    length = RUN_BYTES if of.is_large else MEDIUM_RUNS * RUN_BYTES
    bounds = of.duck.execute(
        f"SELECT {of.order} FROM (SELECT *, sum(size) OVER (ROWS UNBOUNDED PRECEDING) AS until"
        f" FROM (SELECT {of.order}, {SIZE} AS size FROM ({of.source}) ORDER BY {of.order}))"
        f" WHERE until = size OR (until - size) // {length} <> until // {length} ORDER BY until",
        list(of.values),
    ).fetchall()
    between = [
        _between(of.key, bound, after) for bound, after in zip(bounds, [*bounds[1:], None], strict=True)
    ]
    return [
        (f"SELECT * FROM ({of.source}) WHERE {conditions} ORDER BY {of.order}", [*of.values, *limits])
        for conditions, limits in between
    ]


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
