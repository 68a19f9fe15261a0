"""Which properties get columns, and what those hold: compared with plain Python over the same events."""

import json
import math
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from events.lake import duck, properties
from events.lake.layout import MAX_PROPERTY_COLUMNS, number_column, text_column

ODD_NAMES = [
    "a.b",
    'q"q',
    "q'q",
    "a b",
    "$",
    "",
    "0",
    "a/b",
    "~1",
    "名前",
    "😀",
    "\\",
    "*",
    "Plan",
    "plan",
    "x" * 300,
    "[0]",
]
VALUES: list[Any] = [
    "text",
    "",
    "12",
    12,
    -1.5,
    1e308,
    10**30,
    True,
    None,
    [1, "a"],
    {"k": 'q"\n'},
    "ü\n\"'",
    0,
    "null",
]


@pytest.fixture
def reader() -> Iterator[duckdb.DuckDBPyConnection]:
    with duck.connect() as connection:
        yield connection


def write(reader: duckdb.DuckDBPyConnection, texts: list[str]) -> tuple[properties.Chosen, str]:
    """Puts them into a table, chooses, and returns with it the SELECT of all columns."""
    reader.execute("CREATE OR REPLACE TABLE t (id BIGINT, properties VARCHAR)")
    reader.execute("INSERT INTO t SELECT unnest(?), unnest(?)", [list(range(len(texts))), texts])
    chosen = properties.choose(reader, "SELECT * FROM t", [], rows=len(texts))
    columns, extra, pointers = properties.select(chosen)
    sql = f"SELECT id{columns} FROM (SELECT *{extra} FROM (SELECT * FROM t))"
    reader.execute(f"CREATE OR REPLACE TABLE typed AS {sql}", pointers)
    return chosen, sql


def column(reader: duckdb.DuckDBPyConnection, name: str) -> list[Any]:
    return [row[0] for row in reader.execute(f"SELECT {name} FROM typed ORDER BY id").fetchall()]


def number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(float(value)) else None


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_gets_its_columns_with_its_values(reader: duckdb.DuckDBPyConnection, name: str) -> None:
    other = "plain"
    chosen, _ = write(reader, [json.dumps({name: value, other: n}) for n, value in enumerate(VALUES)])
    assert chosen.is_complete
    assert chosen.columns == {name: {"s": True, "n": True}, other: {"s": True, "n": True}}
    assert column(reader, number_column(name)) == [number(value) for value in VALUES]
    texts = column(reader, text_column(name))
    for value, text in zip(VALUES, texts, strict=True):
        if isinstance(value, str):
            assert text == value
        elif value is None:
            assert text is None
        else:
            assert json.loads(text) == value


def test_a_number_too_large_for_a_double_is_none(reader: duckdb.DuckDBPyConnection) -> None:
    write(reader, ['{"a": 1e400}', '{"a": -1e400}', '{"b": 1e400}', '{"a": 2, "b": 1e999}'])
    assert column(reader, number_column("a")) == [None, None, None, 2.0]
    assert column(reader, number_column("b")) == [None] * 4


def test_numbers_among_which_nothing_else_occurs_are_the_same_numbers(
    reader: duckdb.DuckDBPyConnection,
) -> None:
    values = [0, -0.0, 1, -1, 1.5, 1e-300, 5e-324, 1e308, 2**53 + 1, 2**64, 10**30, 0.1, 1 / 3, None]
    chosen, _ = write(
        reader, [json.dumps({"a": value, "b": value}) for value in values] + ['{"b": "5"}', "{}"]
    )
    assert chosen.only_numbers == {"a"}
    expected = [number(value) for value in values]
    assert column(reader, number_column("a")) == [*expected, None, None]
    assert column(reader, number_column("b")) == [*expected, None, None]


def test_long_and_rare_ones_are_listed_without_a_column(reader: duckdb.DuckDBPyConnection) -> None:
    texts = [json.dumps({"often": 1, "long": "x" * 400}) for _ in range(3_000)] + ['{"rare": 1}']
    chosen, _ = write(reader, texts)
    assert chosen.is_complete
    assert chosen.columns == {
        "often": {"s": True, "n": True}, "long": {"s": False, "n": False}, "rare": {"s": False, "n": False},
    }  # fmt: skip


def test_numbers_that_come_once_in_many_rows_are_not_missed(reader: duckdb.DuckDBPyConnection) -> None:
    texts = ['{"a": "x"}'] * 30_000 + ['{"a": 5}'] + ['{"a": "y"}'] * 30_000
    chosen, _ = write(reader, texts)
    assert chosen.columns == {"a": {"s": True, "n": True}}


def test_columns_are_bounded_and_the_most_frequent_have_them(reader: duckdb.DuckDBPyConnection) -> None:
    texts = [json.dumps({f"k{n}": n for n in range(400) if row % (n + 1) == 0}) for row in range(1_200)]
    chosen, _ = write(reader, texts)
    typed = [name for name, kinds in chosen.columns.items() if kinds["s"]]
    assert sum(kinds["s"] + kinds["n"] for kinds in chosen.columns.values()) == MAX_PROPERTY_COLUMNS
    assert set(typed) == {f"k{n}" for n in range(MAX_PROPERTY_COLUMNS // 2)}
    assert (len(chosen.columns), chosen.is_complete) == (400, True)


@pytest.mark.timeout(30)
def test_names_without_end_are_neither_listed_nor_counted(reader: duckdb.DuckDBPyConnection) -> None:
    texts = [json.dumps({"often": n} | {f"k{n}-{m}": m for m in range(10)}) for n in range(20_000)]
    chosen, _ = write(reader, texts)
    assert not chosen.is_complete
    assert chosen.columns["often"] == {"s": True, "n": True}
    assert len(chosen.columns) <= properties.MAX_LISTED
    assert sum(kinds["s"] for kinds in chosen.columns.values()) == 1


def test_rows_of_hundreds_of_kilobytes_get_no_columns_and_are_read_as_json(
    reader: duckdb.DuckDBPyConnection,
) -> None:
    source = "SELECT 1 AS id, '{\"a\": 1}' AS properties"
    assert "a" in properties.choose(reader, source, [], rows=1, size=20_000).columns
    chosen = properties.choose(reader, source, [], rows=1, size=300_000)
    assert (chosen.columns, chosen.is_complete) == ({}, False)


def test_no_properties_are_no_columns(reader: duckdb.DuckDBPyConnection) -> None:
    chosen, sql = write(reader, ["{}", "{}"])
    assert chosen == properties.Chosen({}, True, frozenset())
    assert "json" not in sql
