"""The questions of `make bench-insights`: to us, to PostgreSQL, and to DuckDB over one ideal file a day."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

Shape = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Question:
    """`of_answer` brings our answer into rows, `shape` the rows of all three into something that compares equal."""

    name: str
    days: int
    asked: dict[str, Any]
    postgres: str
    duckdb: str
    of_answer: Shape
    shape: Shape = sorted


IN_TABLE: Final = (
    "FROM events_event WHERE project_id = %(project)s AND occurred_at >= %(since)s AND occurred_at < %(until)s"
    " AND received_at >= %(since)s"
)
FILES: Final = "FROM read_parquet($files)"
DAY_OF_TABLE: Final = "(extract(epoch FROM date_trunc('day', occurred_at, 'UTC')) / 86400)::int"
DAY_OF_FILES: Final = "epoch_us(occurred_at) // 86400000000"
NAME: Final = "event_03"


def _values(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The buckets' values of each series, without their times, in order of time."""
    return list(zip(*(series["values"] for series in answer["series"]), strict=True))


def _without_time(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [tuple(_rounded(value) for value in row[1:]) for row in sorted(rows)]


def _rounded(value: Any) -> Any:
    return round(float(value), 6)


def _only_values(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [tuple(_rounded(value) for value in row) for row in rows]


def _by_group(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    groups: dict[Any, list[Any]] = {}
    for series in answer["series"]:
        for group in series["groups"]:
            if not group["is_other"]:
                groups.setdefault(group["group"], []).append(group["total"])
    return [(name, *totals) for name, totals in groups.items()]


def _timed(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(place, *row) for place, row in enumerate(_values(answer))]


DAILY_COUNT: Final = Question(
    "daily count of one name, 30 days", 30,
    {"interval": "day", "name": NAME, "measure": {"kind": "count"}},
    f"SELECT {DAY_OF_TABLE}, count(*) {IN_TABLE} AND name = '{NAME}' GROUP BY 1",
    f"SELECT {DAY_OF_FILES}, count(*) {FILES} WHERE name = '{NAME}' GROUP BY 1",
    _timed, _without_time,
)  # fmt: skip
DAILY_UNIQUES: Final = Question(
    "its daily uniques, 30 days", 30,
    {"interval": "day", "name": NAME, "measure": {"kind": "persons"}},
    f"SELECT {DAY_OF_TABLE}, count(DISTINCT user_id) {IN_TABLE} AND name = '{NAME}' GROUP BY 1",
    f"SELECT {DAY_OF_FILES}, count(DISTINCT person_h) {FILES} WHERE name = '{NAME}' GROUP BY 1",
    _timed, _without_time,
)  # fmt: skip
UNIQUES: Final = Question(
    "uniques over all, 30 days", 30,
    {"interval": None, "measure": {"kind": "persons"}},
    f"SELECT count(*) FROM (SELECT user_id {IN_TABLE} GROUP BY 1) AS persons",
    f"SELECT count(DISTINCT person_h) {FILES}",
    lambda answer: [(answer["series"][0]["total"],)], _only_values,
)  # fmt: skip
TOP_NAMES: Final = Question(
    "top names with uniques, 30 days", 30,
    {
        "interval": None, "breakdown": {"field": "name", "limit": 50},
        "series": [{"measure": {"kind": "count"}}, {"measure": {"kind": "persons"}}],
    },
    f"SELECT name, count(*), count(DISTINCT user_id) {IN_TABLE} GROUP BY 1 ORDER BY 2 DESC LIMIT 50",
    f"SELECT name, count(*), count(DISTINCT person_h) {FILES} GROUP BY 1 ORDER BY 2 DESC LIMIT 50",
    _by_group,
)  # fmt: skip
BREAKDOWN: Final = Question(
    "breakdown by a property, 7 days", 7,
    {"interval": None, "breakdown": {"property": "browser"}, "measure": {"kind": "count"}},
    f"SELECT properties ->> 'browser', count(*) {IN_TABLE} GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    f"SELECT s_browser, count(*) {FILES} GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    _by_group,
)  # fmt: skip
_PERCENTILES: Final = ("p50", "p95", "p99")
HOURLY: Final = Question(
    "hourly percentiles, 7 days", 7,
    {
        "interval": "hour",
        "series": [{"measure": {"kind": kind, "property": "ms"}} for kind in _PERCENTILES],
    },
    "SELECT extract(epoch FROM date_trunc('hour', occurred_at, 'UTC')),"
    " percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), percentile_cont(0.95) WITHIN GROUP (ORDER BY ms),"
    " percentile_cont(0.99) WITHIN GROUP (ORDER BY ms)"
    f" FROM (SELECT occurred_at, (properties ->> 'ms')::double precision AS ms {IN_TABLE}) AS e GROUP BY 1",
    f"SELECT h, q[1], q[2], q[3] FROM (SELECT epoch_us(occurred_at) // 3600000000 AS h,"
    f" quantile_cont(n_ms, [0.5, 0.95, 0.99]) AS q {FILES} GROUP BY 1)",
    _timed, _without_time,
)  # fmt: skip

JUDGED: Final = (DAILY_COUNT, DAILY_UNIQUES, UNIQUES, TOP_NAMES, BREAKDOWN, HOURLY)
QUESTIONS: Final = JUDGED
