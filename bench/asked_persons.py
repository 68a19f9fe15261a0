"""The questions of `make bench-insights` that follow persons, as good SQL of both engines puts them."""

from datetime import datetime, timedelta
from typing import Any, Final

from bench.asked import FILES, IN_TABLE, Question

Rows = list[tuple[Any, ...]]


def _name(step: int) -> str:
    return f"event_{step:02d}"


def _funnel_of_table(steps: int, days: int) -> str:
    """One window for each step: the latest start that can have come so far."""
    flags = ", ".join(f"name = '{_name(step)}' AS m{step}" for step in range(1, steps + 1))
    names = ", ".join(f"'{_name(step)}'" for step in range(1, steps + 1))
    ctes = [
        f"e AS (SELECT user_id AS p, occurred_at AS t, {flags} {IN_TABLE} AND name IN ({names}))",
        "e1 AS (SELECT *, CASE WHEN m1 THEN t END AS s1 FROM e)",
    ]
    for step in range(2, steps + 1):
        ctes.append(
            f"e{step} AS (SELECT *, CASE WHEN m{step} AND t - x{step} <= interval '{days} days' THEN x{step} END AS s{step}"
            f" FROM (SELECT *, max(s{step - 1}) OVER (PARTITION BY p ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING"
            f" AND '1 microsecond' PRECEDING) AS x{step} FROM e{step - 1}) AS w{step})"
        )
    counts = ", ".join(
        f"count(DISTINCT p) FILTER (WHERE s{step} IS NOT NULL)" for step in range(1, steps + 1)
    )
    return f"WITH {', '.join(ctes)} SELECT {counts} FROM e{steps}"


def _funnel_of_files(steps: int, days: int) -> str:
    """One ASOF join for each step."""
    names = ", ".join(f"'{_name(step)}'" for step in range(1, steps + 1))
    ctes = [
        f"e AS MATERIALIZED (SELECT person_h AS p, epoch_us(occurred_at) AS t, name {FILES} WHERE name IN ({names}))",
        f"s1 AS MATERIALIZED (SELECT p, t AS st, t FROM e WHERE name = '{_name(1)}')",
    ]
    for step in range(2, steps + 1):
        ctes.append(
            f"s{step} AS MATERIALIZED (SELECT e.p, s.st, e.t FROM (SELECT p, t FROM e WHERE name = '{_name(step)}') e"
            f" ASOF JOIN s{step - 1} s ON e.p = s.p AND e.t > s.t WHERE e.t - s.st <= {days * 86_400_000_000})"
        )
    counts = ", ".join(f"(SELECT count(DISTINCT p) FROM s{step})" for step in range(1, steps + 1))
    return f"WITH {', '.join(ctes)} SELECT {counts}"


def _steps(answer: dict[str, Any]) -> Rows:
    return [tuple(step["persons"] for step in answer["steps"])]


def _funnel(steps: int, days: int, window_days: int) -> Question:
    asked = {
        "steps": [{"name": _name(step)} for step in range(1, steps + 1)],
        "window": {"last": f"{window_days}d"},
    }
    return Question(
        f"funnel of {steps} steps within {window_days} d, {days} days", days, asked,
        _funnel_of_table(steps, window_days), _funnel_of_files(steps, window_days), _steps, kind="funnel",
    )  # fmt: skip


def _cells(answer: dict[str, Any]) -> Rows:
    return [
        (place, later, count)
        for place, cohort in enumerate(answer["cohorts"])
        for later, count in enumerate(cohort["counts"])
    ]


def _from_first_week(rows: Rows) -> Rows:
    """The engines number weeks from different ones."""
    first = min(row[0] for row in rows)
    return sorted((int(week - first), int(later), int(count)) for week, later, count in rows if count)


_WEEK: Final = "(epoch_us({}) // 86400000000 + 3) // 7"
RETENTION: Final = Question(
    "retention of all by week, 30 days", 30, {"interval": "week"},
    "WITH w AS (SELECT user_id, (extract(epoch FROM date_trunc('week', occurred_at, 'UTC')) / 604800)::int AS week"
    f" {IN_TABLE} GROUP BY 1, 2), f AS (SELECT user_id, min(week) AS c FROM w GROUP BY 1)"
    " SELECT c, week - c, count(*) FROM w JOIN f USING (user_id) GROUP BY 1, 2",
    f"WITH m AS (SELECT person_h, bit_or(1::BIGINT << ({_WEEK.format('occurred_at')}"
    f" - (SELECT {_WEEK.format('min(occurred_at)')} {FILES}))::BIGINT) AS a {FILES} GROUP BY 1),"
    " g AS (SELECT a, count(*) AS n FROM m GROUP BY 1)"
    " SELECT c, k, sum(n) FROM (SELECT *, bit_count((a & -a) - 1)::INT AS c FROM g), (SELECT unnest(range(6))::INT AS k)"
    " WHERE (a >> (c + k)) & 1 = 1 GROUP BY 1, 2",
    _cells, _from_first_week, kind="retention",
)  # fmt: skip

