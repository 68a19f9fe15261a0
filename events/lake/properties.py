"""Columns for a project's frequent properties, chosen anew for each file from what occurs in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb

from events.lake.layout import MAX_PROPERTY_COLUMNS, number_column, pointer, text_column

SAMPLE_ROWS: Final = 20_480
LENGTH_ROWS: Final = 2_048  # looked at for how long values are: of long ones all of these lie in memory
NO_COLUMNS: Final = (
    262_144  # bytes of a row on average: to take columns out of such takes more memory than a writer may use
)
VERY_LARGE: Final = (
    16_384  # bytes: what a filter leaves of such rows is put together until 64 or more lie in memory
)
MAX_KEYS: Final = 2_000  # in the sample: with more, the rest is not counted
MAX_LISTED: Final = 500
MAX_CANDIDATES: Final = MAX_PROPERTY_COLUMNS + 50  # some are too long
MIN_SHARE: Final = 0.001  # of the rows; a rarer property is asked of the JSON
MAX_TEXT_BYTES: Final = 300  # on average; longer ones would only lie there twice
NUMBERS: Final = "('UBIGINT', 'BIGINT', 'DOUBLE')"  # DuckDB's types of JSON values

Columns = dict[str, dict[str, bool]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """As in the table of segments; `is_complete`: no other property than these occurs.

    `only_numbers`: those that are never anything but numbers and null.
    """

    columns: Columns = field(default_factory=dict)
    is_complete: bool = True
    only_numbers: frozenset[str] = frozenset()


def choose(
    duck: duckdb.DuckDBPyConnection, source: str, parameters: Sequence[Any], *, rows: int, size: int = 0
) -> Chosen:
    """Takes a SELECT of so many rows of one project, returns which of their properties get which columns.

    `size`: their bytes, where they may be large.
    """
    if size > rows * NO_COLUMNS:
        return Chosen(is_complete=False)
    seen = _counts(duck, _sample(source, rows, SAMPLE_ROWS), parameters)
    # Every row its own names: to count them all would take the memory of all of them, and tell nothing more.
    is_bounded = len(seen) <= MAX_KEYS
    counts = _counts(duck, source, parameters) if is_bounded and rows >= 2 * SAMPLE_ROWS else seen
    least = max(2, MIN_SHARE * (rows if is_bounded else min(rows, SAMPLE_ROWS)))
    frequent = [key for key, count in counts.items() if count >= least][:MAX_CANDIDATES]
    looked_at = rows if size > rows * VERY_LARGE else LENGTH_ROWS
    short = _short(duck, _sample(source, rows, looked_at), parameters, frequent)
    numbers, only_numbers = _numbers(duck, source, parameters, short)
    columns = {key: {"s": False, "n": False} for key in list(counts)[:MAX_LISTED]}
    free = MAX_PROPERTY_COLUMNS
    for key in short:
        needed = 1 + (key in numbers)
        if needed <= free:
            columns[key] = {"s": True, "n": key in numbers}
            free -= needed
    return Chosen(columns, is_bounded and len(counts) <= MAX_LISTED, only_numbers)


def select(chosen: Chosen) -> tuple[str, str, list[Any]]:
    """Returns the columns' SQL, the source's extra SQL, and its parameters: all values of a row in one extraction.

    One by one they would cost four times as much: the text is parsed for each.
    """
    texts = [key for key, kinds in chosen.columns.items() if kinds["s"]]
    numbers = [key for key in texts if chosen.columns[key]["n"]]
    mixed = [key for key in numbers if key not in chosen.only_numbers]
    wanted = [f"texts[{n}] AS {text_column(key)}" for n, key in enumerate(texts, 1)]
    for key in numbers:
        value = (
            f"texts[{texts.index(key) + 1}]"
            if key in chosen.only_numbers
            else f"mixed[{mixed.index(key) + 1}]"
        )
        wanted.append(f"{_number(value)} AS {number_column(key)}")
    extra = "".join(
        f", {function}(properties, ?) AS {name}"
        for function, name, keys in (
            ("json_extract_string", "texts", texts),
            ("json_extract", "mixed", mixed),
        )
        if keys
    )
    return (
        "".join(f", {one}" for one in wanted),
        extra,
        [[pointer(key) for key in keys] for keys in (texts, mixed) if keys],
    )


def _counts(duck: duckdb.DuckDBPyConnection, source: str, parameters: Sequence[Any]) -> dict[str, int]:
    """Rows by property, the most frequent first."""
    found = duck.execute(
        f"SELECT key, count(*) FROM (SELECT unnest(json_keys(properties)) AS key FROM ({source}))"
        " GROUP BY 1 ORDER BY 2 DESC, 1",
        list(parameters),
    ).fetchall()
    return dict(found)


def _sample(source: str, rows: int, wanted: int) -> str:
    """The properties of about so many of the rows."""
    step = rows // wanted
    return f"SELECT properties FROM ({source})" + (f" WHERE hash(id) % {step} = 0" if step > 1 else "")


def _short(
    duck: duckdb.DuckDBPyConnection, source: str, parameters: Sequence[Any], keys: Sequence[str]
) -> list[str]:
    """Those of the properties whose values are short on average."""
    lengths = _each(duck, source, parameters, keys, "avg(strlen({}::varchar))")
    return [key for key, length in zip(keys, lengths, strict=True) if (length or 0) <= MAX_TEXT_BYTES]


def _numbers(
    duck: duckdb.DuckDBPyConnection, source: str, parameters: Sequence[Any], keys: Sequence[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Those of the properties that are a number in any row, and those of them that are nothing else in any other."""
    types = f"[bool_or({{}} IN {NUMBERS}), bool_and({{}} IN {NUMBERS} OR {{}} = 'NULL')]"
    found = _each(duck, source, parameters, keys, types, of="json_type")
    numbers = {key: is_only for key, (is_number, is_only) in zip(keys, found, strict=True) if is_number}
    return frozenset(numbers), frozenset(key for key, is_only in numbers.items() if is_only)


def _each(
    duck: duckdb.DuckDBPyConnection,
    source: str,
    parameters: Sequence[Any],
    keys: Sequence[str],
    aggregate: str,
    *,
    of: str = "json_extract",
) -> list[Any]:
    """One aggregate of each property's JSON values, or of another function of them; `{}` in it stands for that."""
    if not keys:
        return []
    wanted = ", ".join(aggregate.replace("{}", f"x[{n}]") for n in range(1, len(keys) + 1))
    sql = f"SELECT [{wanted}] FROM (SELECT {of}(properties, ?) AS x FROM ({source}))"
    return list(_one(duck, sql, [[pointer(key) for key in keys], *parameters])[0])


def _one(duck: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any]) -> tuple[Any, ...]:
    """The only row of an aggregate."""
    return duck.execute(sql, list(parameters)).fetchall()[0]


def _number(value: str) -> str:
    """Strings keep their quotes there, so only JSON numbers pass the cast; those beyond a DOUBLE become infinite."""
    cast = f"try_cast({value}::varchar AS double)"
    return f"CASE WHEN isfinite({cast}) THEN {cast} END"
