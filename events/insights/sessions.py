"""The kind `sessions`: how many, how long, how many of a single event, where they begin and end.

A session belongs to the bucket, and to the period, in which its first event lies: so periods side by side add up. Events
before the period only tell which sessions had begun already; those after it belong to sessions that began within.
"""

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, UnsetType

from events.insights import breakdowns, filters, periods
from events.insights.buckets import Buckets, buckets_of
from events.insights.kind import Ask, Kind
from events.insights.period_examples import BY_DAY
from events.insights.periods import Period
from events.insights.question import MAX_GROUPS, Breakdown, Interval
from events.insights.session_rule import SessionsQuestion, events_of, inside

SECOND: Final = 1_000_000
NONE: Final[list[Any]] = [0, 0, 0, 0, [0, 0]]
OTHER: Final = 0  # the number of the group of all that have none of their own


class SessionFiguresQuestion(
    SessionsQuestion, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True
):
    """Number, length, bounces; the names of first and last events; groups by a property of the first event."""

    interval: (
        Annotated[Interval | None, Meta(description="null: totals only. Unless given, it suits the period.")]
        | UnsetType
    ) = UNSET
    breakdown: Annotated[Breakdown | None, Meta(description="Of the first event of a session.")] = None
    top: Annotated[int, Meta(ge=1, le=MAX_GROUPS, description="How many first and last names.")] = 10


# Plan: one sort of all events by person and time, and one of the first and last ones alone: a session's length and its
# number of events are differences between the two. Every part is counted as the sessions stream by, none is kept. A median
# needs the lengths, but not those of sessions of one event, which are 0.
_SQL: Final = """
WITH event AS ({events}), marked AS (
    SELECT p, t, name, g, row_number() OVER w AS n, {begins} AS begins, {ends} AS ends
    FROM event WINDOW w AS (PARTITION BY p ORDER BY t, id)
), paired AS (
    SELECT t, name, g, begins, ends, n, lead(t) OVER v AS last_t, lead(name) OVER v AS last_name, lead(n) OVER v AS last_n
    FROM marked WHERE begins OR ends WINDOW v AS (PARTITION BY p ORDER BY n)
), session AS (
    SELECT {bucket} AS b, name AS first, if(ends, name, last_name) AS last, g, if(ends, 1, last_n - n + 1) AS events,
        if(ends, 0, last_t - t) AS us
    FROM paired WHERE begins AND {inside}
), counted AS (
    SELECT CASE {part} ELSE 'total' END AS part, {number} AS b, coalesce({hashes}) AS h, count(*) AS sessions,
        count(*) FILTER (events = 1) AS bounces, sum(events)::BIGINT AS events, sum(us) AS us,
        list(us) FILTER (events > 1) AS lengths
    FROM session GROUP BY GROUPING SETS ({sets})
), label AS ({labels}), ranked AS (
    SELECT counted.*, label, row_number() OVER (PARTITION BY part ORDER BY sessions DESC, label ASC NULLS LAST) AS place
    FROM counted LEFT JOIN label USING (part, h)
), figure AS (
    SELECT part, CASE part WHEN 'b' THEN b WHEN 'g' THEN if(place <= {limit}, place, {other}) ELSE place END AS number,
        max(label) AS label, sum(sessions)::BIGINT AS sessions, sum(bounces)::BIGINT AS bounces, sum(events) AS events,
        sum(us) AS us, list_sort(flatten(list(lengths) FILTER (lengths IS NOT NULL))) AS lengths
    FROM ranked WHERE part NOT IN ('first', 'last') OR place <= {top} GROUP BY 1, 2
)
SELECT part, number, label, sessions, bounces, events, us,
    list_transform([(sessions - 1) // 2, sessions // 2], lambda place: if(place < bounces, 0, lengths[place - bounces + 1]))
FROM figure
"""


def answer(ask: Ask) -> dict[str, Any]:
    asked: SessionFiguresQuestion = ask.question
    zone = periods.zone_of(asked.time_zone or ask.time_zone)
    period = periods.resolve(
        asked.period, zone, "auto" if asked.interval is UNSET else asked.interval, ask.now
    )
    buckets = buckets_of(period) if period.interval else None
    filters.check(asked.where, zone)
    breakdowns.check(asked.breakdown)
    rows = _rows(ask, asked, period, buckets)
    total = next((_shown(row) for part, _, _, *row in rows if part == "total"), _shown(NONE))
    found: dict[str, Any] = {
        "period": period.shown_with_interval,
        "times": buckets.starts if buckets else None,
        "series": _series(rows, buckets) if buckets else None,
        "total": total,
        "first": _names(rows, "first"),
        "last": _names(rows, "last"),
    }  # fmt: skip
    if asked.breakdown:
        groups = sorted((row[1] == OTHER, row[1], row[2], row[3:]) for row in rows if row[0] == "g")
        found["groups"] = [
            {"group": None if is_other else label, "is_other": is_other} | _shown(row)
            for is_other, _, label, row in groups
        ]
    return found


