"""A result of DuckDB as JSON can say it, and no more of it than an answer may hold.

Integers of up to 64 bits stay numbers, larger ones are text. DECIMAL becomes the nearest DOUBLE; NaN and the infinities are
null. Times are ISO 8601 with microseconds, those with a zone in UTC with a Z. UUID and INTERVAL are text, BLOB is base64;
lists and structs stay what they are, keys of a MAP become text.
"""

import base64
import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import duckdb
import msgspec

from events.insights.errors import TooManyRows

_FETCH_ROWS: Final = 1_000
# Python's own values of these are JSON's already.
_PLAIN_WORDS: Final = """
BIGINT INTEGER SMALLINT TINYINT UBIGINT UINTEGER USMALLINT UTINYINT VARCHAR BOOLEAN JSON "NULL"
"""
_PLAIN: Final = frozenset(_PLAIN_WORDS.split())
_encode = msgspec.msgpack.Encoder().encode


class Table(msgspec.Struct):
    """`pages`: rows, encoded as they came, so that their bytes are known before the next are fetched."""

    columns: list[str]
    pages: list[msgspec.Raw]
    seconds: float
    is_cut: bool = False


def fetch(
    connection: duckdb.DuckDBPyConnection, *, max_rows: int, max_bytes: int, cut: bool
) -> tuple[list[str], list[msgspec.Raw], bool]:
    """Returns columns, pages of rows and whether rows were cut off. Errors: TooManyRows, where not `cut`; duckdb.Error."""
    described = connection.description or []
    columns = [str(column[0]) for column in described]
    converters = [_converter(str(column[1])) for column in described]
    odd = [(index, convert) for index, convert in enumerate(converters) if convert is not None]
    pages: list[msgspec.Raw] = []
    left, size = max_rows, sum(len(column) for column in columns)
    while True:
        rows = connection.fetchmany(min(_FETCH_ROWS, left + 1))
        is_over = len(rows) > left
        if is_over and not cut:
            raise TooManyRows
        lists = [list(row) for row in rows[:left]]
        for row in lists:
            for index, convert in odd:
                if row[index] is not None:
                    row[index] = convert(row[index])
        page = _encode(lists)
        size += len(page)
        if size > max_bytes:
            raise TooManyRows
        pages.append(msgspec.Raw(page))
        left -= len(lists)
        if is_over or not rows:
            return columns, pages, is_over


def _converter(kind: str) -> Callable[[Any], Any] | None:
    if kind in _PLAIN:
        return None
    if kind == "TIMESTAMP WITH TIME ZONE":
        return _instant
    if kind in ("DOUBLE", "FLOAT"):
        return _finite
    return json_value


def json_value(value: Any) -> Any:
    """Takes any value that DuckDB's Python hands out."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 64 else str(value)
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, Decimal):
        return _finite(float(value))
    if isinstance(value, dt.datetime):
        return _instant(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    return str(value)


def _finite(value: Any) -> Any:
    return value if math.isfinite(value) else None


def _instant(value: Any) -> Any:
    if not isinstance(value, dt.datetime):
        return str(value)  # beyond the year 9999
    if value.tzinfo is None:
        return value.isoformat(timespec="microseconds")
    return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
