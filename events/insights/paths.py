"""The kind `paths`: what comes after an event, or came before it, step by step within its session; and how many end there."""

from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from events.insights import filters, periods
from events.insights.errors import BadQuestion
from events.insights.kind import Ask, Kind
from events.insights.named import NamedEvent, condition
from events.insights.period_examples import PERIOD
from events.insights.question import names_of
from events.insights.session_rule import MARGIN, Events, SessionsQuestion, events_of, inside

MAX_DEPTH: Final = 5
OTHER: Final = 0  # places of steps: from 1 those with a name, and these two
ENDED: Final = -1


class PathsQuestion(
    SessionsQuestion, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True
):
    """Around each occurrence of `event` in the period, among the events that `where` and `name` leave."""

    event: NamedEvent
    direction: Literal["next", "previous"] = "next"
    depth: Annotated[int, Meta(ge=1, le=MAX_DEPTH)] = MAX_DEPTH
    limit: Annotated[int, Meta(ge=1, le=20, description="Names for each step; the rest is `other`.")] = 8
    collapse: Annotated[
        bool, Meta(description="Takes events of one name in a row for the first of them.")
    ] = False


# Plan: only those who had the event at all are sorted, once by time and once for the steps. What is left after `path` is
# small: one row for each sequence of names, then one for each sequence of places.
_STEPS: Final = """
WITH event AS ({events}), marked AS (
    SELECT p, t, id, name, a, {begins} AS begins, {repeats} AS repeats
    FROM event WINDOW w AS (PARTITION BY p ORDER BY t, id)
), around AS (
    SELECT t, a, {around} FROM marked WHERE NOT repeats WINDOW w AS (PARTITION BY p ORDER BY t, id)
), path AS MATERIALIZED (
    SELECT {steps}, count(*) AS n FROM around WHERE a AND {inside} GROUP BY ALL
), top AS MATERIALIZED (
    SELECT step, h, label, row_number() OVER (PARTITION BY step ORDER BY sum(n) DESC, label) AS place
    FROM ({names}) JOIN ({labels}) USING (h) GROUP BY step, h, label QUALIFY place <= {limit}
), placed AS MATERIALIZED (
    SELECT {places}, sum(n) AS n FROM path {joins} GROUP BY ALL
)
SELECT 'name' AS part, step, place, NULL AS following, NULL AS n, label FROM top UNION ALL {links}
"""


def answer(ask: Ask) -> dict[str, Any]:
    """Each column counts all that the one before it counted, but those that ended there."""
    asked: PathsQuestion = ask.question
    zone = periods.zone_of(asked.time_zone or ask.time_zone)
    period = periods.resolve(asked.period, zone, None, ask.now)
    _check(asked)
    filters.check(asked.where, zone)
    filters.check(asked.event.where, zone, "event.where")
    if asked.direction == "next":
        source = events_of(ask, asked, period)
    else:
        source = events_of(ask, asked, period, before=MARGIN, after=timedelta())
    sql = _sql(asked, source, condition(asked.event, source.scan, zone, "event"), inside(period, "t"))
    rows = ask.run(sql, source.parameters).rows
    names_at = {(step, place): name for part, step, place, _, _, name in rows if part == "name"}
    links = sorted(
        (step, place, following, n) for part, step, place, following, n, _ in rows if part == "link"
    )
    return {
        "period": period.shown,
        "direction": asked.direction,
        "count": sum(n for step, _, _, n in links if step == 1),
        "steps": [_step(number, links, names_at) for number in range(1, asked.depth + 1)],
    }  # fmt: skip


def _check(asked: PathsQuestion) -> None:
    names = names_of(asked.event.name)
    if names is None and asked.event.where is None:
        raise BadQuestion("event", "Give `name`, `where`, or both.")
    if names is not None and asked.name is not None and not set(names) <= set(names_of(asked.name) or ()):
        raise BadQuestion("event.name", "`name` leaves it out: give it there too.")


# --- the SQL ---


