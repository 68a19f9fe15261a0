"""The kind `funnel`: how many persons get how far through a number of steps, how long it takes them, and who they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from events import times
from events.insights import attempts, breakdowns, filters, periods, person_pages
from events.insights.any_order import any_order
from events.insights.attempts import Reading
from events.insights.funnel_examples import EXAMPLE_ANSWER, EXAMPLES
from events.insights.funnel_question import (
    FunnelPersons,
    FunnelQuestion,
    FunnelStep,
    check_persons,
    window_of,
)
from events.insights.kind import Ask, Kind
from events.insights.named import condition, names_of_all
from events.insights.periods import Period
from events.insights.question import Breakdown, Filter, names_of
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
        "period": period.shown,
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
    breakdowns.check(asked.breakdown)
    check_persons(asked)
    until = period.until + window  # of an attempt that begins last
    snapshot = ask.snapshot(since=period.since, until=until)
    everything = asked.order == "strict"  # lies between
    scan = Scan(
        snapshot, period.since_us, periods.to_us(until), None if everything else names_of_all(asked.steps)
    )
    reading = Reading(
        scan=scan,
        steps=_conditions(asked.steps, scan, period),
        where=_where(asked, scan, period),
        until_us=period.until_us,
        window_us=window // timedelta(microseconds=1),
        begins=partial(_begins, asked, asked.breakdown, scan, period) if asked.breakdown else None,
    )
    if asked.order == "any":
        best = any_order(ask, reading)
    else:
        best = (attempts.strict if asked.order == "strict" else attempts.ordered)(reading)
    return _Plan(period, window, [_label(step) for step in asked.steps], scan, best)


def _where(asked: FunnelQuestion, scan: Scan, period: Period) -> str:
    return filters.compile_filter(asked.where, scan.dialect, period.zone) if asked.where else "true"


def _conditions(steps: Sequence[FunnelStep], scan: Scan, period: Period) -> list[str]:
    """SQL of each; equal steps have equal SQL."""
    found: dict[tuple[Any, Filter | None], str] = {}
    for place, step in enumerate(steps):
        key = (names_of(step.name), step.where)
        found[key] = found.get(key) or condition(step, scan, period.zone, f"steps[{place}]")
    return [found[names_of(step.name), step.where] for step in steps]


def _begins(asked: FunnelQuestion, breakdown: Breakdown, scan: Scan, period: Period) -> str:
    """A scan of its own, of fewer names: only here the property is read."""
    steps = asked.steps if asked.order == "any" else asked.steps[:1]
    own = Scan(scan.snapshot, period.since_us, period.until_us, names_of_all(steps), scan.parameters)
    group = breakdowns.group(breakdown, own)
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
    return person_pages.answer(
        ask, plan.scan, asked, ctes=", ".join(plan.best), persons=reached, columns=names,
        shown=lambda times_us: {
            "reached_at": [times.text(periods.from_us(us)) for us in times_us if us is not None]
        },
    )  # fmt: skip


KIND: Final = Kind(
    name="funnel",
    question=FunnelQuestion,
    answer=answer,
    summary="Steps, and how far persons get",
    description="Two to eight steps within a window of time, each person by the best attempt; in order, one directly after the"
    " other, or in any order; by groups; with the time between steps, and the persons who reached a step or dropped out before.",
    examples=EXAMPLES,
    example_answer=EXAMPLE_ANSWER,
)
