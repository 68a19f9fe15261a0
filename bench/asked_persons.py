"""The questions of `make bench-insights` that follow persons: funnels and retention, as good SQL of both engines puts them."""

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

FOLLOWED: Final = (_funnel(3, 7, 1), _funnel(5, 30, 7), RETENTION)
