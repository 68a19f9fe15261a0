"""Count and checksum of every project and UTC day, in the table and in the lake: the same number from two engines."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import duckdb
from django.db import connection

from events.lake.scope import Scope

FETCH: Final = 2_000
_BITS: Final = 1 << 64
_TEXTS: Final = ("client_event_id", "name", "user_id", "anonymous_id", "session_id")
_TIMES: Final = ("occurred_at", "received_at", "stored_at")


def _row_text(*, bytes_of: str, us_of: str, text: str) -> str:
    """A row as one text that no other row has: texts come with their length, what may be large as its md5."""
    parts = [f"{name}::{text}" for name in ("id", "project_id", "event_id")]
    parts += [f"coalesce({bytes_of}({name})::{text} || ':' || {name}, '-')" for name in _TEXTS]
    parts += [us_of.format(name) + f"::{text}" for name in _TIMES]
    parts += [f"md5(properties::{text})", f"md5(context::{text})", "coalesce(md5(raw), '-')"]
    return " || ',' || ".join(parts)


# The sum of 64 bits of each row's md5 knows no order, and a row that stands twice shows.
_IN_TABLE: Final = _row_text(
    bytes_of="octet_length", us_of="(extract(epoch FROM {}) * 1000000)::bigint", text="text"
)
_IN_LAKE: Final = _row_text(bytes_of="strlen", us_of="epoch_us({})", text="varchar")
LAKE_DAY: Final = "make_timestamp(epoch_us(occurred_at))::date"

# Plan: one pass over the partitions, or over the index of (project_id, occurred_at) where a project is asked for.
OF_TABLE: Final = f"""
SELECT project_id, (occurred_at AT TIME ZONE 'UTC')::date, count(*),
    sum(('x' || substr(md5({_IN_TABLE}), 1, 16))::bit(64)::bigint)
FROM events_event AS e WHERE {{where}} GROUP BY 1, 2 ORDER BY 1, 2
"""
OF_FILE: Final = f"""
INSERT INTO found SELECT project_id, {LAKE_DAY}, count(*), sum(('0x' || substr(md5({_IN_LAKE}), 1, 16))::ubigint)
FROM read_parquet(?, hive_partitioning = false) WHERE {{where}} GROUP BY 1, 2
"""
OF_LAKE: Final = (
    "SELECT project_id, day, sum(rows)::bigint, sum(checksum) FROM found GROUP BY 1, 2 ORDER BY 1, 2"
)


@dataclass(frozen=True, slots=True)
class Compared:
    """A project's UTC day of `occurred_at`."""

    project_id: int
    day: date
    table_rows: int = 0
    table_checksum: int = 0
    lake_rows: int = 0
    lake_checksum: int = 0

    @property
    def is_equal(self) -> bool:
        return (self.table_rows, self.table_checksum) == (self.lake_rows, self.lake_checksum)


def clear(duck: duckdb.DuckDBPyConnection) -> None:
    """Before `add_file`."""
    duck.execute(
        "CREATE OR REPLACE TEMP TABLE found (project_id bigint, day date, rows bigint, checksum hugeint)"
    )


def add_file(duck: duckdb.DuckDBPyConnection, path: Path, within: Scope) -> None:
    """Adds a segment's rows to the lake's sums. Raises duckdb.Error, and then nothing was added."""
    duck.execute(OF_FILE.format(where=within.in_lake()), [str(path)])


def compare(duck: duckdb.DuckDBPyConnection, within: Scope) -> Iterator[Compared]:
    """Within a transaction, after `add_file` of all files: each project and day that either has, in order, some at a time."""
    where, values = within.in_table()
    with connection.chunked_cursor() as cursor:
        cursor.execute(OF_TABLE.format(where=where), values)
        ours, theirs = _rows(cursor), _rows(duck.execute(OF_LAKE))
        table, lake = next(ours, None), next(theirs, None)
        while table is not None or lake is not None:
            if lake is None or (table is not None and table[:2] < lake[:2]):
                assert table is not None  # noqa: S101  as mypy cannot see
                yield Compared(*table)
                table = next(ours, None)
            elif table is None or lake[:2] < table[:2]:
                yield Compared(lake[0], lake[1], lake_rows=lake[2], lake_checksum=lake[3])
                lake = next(theirs, None)
            else:
                yield Compared(*table, *lake[2:])
                table, lake = next(ours, None), next(theirs, None)


def _rows(cursor: Any) -> Iterator[tuple[int, date, int, int]]:
    while found := cursor.fetchmany(FETCH):
        for project_id, day, rows, checksum in found:
            yield project_id, day, rows, int(checksum) % _BITS
