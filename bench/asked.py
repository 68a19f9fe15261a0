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
    kind: str = "trends"


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


def _columns(series: dict[str, list[Any]], *names: str) -> list[tuple[Any, ...]]:
    """The named values of each bucket behind its place."""
    return [
        (place, *values) for place, values in enumerate(zip(*(series[name] for name in names), strict=True))
    ]


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

PERFORMANCE: Final = Question(
    "hourly percentiles and error rate, 7 days", 7,
    {"property": "ms", "interval": "hour", "errors": {"property": "ok", "op": "=", "value": False}},
    "SELECT extract(epoch FROM date_trunc('hour', occurred_at, 'UTC')), count(*), count(*) FILTER (WHERE ok = 'false'),"
    " percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) FROM (SELECT"
    f" occurred_at, properties ->> 'ok' AS ok, (properties ->> 'ms')::double precision AS ms {IN_TABLE}) AS e GROUP BY 1",
    f"SELECT h, n, e, q[1], q[2] FROM (SELECT epoch_us(occurred_at) // 3600000000 AS h, count(*) AS n,"
    f" count(*) FILTER (s_ok = 'false') AS e, quantile_cont(n_ms, [0.5, 0.95]) AS q {FILES} GROUP BY 1)",
    lambda answer: _columns(answer["series"], "count", "errors", "p50", "p95"), _without_time, "performance",
)  # fmt: skip
SLOWEST: Final = Question(
    "slowest of 500 groups, 7 days", 7,
    {"property": "ms", "interval": None, "breakdown": {"property": "path"}},
    "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY (properties ->> 'ms')::double precision)"
    f" {IN_TABLE} GROUP BY properties ->> 'path' HAVING count(*) >= 20 ORDER BY 1 DESC LIMIT 10",
    f"SELECT quantile_cont(n_ms, 0.95) {FILES} GROUP BY s_path HAVING count(n_ms) >= 20 ORDER BY 1 DESC LIMIT 10",
    lambda answer: [(group["p95"],) for group in answer["slowest"]], _only_values, "performance",
)  # fmt: skip
# The period's ends cut sessions in all three: none reads the events before it, and after it there are none.
SESSIONS: Final = Question(
    "sessions day by day, 7 days", 7,
    {"interval": "day"},
    "SELECT day, count(*), count(*) FILTER (WHERE n = 1), sum(n), avg(seconds) FROM (SELECT min(day) AS day, count(*) AS n,"
    " extract(epoch FROM max(occurred_at) - min(occurred_at)) AS seconds FROM (SELECT user_id, occurred_at, day,"
    " count(*) FILTER (WHERE begins) OVER (PARTITION BY user_id ORDER BY occurred_at, id) AS number"
    f" FROM (SELECT user_id, id, occurred_at, {DAY_OF_TABLE} AS day, coalesce(occurred_at - lag(occurred_at)"
    f" OVER (PARTITION BY user_id ORDER BY occurred_at, id) > interval '30 minutes', true) AS begins {IN_TABLE}) AS e"
    ") AS marked GROUP BY user_id, number) AS session GROUP BY day",
    "SELECT day, count(*), count(*) FILTER (n = 1), sum(n), avg(us) / 1e6 FROM (SELECT min(t) // 86400000000 AS day,"
    " count(*) AS n, max(t) - min(t) AS us FROM (SELECT p, t, sum(begins::int) OVER (PARTITION BY p ORDER BY t ROWS UNBOUNDED"
    " PRECEDING) AS number FROM (SELECT person_h AS p, epoch_us(occurred_at) AS t, coalesce(t - lag(t) OVER (PARTITION BY p"
    f" ORDER BY t) > 1800000000, true) AS begins {FILES})) GROUP BY p, number) GROUP BY day",
    lambda answer: _columns(answer["series"], "sessions", "bounces", "events", "seconds_mean"), _without_time, "sessions",
)  # fmt: skip
PATHS: Final = Question(
    "next event after one, 7 days", 7,
    {"event": {"name": NAME}, "depth": 1, "limit": 20},
    "SELECT following, count(*) FROM (SELECT name, CASE WHEN lead(occurred_at) OVER w - occurred_at <= interval '30 minutes'"
    f" THEN lead(name) OVER w END AS following {IN_TABLE} WINDOW w AS (PARTITION BY user_id ORDER BY occurred_at, id)) AS e"
    f" WHERE name = '{NAME}' GROUP BY 1 ORDER BY following IS NULL DESC, 2 DESC, following COLLATE \"C\" LIMIT 21",
    "SELECT following, count(*) FROM (SELECT name, CASE WHEN lead(t) OVER w - t <= 1800000000 THEN lead(name) OVER w END AS"
    f" following FROM (SELECT person_h AS p, epoch_us(occurred_at) AS t, name {FILES}) WINDOW w AS (PARTITION BY p ORDER BY t))"
    f" WHERE name = '{NAME}' GROUP BY 1 ORDER BY following IS NULL DESC, 2 DESC, following LIMIT 21",
    lambda answer: [
        (None, answer["steps"][0]["ended"]),
        *((event["name"], event["count"]) for event in answer["steps"][0]["events"]),
    ],
    lambda rows: sorted((name or "", number) for name, number in rows), "paths",
)  # fmt: skip

JUDGED: Final = (DAILY_COUNT, DAILY_UNIQUES, UNIQUES, TOP_NAMES, BREAKDOWN, HOURLY)
QUESTIONS: Final = (*JUDGED, PERFORMANCE, SLOWEST, SESSIONS, PATHS)
