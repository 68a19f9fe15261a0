"""The kind `trends`: figures over time, of several series, by groups, against the period before."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from events.insights import breakdowns, filters, measures, period_examples, periods, trend_lines
from events.insights.buckets import Buckets, buckets_of
from events.insights.errors import BadQuestion
from events.insights.kind import Ask, Kind
from events.insights.measures import SUMMED, Cells, Figure, Group, Groups, Source
from events.insights.periods import Period
from events.insights.question import (
    MAX_SERIES,
    Breakdown,
    Interval,
    Measure,
    Names,
    Question,
    Series,
    names_of,
    path_of,
)
from events.insights.trend_lines import Frame, Line

MAX_CELLS: Final = 100_000


class TrendsQuestion(Question, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """Give `series`, or the one series' `name` and `measure` at the top."""

    interval: (
        Annotated[Interval | None, Meta(description="null: totals only. Unless given, it suits the period.")]
        | UnsetType
    ) = UNSET
    series: Annotated[list[Series], Meta(min_length=1, max_length=MAX_SERIES)] | None = None
    name: Names | UnsetType = UNSET
    measure: Measure | UnsetType = UNSET
    breakdown: Breakdown | None = None
    compare: Literal["previous"] | None = None
    ratio: (
        Annotated[list[int], Meta(min_length=2, max_length=2, description="Two series, by place from 0.")]
        | None
    ) = None
    totals: Annotated[
        bool, Meta(description="Also the totals that are no sum of their buckets: a second pass.")
    ] = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """The series, and what they read: each by the number of its source, for equal ones are read in one pass."""

    lines: list[Line]
    sources: list[Source]
    source_of: list[int]
    limit: int
    with_totals: bool


def answer(ask: Ask) -> dict[str, Any]:
    asked: TrendsQuestion = ask.question
    zone = periods.zone_of(asked.time_zone or ask.time_zone)
    interval = "auto" if asked.interval is UNSET else asked.interval
    period = periods.resolve(asked.period, zone, interval, ask.now)
    before = periods.previous(period) if asked.compare else None
    buckets = buckets_of(period) if period.interval else None
    plan = _plan(ask, asked, period, buckets)
    groups, frame = _frame(ask, plan, period, buckets)
    earlier = None
    if before is not None:
        snapshot = ask.snapshot(since=before.since, until=before.until)
        moved = replace(
            plan, sources=[replace(source, snapshot=snapshot, period=before) for source in plan.sources]
        )
        _, earlier = _frame(ask, moved, before, buckets_of(before) if buckets else None, groups)
    return trend_lines.shown(plan.lines, groups, frame, earlier, asked.ratio)


# --- the question ---


def _plan(ask: Ask, asked: TrendsQuestion, period: Period, buckets: Buckets | None) -> _Plan:
    group = _group(asked.breakdown)
    filters.check(asked.where, period.zone)
    if asked.series is not None and (asked.name is not UNSET or asked.measure is not UNSET):
        raise BadQuestion("series", "Give either `series`, or `name` and `measure`.")
    series = asked.series or [
        Series(
            name=None if asked.name is UNSET else asked.name,
            measure=Measure() if asked.measure is UNSET else asked.measure,
        )
    ]
    figures = []
    for place, one in enumerate(series):
        prefix = f"series[{place}]." if asked.series is not None else ""
        filters.check(one.where, period.zone, f"{prefix}where")
        figures.append(_figure(one.measure, f"{prefix}measure"))
    _check_ratio(asked, len(series))
    limit = asked.breakdown.limit if asked.breakdown else 0
    if buckets and buckets.count * (limit + 1) * len(series) > MAX_CELLS:
        raise BadQuestion(
            "interval", f"More than {MAX_CELLS:,} values: choose a longer one, or fewer groups or series."
        )
    snapshot = ask.snapshot(since=period.since, until=period.until)
    plan = _Plan([], [], [], limit, asked.totals)
    keys: list[tuple[Any, Any]] = []
    for place, (one, figure) in enumerate(zip(series, figures, strict=True)):
        names = names_of(one.name)
        if (names, one.where) not in keys:
            keys.append((names, one.where))
            conditions = [(asked.where, "where")] if asked.where else []
            conditions += [(one.where, f"series[{place}].where")] if one.where else []
            plan.sources.append(Source(snapshot, period, names, tuple(conditions), group))
        plan.source_of.append(keys.index((names, one.where)))
        plan.lines.append(Line(one.label or (", ".join(names) if names else "any event"), names, figure))
    return plan


def _group(breakdown: Breakdown | None) -> Group | None:
    if breakdown is None:
        return None
    breakdowns.check(breakdown)
    return Group(None if breakdown.property is None else path_of(breakdown.property), breakdown.field)


