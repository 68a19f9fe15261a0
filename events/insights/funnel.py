"""The kind `funnel`: how many persons get how far through a number of steps, how long it takes them, and who they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from events import times
from events.insights import attempts, filters, periods, person_pages
from events.insights.attempts import Reading
from events.insights.errors import BadQuestion
from events.insights.funnel_question import (
    FunnelPersons,
    FunnelQuestion,
    FunnelStep,
    check_persons,
    window_of,
)
from events.insights.kind import Ask, Kind
from events.insights.periods import Period
from events.insights.question import Breakdown, Filter, names_of, path_of
from events.insights.scan import Scan


@dataclass(frozen=True, slots=True)
class _Plan:
    """`best`: the CTEs of everybody's best attempt, to be read with the scan's parameters."""

    period: Period
    window: timedelta
    labels: list[str]
    scan: Scan
    best: list[str]


def answer(ask: Ask) -> dict[str, Any]:
    """Returns `steps` (of all) and `groups` (with a breakdown), or a page of `persons` and its `next`."""
    asked: FunnelQuestion = ask.question
    plan = _plan(ask, asked)
    period = plan.period
    head = {
        "period": {
            "from": period.local(period.since),
            "until": period.local(period.until),
            "time_zone": period.zone.key,
        },
        "window_seconds": int(plan.window.total_seconds()),
        "order": asked.order,
    }
    if asked.persons is not None:
        return head | _persons(ask, plan, asked.persons)
    rows = ask.run(_figures(plan, asked.breakdown), plan.scan.parameters).rows
    found = head | {"steps": _steps(asked, plan, rows[0][2:])}
    if asked.breakdown is None:
        return found
    groups = [
        {"group": label, "is_other": place > asked.breakdown.limit, "steps": _steps(asked, plan, row)}
        for place, label, *row in rows[1:]
    ]
    return found | {"groups": groups}


# --- the question ---


def _plan(ask: Ask, asked: FunnelQuestion) -> _Plan:
    period = periods.resolve(asked.period, periods.zone_of(asked.time_zone or ask.time_zone), None, ask.now)
    window = window_of(asked.window)
    filters.check(asked.where, period.zone)
    for place, step in enumerate(asked.steps):
        filters.check(step.where, period.zone, f"steps[{place}].where")
    if asked.breakdown and (asked.breakdown.property is None) == (asked.breakdown.field is None):
        raise BadQuestion("breakdown", "Give either `property` or `field`.")
    check_persons(asked)
    until = period.until + window  # of an attempt that begins last
    snapshot = ask.snapshot(since=period.since, until=until)
    everything = asked.order == "strict"  # lies between
    scan = Scan(snapshot, period.since_us, periods.to_us(until), None if everything else _names(asked.steps))
    reading = Reading(
        scan=scan,
        steps=_conditions(asked.steps, scan, period),
        where=_where(asked, scan, period),
        until_us=period.until_us,
        window_us=window // timedelta(microseconds=1),
        begins=partial(_begins, asked, asked.breakdown, scan, period) if asked.breakdown else None,
    )
    if asked.order == "any":
        best = attempts.any_order(ask, reading)
    else:
        best = (attempts.strict if asked.order == "strict" else attempts.ordered)(reading)
    return _Plan(period, window, [_label(step) for step in asked.steps], scan, best)


def _names(steps: Sequence[FunnelStep]) -> tuple[str, ...] | None:
    found: list[str] = []
    for step in steps:
        names = names_of(step.name)
        if names is None:
            return None
        found += names
    return tuple(dict.fromkeys(found))


def _where(asked: FunnelQuestion, scan: Scan, period: Period) -> str:
    return filters.compile_filter(asked.where, scan.dialect, period.zone) if asked.where else "true"


def _conditions(steps: Sequence[FunnelStep], scan: Scan, period: Period) -> list[str]:
    """SQL of each; equal steps have equal SQL. Parentheses, for they are put together."""
    found: dict[tuple[Any, Filter | None], str] = {}
    for place, step in enumerate(steps):
        key = (names_of(step.name), step.where)
        if key in found:
            continue
        parts = [f"name IN ({', '.join(map(scan.value, key[0]))})"] if key[0] is not None else []
        if step.where is not None:
            parts.append(
                filters.compile_filter(step.where, scan.dialect, period.zone, f"steps[{place}].where")
            )
        found[key] = f"({' AND '.join(parts) or 'true'})"
    return [found[names_of(step.name), step.where] for step in steps]


def _begins(asked: FunnelQuestion, breakdown: Breakdown, scan: Scan, period: Period) -> str:
    """A scan of its own, of fewer names: only here the property is read."""
    steps = asked.steps if asked.order == "any" else asked.steps[:1]
    own = Scan(scan.snapshot, period.since_us, period.until_us, _names(steps), scan.parameters)
    if breakdown.property is not None:
        group = own.text(path_of(breakdown.property))
    else:
        group = own.dialect.column(breakdown.field or "name")
    conditions = [_where(asked, own, period), f"({' OR '.join(_conditions(steps, own, period))})"]
    return (
        f"SELECT person_h AS p, epoch_us(occurred_at) AS t, id, {group} AS b FROM {own.sql()}"
        f" WHERE person_h IS NOT NULL AND {' AND '.join(conditions)}"
    )


def _label(step: FunnelStep) -> str:
    names = names_of(step.name)
    return step.label or (", ".join(names) if names else "any event")


# --- the answer ---


def _figures(plan: _Plan, breakdown: Breakdown | None) -> str:
    """SQL of rows of: place of the group (0: all), its name, persons of each step, then seconds from the step before and from
    the start of each but the first.
    """
    number = len(plan.labels)
    figures = [f"count(t{step})" for step in range(1, number + 1)]
    for step in range(2, number + 1):
        figures += [f"median(t{step} - t{start}) / 1e6" for start in (step - 1, 1)]
    columns = ", ".join(figures)
    if breakdown is None:
        return f"WITH {', '.join(plan.best)} SELECT 0, NULL, {columns} FROM best"
    rest = breakdown.limit + 1
    # Every person is of one group: the rest of them is a group like the others.
    ranked = (
        "SELECT b, row_number() OVER (ORDER BY count(*) DESC, b ASC NULLS LAST) AS place FROM best GROUP BY b"
    )
    placed = (
        f"SELECT best.*, least(place, {rest}) AS g, CASE WHEN place < {rest} THEN best.b END AS label"
        " FROM best JOIN ranked ON best.b IS NOT DISTINCT FROM ranked.b"
    )
    return (
        f"WITH {', '.join(plan.best)}, ranked AS ({ranked}), placed AS ({placed})"
        f" SELECT CASE WHEN grouping(g) = 0 THEN g ELSE 0 END AS place, any_value(label), {columns} FROM placed"
        " GROUP BY GROUPING SETS ((g), ()) ORDER BY place"
    )


def _steps(asked: FunnelQuestion, plan: _Plan, row: Sequence[Any]) -> list[dict[str, Any]]:
    number = len(plan.labels)
    persons, seconds = row[:number], [None, None, *row[number:]]
    return [
        {
            "label": label,
            "name": names_of(asked.steps[place].name),
            "persons": persons[place],
            "dropped": persons[place - 1] - persons[place] if place else 0,
            "from_first": _share(persons[place], persons[0]),
            "from_previous": _share(persons[place], persons[max(place - 1, 0)]),
            "median_seconds_from_previous": seconds[2 * place],
            "median_seconds_from_first": seconds[2 * place + 1],
        }
        for place, label in enumerate(plan.labels)
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _persons(ask: Ask, plan: _Plan, asked: FunnelPersons) -> dict[str, Any]:
    names = [f"t{step}" for step in range(1, len(plan.labels) + 1)]
    reached = f"SELECT * FROM best WHERE t{asked.step} IS NOT NULL"
    if asked.state == "dropped":
        reached = f"SELECT * FROM best WHERE t{asked.step - 1} IS NOT NULL AND t{asked.step} IS NULL"
    page = person_pages.select(plan.scan, asked, reached, names)
    rows, following = person_pages.cut(
        ask.run(f"WITH {', '.join(plan.best)}, {page}", plan.scan.parameters).rows, asked
    )
    return {
        "persons": [
            {
                "person": person,
                "reached_at": [times.text(periods.from_us(us)) for us in reached_at if us is not None],
            }
            for _, person, *reached_at in rows
        ],
        "next": following,
    }


_STEPS: Final = [
    {"name": "page_view", "where": {"property": "path", "op": "=", "value": "/pricing"}, "label": "pricing"},
    {"name": "signup"},
    {"name": "order_paid"},
]
KIND: Final = Kind(
    name="funnel",
    question=FunnelQuestion,
    answer=answer,
    summary="Steps, and how far persons get",
    description="Two to eight steps within a window of time, each person by the best attempt; in order, one directly after the"
    " other, or in any order; by groups; with the time between steps, and the persons who reached a step or dropped out before.",
    examples={
        "Three steps within a week": {"steps": _STEPS, "window": {"last": "7d"}, "period": {"last": "30d"}},
        "By a property of the first step": {
            "steps": _STEPS,
            "window": 3_600,
            "breakdown": {"property": "plan", "limit": 5},
            "period": {"from": "2026-01-01", "until": "2026-02-01"},
            "time_zone": "Europe/Berlin",
        },
        "One directly after the other": {"steps": [{"name": "signup"}, {"name": None}], "order": "strict"},
        "Who paid after signing up, and who did not": {
            "steps": _STEPS[1:],
            "persons": {"step": 2, "state": "dropped", "limit": 50},
        },
    },
    example_answer={
        "period": {
            "from": "2026-01-01T00:00:00+01:00",
            "until": "2026-02-01T00:00:00+01:00",
            "time_zone": "Europe/Berlin",
        },
        "window_seconds": 604_800,
        "order": "ordered",
        "steps": [
            {
                "label": "signup",
                "name": ["signup"],
                "persons": 400,
                "dropped": 0,
                "from_first": 1.0,
                "from_previous": 1.0,
                "median_seconds_from_previous": None,
                "median_seconds_from_first": None,
            },
            {
                "label": "order_paid",
                "name": ["order_paid"],
                "persons": 100,
                "dropped": 300,
                "from_first": 0.25,
                "from_previous": 0.25,
                "median_seconds_from_previous": 5_412.25,
                "median_seconds_from_first": 5_412.25,
            },
        ],
    },
)