def _sql(asked: PathsQuestion, source: Events, around_what: str, inside_period: str) -> str:
    numbers = range(1, asked.depth + 1)
    whose = source.rule.whose
    columns = f"hash(name) AS name, {around_what} AS a"
    having = f" AND {whose} IN (SELECT {whose} {source.rows(f' AND {around_what}')})"
    around, steps = _next(numbers) if asked.direction == "next" else _previous(numbers)
    begins = source.rule.begins("w")
    return _STEPS.format(
        events=source.sql(columns, having), begins=begins, around=around, steps=steps, inside=inside_period,
        repeats=f"(NOT {begins} AND name = lag(name) OVER w)" if asked.collapse else "false",
        names=" UNION ALL ".join(
            f"SELECT {number} AS step, s{number} AS h, n FROM path WHERE s{number} IS NOT NULL" for number in numbers
        ),
        labels=source.labels("name"), limit=int(asked.limit),
        places=", ".join(
            f"if(s{number} IS NULL, {ENDED}, coalesce(t{number}.place, {OTHER})) AS s{number}" for number in numbers
        ),
        joins=" ".join(
            f"LEFT JOIN top AS t{number} ON t{number}.step = {number} AND t{number}.h = s{number}"
            for number in numbers
        ),
        links=" UNION ALL ".join(map(_link, numbers)),
    )  # fmt: skip


def _next(numbers: range) -> tuple[str, str]:
    """A step is there where its event, and each one up to it, does not begin a session."""
    around = ", ".join(f"lead(if(begins, NULL, name), {number}) OVER w AS x{number}" for number in numbers)
    steps = [
        "x1 AS s1",
        *(f"if(s{number - 1} IS NULL, NULL, x{number}) AS s{number}" for number in numbers[1:]),
    ]
    return around, ", ".join(steps)


def _previous(numbers: range) -> tuple[str, str]:
    """A step is there where no event between it and this one, this one too, begins a session."""
    around = ", ".join(
        f"if(lag(begins, {number - 1}) OVER w, NULL, lag(name, {number}) OVER w) AS x{number}"
        for number in numbers
    )
    return around, _next(numbers)[1]


def _link(number: int) -> str:
    before, reached = ("0", "") if number == 1 else (f"s{number - 1}", f" WHERE s{number - 1} <> {ENDED}")
    return f"SELECT 'link', {number}, {before}, s{number}, sum(n), NULL FROM placed{reached} GROUP BY ALL"


# --- the answer ---


def _step(
    number: int, links: list[tuple[int, int, int, int]], names_at: dict[tuple[int, int], str]
) -> dict[str, Any]:
    own = [(place, following, n) for step, place, following, n in links if step == number]
    counts: dict[int, int] = {}
    for _, following, n in own:
        counts[following] = counts.get(following, 0) + n
    return {
        "reached": sum(counts.values()),
        "events": [{"name": names_at[number, place], "count": counts[place]} for place in sorted(counts) if place > 0],
        "other": counts.get(OTHER, 0),
        "ended": counts.get(ENDED, 0),
        # Places in `events` of the step before and of this one, from 0: null is `other` (before the first step: the event).
        "links": [
            {
                "from": place - 1 if place > 0 else None,
                "to": following - 1 if following > 0 else None,
                "ended": following == ENDED,
                "count": n,
            }
            for place, following, n in own
        ],
    }  # fmt: skip


KIND: Final = Kind(
    name="paths",
    question=PathsQuestion,
    answer=answer,
    summary="What comes next, or came before",
    description="The events after each occurrence of `event` in its session (or before it), up to five steps: the most frequent"
    " names of each step, the others together, and how many ended there. `links` lead from the names of the step before to"
    " those of a step, by their places in `events`; null is `other`.",
    examples={
        "After a sign-up": {"event": {"name": "signup"}, "depth": 3, "period": {"last": "30d"}},
        "Before a large order, page views in a row as one": {
            "event": {"name": "order_paid", "where": {"property": "amount", "op": ">", "value": 100}},
            "direction": "previous",
            "collapse": True,
        },
        "As the sender divides sessions": {"event": {"name": "page_view"}, "by": "session_id", "limit": 3},
    },
    example_answer={
        "period": PERIOD,
        "direction": "next",
        "count": 100,
        "steps": [
            {
                "reached": 100,
                "events": [{"name": "page_view", "count": 70}, {"name": "order_paid", "count": 10}],
                "other": 5,
                "ended": 15,
                "links": [
                    {"from": None, "to": None, "ended": True, "count": 15},
                    {"from": None, "to": None, "ended": False, "count": 5},
                    {"from": None, "to": 0, "ended": False, "count": 70},
                    {"from": None, "to": 1, "ended": False, "count": 10},
                ],
            }
        ],
    },
)
