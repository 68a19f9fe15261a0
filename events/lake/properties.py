"""Columns for a project's frequent properties, chosen anew for each file from what occurs in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb

from events.lake.layout import MAX_PROPERTY_COLUMNS, number_column, pointer, text_column

SAMPLE_ROWS: Final = 20_480
MAX_KEYS: Final = 2_000  # in the sample: with more, the rest is not counted
MAX_LISTED: Final = 500
MAX_CANDIDATES: Final = MAX_PROPERTY_COLUMNS + 50  # some are too long
MIN_SHARE: Final = 0.001  # of the rows; a rarer property is asked of the JSON
MAX_TEXT_BYTES: Final = 300  # on average; longer ones would only lie there twice

Columns = dict[str, dict[str, bool]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """As in the table of segments; `is_complete`: no other property than these occurs."""

    columns: Columns = field(default_factory=dict)
    is_complete: bool = True


def choose(duck: duckdb.DuckDBPyConnection, source: str, parameters: Sequence[Any]) -> Chosen:
    """Takes a SELECT of rows of one project, returns which of their properties get which columns."""
    rows = max(_one(duck, f"SELECT count(*) FROM ({source})", parameters)[0], 1)
    sampled = f"SELECT properties FROM ({source}) WHERE id % {max(rows // SAMPLE_ROWS, 1)} = 0"
    seen = _counts(duck, sampled, parameters)
    # Every row its own names: to count them all would take the memory of all of them, and tell nothing more.
    is_bounded = len(seen) <= MAX_KEYS
    counts = _counts(duck, source, parameters) if is_bounded else seen
    least = max(2, MIN_SHARE * (rows if is_bounded else min(rows, SAMPLE_ROWS)))
    frequent = [key for key, count in counts.items() if count >= least][:MAX_CANDIDATES]
    kinds = _kinds(duck, source, parameters, frequent)
    columns = {key: {"s": False, "n": False} for key in list(counts)[:MAX_LISTED]}
    free = MAX_PROPERTY_COLUMNS
    for key in frequent:
        needed = 1 + kinds[key].is_number
        if kinds[key].is_short and needed <= free:
            columns[key] = {"s": True, "n": kinds[key].is_number}
            free -= needed
    return Chosen(columns, is_bounded and len(counts) <= MAX_LISTED)


def select(columns: Columns) -> tuple[str, str, list[Any]]:
    """Returns the columns' SQL, the source's extra SQL, and its parameters: all values of a row in one extraction.

    One by one they would cost four times as much: the text is parsed for each.
    """
    texts = [key for key, kinds in columns.items() if kinds["s"]]
    numbers = [key for key, kinds in columns.items() if kinds["n"]]
    wanted = [f"texts[{n}] AS {text_column(key)}" for n, key in enumerate(texts, 1)]
    wanted += [f"{_number(f'numbers[{n}]')} AS {number_column(key)}" for n, key in enumerate(numbers, 1)]
    extra = "".join(
        f", {function}(properties, ?) AS {name}"
        for function, name, keys in (
            ("json_extract_string", "texts", texts),
            ("json_extract", "numbers", numbers),
        )
        if keys
    )
    return (
        "".join(f", {one}" for one in wanted),
        extra,
        [[pointer(key) for key in keys] for keys in (texts, numbers) if keys],
    )


def _counts(duck: duckdb.DuckDBPyConnection, source: str, parameters: Sequence[Any]) -> dict[str, int]:
    """Rows by property, the most frequent first."""
    found = duck.execute(
        f"SELECT key, count(*) FROM (SELECT unnest(json_keys(properties)) AS key FROM ({source}))"
        " GROUP BY 1 ORDER BY 2 DESC, 1",
        list(parameters),
    ).fetchall()
    return dict(found)


@dataclass(frozen=True, slots=True)
class _Kind:
    is_short: bool
    is_number: bool  # in any row


def _kinds(
    duck: duckdb.DuckDBPyConnection, source: str, parameters: Sequence[Any], keys: Sequence[str]
) -> dict[str, _Kind]:
    if not keys:
        return {}
    values = [f"x[{n}]" for n in range(1, len(keys) + 1)]
    means = ", ".join(f"avg(strlen({value}::varchar))" for value in values)
    numbers = ", ".join(f"bool_or({_number(value)} IS NOT NULL)" for value in values)
    sql = f"SELECT [{means}], [{numbers}] FROM (SELECT json_extract(properties, ?) AS x FROM ({source}))"
    lengths, is_number = _one(duck, sql, [[pointer(key) for key in keys], *parameters])
    return {
        key: _Kind((length or 0) <= MAX_TEXT_BYTES, bool(number))
        for key, length, number in zip(keys, lengths, is_number, strict=True)
    }


def _one(duck: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any]) -> tuple[Any, ...]:
    """The only row of an aggregate."""
    return duck.execute(sql, list(parameters)).fetchall()[0]


def _number(value: str) -> str:
    """Strings keep their quotes there, so only JSON numbers pass the cast; those beyond a DOUBLE become infinite."""
    cast = f"try_cast({value}::varchar AS double)"
    return f"CASE WHEN isfinite({cast}) THEN {cast} END"