# Pages are in order of the digests: the first eight bytes of the MD5, the last of them first.
_DIGEST: Final = " || ".join(f"substr(md5(p), {place}, 2)" for place in range(15, 0, -2))
DROPPED: Final = Question(
    "who dropped out of it at the 2nd step, 7 days", 7,
    {
        "steps": [{"name": _name(1)}, {"name": _name(2)}], "window": {"last": "1d"},
        "persons": {"step": 2, "state": "dropped", "limit": 100},
    },
    f"WITH e AS (SELECT user_id AS p, occurred_at AS t, name {IN_TABLE} AND name IN ('{_name(1)}', '{_name(2)}')), x AS ("
    f"SELECT *, max(CASE WHEN name = '{_name(1)}' THEN t END) OVER (PARTITION BY p ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING"
    f" AND '1 microsecond' PRECEDING) AS s FROM e) SELECT p FROM x GROUP BY p HAVING bool_or(name = '{_name(1)}') AND NOT"
    f" bool_or(name = '{_name(2)}' AND t - s <= interval '1 day' AND s IS NOT NULL) ORDER BY ({_DIGEST}) COLLATE \"C\" LIMIT 100",
    f"WITH e AS MATERIALIZED (SELECT person_h AS p, epoch_us(occurred_at) AS t, name {FILES}"
    f" WHERE name IN ('{_name(1)}', '{_name(2)}')), s1 AS (SELECT p, t FROM e WHERE name = '{_name(1)}'), s2 AS (SELECT e.p FROM"
    f" (SELECT p, t FROM e WHERE name = '{_name(2)}') e ASOF JOIN s1 s ON e.p = s.p AND e.t > s.t"
    " WHERE e.t - s.t <= 86400000000), page AS MATERIALIZED"
    " (SELECT DISTINCT p FROM s1 WHERE p NOT IN (SELECT p FROM s2) ORDER BY p LIMIT 100)"
    f" SELECT any_value(user_id) {FILES} WHERE person_h IN (SELECT p FROM page) GROUP BY person_h",
    lambda answer: [(row["person"],) for row in answer["persons"]], kind="funnel",
)  # fmt: skip


def _us(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime.fromisoformat("1970-01-01T00:00:00Z")) // timedelta(
        microseconds=1
    )


_US_OF_TABLE: Final = "(extract(epoch FROM {}) * 1000000)::bigint"
PERSONS: Final = Question(
    "the 50 persons seen last, 30 days", 30, {},
    f"SELECT user_id, count(*), {_US_OF_TABLE.format('max(occurred_at)')} {IN_TABLE} GROUP BY 1 ORDER BY 3 DESC LIMIT 50",
    "SELECT who, n, last FROM (SELECT person_h, count(*) AS n, epoch_us(max(occurred_at)) AS last, arg_max(user_id, occurred_at)"
    f" AS who {FILES} GROUP BY 1) ORDER BY last DESC LIMIT 50",
    lambda answer: [(row["person"], row["events"], _us(row["last_seen"])) for row in answer["persons"]], kind="persons",
)  # fmt: skip
_PERSON: Final = "user_0"
TIMELINE: Final = Question(
    "timeline of a frequent person, 30 days", 30, {"person": _PERSON, "limit": 100},
    f"SELECT name, {_US_OF_TABLE.format('occurred_at')}, properties ->> 'path' {IN_TABLE} AND user_id = '{_PERSON}'"
    " ORDER BY occurred_at DESC LIMIT 100",
    f"SELECT name, epoch_us(occurred_at), json_extract_string(properties, '/path') {FILES}"
    f" WHERE person_h = md5_number_upper('{_PERSON}') ORDER BY occurred_at DESC LIMIT 100",
    lambda answer: [
        (event["name"], _us(event["occurred_at"]), event["properties"]["path"])
        for session in answer["sessions"]
        for event in session["events"]
    ],
    kind="timeline",
)  # fmt: skip

FOLLOWED: Final = (_funnel(3, 7, 1), _funnel(5, 30, 7), DROPPED, RETENTION, PERSONS, TIMELINE)