def _figure(measure: Measure, place: str) -> Figure:
    if measure.kind in ("count", "persons"):
        if measure.property is not None:
            raise BadQuestion(f"{place}.property", f"`{measure.kind}` takes no property.")
        return Figure(measure.kind, None)
    if measure.property is None:
        raise BadQuestion(f"{place}.property", f"`{measure.kind}` needs a property.")
    return Figure(measure.kind, path_of(measure.property))


def _check_ratio(asked: TrendsQuestion, series: int) -> None:
    for place, number in enumerate(asked.ratio or []):
        if not 0 <= number < series:
            raise BadQuestion(f"ratio[{place}]", f"There is no series {number}: they are numbered from 0.")


# --- the figures ---


def _frame(
    ask: Ask, plan: _Plan, period: Period, buckets: Buckets | None, groups: Groups | None = None
) -> tuple[Groups | None, Frame]:
    """Groups, where there are any, are those of the first series, unless they are given: the period before has the same."""
    known: Cells | None = None
    if plan.limit and groups is None:
        first = plan.sources[plan.source_of[0]]
        groups, known = measures.ranked(ask, first, plan.lines[0].figure, plan.limit)
    if buckets is None:
        return groups, Frame(period, None, [], _cells(ask, plan, groups, None, known))
    values = _cells(ask, plan, groups, buckets, None)
    if groups is not None:
        return groups, Frame(period, buckets, values, _cells(ask, plan, groups, None, known))
    totals = [_summed(line.figure, cells) for line, cells in zip(plan.lines, values, strict=True)]
    if plan.with_totals:
        # Plan: only what is no sum of its buckets is read again, and persons only where their pass by buckets did not tell.
        rest = [place for place, line in enumerate(plan.lines) if line.figure.kind not in SUMMED]
        read = [place for place in rest if measures.WHOLE not in values[place]]
        some = replace(
            plan,
            lines=[plan.lines[place] for place in read],
            source_of=[plan.source_of[place] for place in read],
        )
        again = dict(zip(read, _cells(ask, some, None, None, None), strict=True))
        for place in rest:
            totals[place] = again[place] if place in again else {(0, 0): values[place][measures.WHOLE]}
    return groups, Frame(period, buckets, values, totals)


def _cells(
    ask: Ask, plan: _Plan, groups: Groups | None, buckets: Buckets | None, known: Cells | None
) -> list[Cells]:
    """The cells of each series, by one pass for each source. `known`: those of the first, where they are there already."""
    found: dict[tuple[int, Figure], Cells] = {}
    if known is not None:
        found[plan.source_of[0], plan.lines[0].figure] = known
    for number, source in enumerate(plan.sources):
        figures = {
            line.figure: None
            for line, own in zip(plan.lines, plan.source_of, strict=True)
            if own == number and (own, line.figure) not in found
        }
        if figures:
            computed = measures.figures(ask, source, list(figures), groups=groups, buckets=buckets)
            found |= {(number, figure): cells for figure, cells in computed.items()}
    return [found[own, line.figure] for line, own in zip(plan.lines, plan.source_of, strict=True)]


def _summed(figure: Figure, cells: Cells) -> Cells:
    """The total that follows from the buckets; null where it does not."""
    values = [value for value in cells.values() if value is not None]
    if figure.kind not in SUMMED:
        return {(0, 0): None}
    return {(0, 0): SUMMED[figure.kind](values)} if values else {}


_NAMED = {"name": "order_paid", "period": {"last": "30d"}, "interval": "day"}
KIND: Final = Kind(
    name="trends",
    question=TrendsQuestion,
    answer=answer,
    summary="Figures over time",
    description="Counts, unique persons, or a figure of a numeric property; per minute to month, by groups, of several"
    " series, with their ratio and the period before.",
    examples={
        "A count, day by day": _NAMED,
        "Unique persons by plan, against the week before": {
            "name": "order_paid",
            "measure": {"kind": "persons"},
            "breakdown": {"property": "plan", "limit": 5},
            "period": {"last": "7d"},
            "interval": None,
            "compare": "previous",
        },
        "Conversion: a ratio of two series": {
            "series": [
                {"label": "paid", "name": "order_paid", "measure": {"kind": "persons"}},
                {"label": "seen", "name": "page_view", "measure": {"kind": "persons"}},
            ],
            "ratio": [0, 1],
            "period": {"from": "2026-01-01", "until": "2026-02-01"},
            "interval": "day",
            "time_zone": "Europe/Berlin",
        },
        "The 95th percentile of large orders": {
            "name": "order_paid",
            "measure": {"kind": "p95", "property": "duration_ms"},
            "where": {
                "and": [
                    {"property": "amount", "op": ">", "value": 100},
                    {"not": {"property": ["address", "country"], "op": "in", "value": ["DE", "AT"]}},
                ]
            },
            "interval": "hour",
        },
    },
    example_answer={
        **period_examples.BY_DAY,
        "series": [
            {
                "label": "order_paid",
                "name": ["order_paid"],
                "measure": "count",
                "total": 31,
                "values": [14, 17],
            }
        ],
    },
)
