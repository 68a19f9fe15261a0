"""Rows in order, whichever way they come to be in it: compared with plain Python's order of the same rows."""

import contextlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from events.lake import duck, runs
from events.lake.layout import lake_dir

SEED = 7
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = ["b", "a", "", "A", "a b", "ä", "名前", "😀", "a" * 200, "a" * 200 + "b", "\x7f", "'", '"']
Row = tuple[int, str, datetime, int, str, str, bytes | None]
COLUMNS = "project_id, name, occurred_at, id, properties, context, raw"
KEY = ("project_id", "name", "occurred_at", "id")


@pytest.fixture
def reader() -> Iterator[duckdb.DuckDBPyConnection]:
    with duck.connect() as connection:
        yield connection


def file(reader: duckdb.DuckDBPyConnection, folder: Path, count: int, padding: int) -> tuple[str, list[Row]]:
    chance = random.Random(SEED)
    reader.execute(
        "CREATE TABLE t (project_id BIGINT, name VARCHAR, occurred_at TIMESTAMPTZ, id BIGINT, properties VARCHAR,"
        " context VARCHAR, raw BLOB)"
    )
    ids = list(range(count))
    chance.shuffle(ids)
    projects = [chance.randrange(3) for _ in ids]
    names = [chance.choice(NAMES) for _ in ids]
    times = [MIDNIGHT + timedelta(microseconds=chance.randrange(1_000)) for _ in ids]
    texts = [f'{{"n": {number}, "x": "{"x" * padding}"}}' for number in ids]
    reader.execute(
        "INSERT INTO t SELECT unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), '{}', NULL",
        [projects, names, times, ids, texts],
    )
    path = str(folder / "rows.parquet")
    reader.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    contexts, raws = ["{}"] * count, [None] * count
    rows = list(zip(projects, names, times, ids, texts, contexts, raws, strict=True))
    return path, sorted(rows, key=lambda row: (row[0], row[1].encode(), row[2], row[3]))


@pytest.mark.parametrize(
    ("count", "padding"), [(3_000, 0), (runs.SORT_ROWS + 1, 0), (3_000, 8_000)], ids=["few", "many", "large"]
)
def test_rows_are_in_order(
    reader: duckdb.DuckDBPyConnection, tmp_path: Path, count: int, padding: int
) -> None:
    path, expected = file(reader, tmp_path, count, padding)
    size = sum(len(row[4]) + 202 for row in expected)
    source = f"SELECT {COLUMNS} FROM read_parquet(?) WHERE id >= ?"
    given: list[Any] = [[path], 0]
    rows = runs.Rows(reader, source, given, KEY, count, size, contextlib.nullcontext)
    with runs.in_order(rows) as (sql, values):
        assert (len(list((lake_dir() / "tmp").glob("*.parquet"))) > 1) == (padding > 0)
        assert reader.execute(sql, values).fetchall() == expected
    with runs.in_files(rows) as files:
        assert reader.execute("SELECT * FROM read_parquet(?)", [files]).fetchall() == expected
    assert not list((lake_dir() / "tmp").glob("*.parquet"))