def _rows(
    ask: Ask, asked: SessionFiguresQuestion, period: Period, buckets: Buckets | None
) -> list[list[Any]]:
    """Returns (part, number, label, figures …), a row for each part of the answer."""
    source = events_of(ask, asked, period)
    group = breakdowns.group(asked.breakdown, source.scan) if asked.breakdown else ""
    hashes = ["first", "last", *(["g"] if group else [])]
    columns = [*hashes, *(["b"] if buckets else [])]
    labels = f"SELECT unnest(['first', 'last']) AS part, h, label FROM ({source.labels('name')})"
    if group:
        labels += f" UNION ALL SELECT 'g', h, label FROM ({source.labels(group)})"
    sql = _SQL.format(
        events=source.sql(f"hash(name) AS name, {f'hash({group})' if group else 'NULL'} AS g"), labels=labels,
        begins=source.rule.begins("w"), ends=source.rule.ends("w"), inside=inside(period, "t"),
        bucket=buckets.index("t") if buckets else "0", number="b" if buckets else "0", hashes=", ".join(hashes),
        part=" ".join(f"WHEN GROUPING({column}) = 0 THEN '{column}'" for column in columns),
        sets=", ".join(["()", *(f"({column})" for column in columns)]), top=int(asked.top),
        limit=int(asked.breakdown.limit) if asked.breakdown else 0, other=OTHER,
    )  # fmt: skip
    return ask.run(sql, source.parameters).rows


def _shown(row: list[Any]) -> dict[str, Any]:
    sessions, bounces, events, us, middle = row
    return {
        "sessions": sessions,
        "bounces": bounces,
        "bounce_rate": bounces / sessions if sessions else None,
        "events": events or 0,
        "events_mean": events / sessions if sessions else None,
        "seconds_mean": us / sessions / SECOND if sessions else None,
        "seconds_median": sum(middle) / 2 / SECOND if sessions else None,
    }


def _series(rows: list[list[Any]], buckets: Buckets) -> dict[str, list[Any]]:
    by_bucket = {row[1]: _shown(row[3:]) for row in rows if row[0] == "b"}
    empty = _shown(NONE)
    cells = [by_bucket.get(number, empty) for number in range(buckets.count)]
    return {name: [cell[name] for cell in cells] for name in empty}


def _names(rows: list[list[Any]], part: str) -> list[dict[str, Any]]:
    found = sorted((row[1], row[2], row[3]) for row in rows if row[0] == part)
    return [{"name": name, "sessions": sessions} for _, name, sessions in found]


KIND: Final = Kind(
    name="sessions",
    question=SessionFiguresQuestion,
    answer=answer,
    summary="Sessions: number, length, bounces, first and last events",
    description="A session is a person's events without more than 30 minutes of silence (`gap_minutes`), or those of one"
    " `session_id`. It counts where it begins. Events of nobody (or without a `session_id`) are in no session.",
    examples={
        "Sessions of a month, day by day": {"period": {"last": "30d"}, "interval": "day"},
        "Of page views alone, by what brought people here": {
            "name": "page_view",
            "breakdown": {"property": "referrer", "limit": 5},
            "interval": None,
        },
        "As the sender divides them": {
            "by": "session_id",
            "period": {"last": "24h"},
            "interval": "hour",
            "top": 5,
        },
    },
    example_answer={
        **BY_DAY,
        "series": {
            "sessions": [100, 100],
            "bounces": [30, 25],
            "bounce_rate": [0.3, 0.25],
            "events": [700, 820],
            "events_mean": [7.0, 8.2],
            "seconds_mean": [241.5, 260.0],
            "seconds_median": [95.0, 102.25],
        },
        "total": {
            "sessions": 200,
            "bounces": 55,
            "bounce_rate": 0.275,
            "events": 1520,
            "events_mean": 7.6,
            "seconds_mean": 250.75,
            "seconds_median": 98.5,
        },
        "first": [{"name": "page_view", "sessions": 181}, {"name": "signup", "sessions": 19}],
        "last": [{"name": "page_view", "sessions": 150}, {"name": "order_paid", "sessions": 50}],
    },
)
