"""The kind `performance`: how slow, how often wrong, for whom, and what became worse. Of any number that is better when small."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from events.insights import breakdowns, filters, heatmap, periods
from events.insights.buckets import Buckets, buckets_of
from events.insights.filters import compile_filter
from events.insights.heatmap import BOUNDS
from events.insights.kind import Ask, Kind
from events.insights.performance_examples import EXAMPLE_ANSWER, EXAMPLES
from events.insights.periods import Period
from events.insights.question import (
    Breakdown,
    Filter,
    Interval,
    Names,
    Property,
    Question,
    names_of,
    path_of,
)
from events.insights.scan import Scan
from events.lake.snapshot import Snapshot

PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
TOLERATED: Final = 4  # times the threshold, as Apdex has it
_SHARES: Final = f"[{', '.join(map(str, PERCENTILES.values()))}]"


class SlowGroups(Breakdown, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """Groups by a `property` or a `field`: the `limit` slowest of those that have at least `min_count` numbers."""

    min_count: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 20


class Apdex(Struct, forbid_unknown_fields=True, frozen=True):
    """`threshold`: up to it a person is satisfied, up to four times as much they bear with it."""

    threshold: Annotated[float, Meta(ge=BOUNDS[0], le=BOUNDS[-1])]


class PerformanceQuestion(
    Question, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True
):
    """Of the numbers of `property`, of events with one of the names."""

    property: Property
    name: Names = None
    interval: (
        Annotated[Interval | None, Meta(description="null: totals only. Unless given, it suits the period.")]
        | UnsetType
    ) = UNSET
    breakdown: SlowGroups | None = None
    apdex: Apdex | None = None
    errors: Annotated[Filter | None, Meta(description="Which of the events are errors.")] = None
    heatmap: bool = False
    compare: Annotated[
        Literal["previous"] | None, Meta(description="With a `breakdown` also what became worse.")
    ] = None


@dataclass(frozen=True, slots=True)
class _Source:
    """The events asked for, of one period of a snapshot that may reach further."""

    asked: PerformanceQuestion
    snapshot: Snapshot
    period: Period
    buckets: Buckets | None = None

    def sql(self) -> tuple[str, dict[str, Any]]:
        """Returns a table for FROM: `v` the number, `e` whether it is an error, `g` the group, `b` the bucket, `t` the µs."""
        asked, zone = self.asked, self.period.zone
        scan = Scan(self.snapshot, self.period.since_us, self.period.until_us, names_of(asked.name))
        bucket = self.buckets.index("epoch_us(occurred_at)") if self.buckets else "0"
        error = compile_filter(asked.errors, scan.dialect, zone, "errors") if asked.errors else "false"
        group = breakdowns.group(asked.breakdown, scan) if asked.breakdown else "NULL"
        columns = f"{scan.number(path_of(asked.property))} AS v, {error} AS e, {group} AS g"
        where = f" WHERE {compile_filter(asked.where, scan.dialect, zone)}" if asked.where else ""
        sql = f"(SELECT {columns}, {bucket} AS b, epoch_us(occurred_at) AS t FROM {scan.sql()}{where})"
        return sql, scan.parameters


def answer(ask: Ask) -> dict[str, Any]:
    asked: PerformanceQuestion = ask.question
    zone = periods.zone_of(asked.time_zone or ask.time_zone)
    period = periods.resolve(
        asked.period, zone, "auto" if asked.interval is UNSET else asked.interval, ask.now
    )
    before = periods.previous(period) if asked.compare else None
    filters.check(asked.where, zone)
    filters.check(asked.errors, zone, "errors")
    breakdowns.check(asked.breakdown)
    # One for both periods: what is merged between two would be there twice, or not at all.
    snapshot = ask.snapshot(since=(before or period).since, until=period.until)
    source = _Source(asked, snapshot, period, buckets_of(period) if period.interval else None)
    found: dict[str, Any] = {"period": period.shown_with_interval}
    found |= _figures(ask, source)
    if asked.heatmap:
        found["heatmap"] = _heatmap(ask, source)
    if asked.breakdown:
        found["slowest"] = _slowest(ask, source, asked.breakdown)
    if before:
        earlier = replace(source, period=before, buckets=buckets_of(before) if before.interval else None)
        found["previous"] = before.ends | _figures(ask, earlier)
        if asked.breakdown:
            both = replace(source, period=replace(period, since=before.since), buckets=None)
            found["regressions"] = _regressions(ask, both, period.since_us, asked.breakdown)
    return found


# --- figures over time ---


def _figures(ask: Ask, source: _Source) -> dict[str, Any]:
    """Plan: two passes, for the second holds the numbers of all buckets in memory, and the first those of one each."""
    (total,) = _aggregated(ask, replace(source, buckets=None), by="").values()
    if source.buckets is None:
        return {"times": None, "series": None, "total": total}
    by_bucket = _aggregated(ask, source, by=" GROUP BY b")
    empty = _shown(source.asked, [0, 0, None, 0, 0, 0])
    cells = [by_bucket.get(number, empty) for number in range(source.buckets.count)]
    series = {name: [cell[name] for cell in cells] for name in empty}
    return {"times": source.buckets.starts, "series": series, "total": total}


def _aggregated(ask: Ask, source: _Source, *, by: str) -> dict[int, dict[str, Any]]:
    """Returns the figures of each bucket; of all events as those of bucket 0 where they are not grouped."""
    table, parameters = source.sql()
    satisfied = tolerated = "0"
    if source.asked.apdex:
        parameters |= {
            "satisfied": source.asked.apdex.threshold,
            "tolerated": TOLERATED * source.asked.apdex.threshold,
        }
        satisfied = "count(*) FILTER (v <= $satisfied::DOUBLE)"
        tolerated = "count(*) FILTER (v > $satisfied::DOUBLE AND v <= $tolerated::DOUBLE)"
    rows = ask.run(
        f"SELECT {'b' if by else '0'}, count(*), count(v), quantile_cont(v, {_SHARES}), count(*) FILTER (e),"
        f" {satisfied}, {tolerated} FROM {table}{by}",
        parameters,
    ).rows
    return {row[0]: _shown(source.asked, row[1:]) for row in rows}


def _shown(asked: PerformanceQuestion, row: list[Any]) -> dict[str, Any]:
    count, measured, percentiles, errors, satisfied, tolerated = row
    found = {"count": count, "measured": measured}
    found |= dict(zip(PERCENTILES, percentiles or [None] * len(PERCENTILES), strict=True))
    if asked.errors:
        found |= {"errors": errors, "error_rate": errors / count if count else None}
    if asked.apdex:
        found |= {
            "apdex": (satisfied + tolerated / 2) / measured if measured else None,
            "satisfied": satisfied,
            "tolerated": tolerated,
            "frustrated": measured - satisfied - tolerated,
        }
    return found


def _heatmap(ask: Ask, source: _Source) -> dict[str, Any]:
    table, parameters = source.sql()
    sql = f"SELECT b, {heatmap.row_of('v')}, count(*) FROM {table} WHERE v IS NOT NULL GROUP BY 1, 2"
    cells = ask.run(sql, parameters).rows
    return heatmap.shown(cells, source.buckets.count if source.buckets else 1)


# --- groups ---


def _slowest(ask: Ask, source: _Source, asked: SlowGroups) -> list[dict[str, Any]]:
    table, parameters = replace(source, buckets=None).sql()
    rows = ask.run(
        f"SELECT g, n, q[1], q[2] FROM (SELECT g, count(v) AS n, quantile_cont(v, [0.5, 0.95]) AS q FROM {table} GROUP BY g)"
        f" WHERE n >= {int(asked.min_count)} ORDER BY q[2] DESC, g ASC NULLS LAST LIMIT {int(asked.limit)}",
        parameters,
    ).rows
    return [dict(zip(("group", "measured", "p50", "p95"), row, strict=True)) for row in rows]


def _regressions(ask: Ask, both: _Source, since_us: int, asked: SlowGroups) -> list[dict[str, Any]]:
    """Groups with enough numbers in both periods whose p95 rose, by how much it rose."""
    table, parameters = both.sql()
    now, before = f"FILTER (t >= {since_us})", f"FILTER (t < {since_us})"
    rows = ask.run(
        f"SELECT g, n1, p1, n0, p0, p1 - p0 FROM (SELECT g, count(v) {now} AS n1, count(v) {before} AS n0,"
        f" quantile_cont(v, 0.95) {now} AS p1, quantile_cont(v, 0.95) {before} AS p0 FROM {table} GROUP BY g)"
        f" WHERE n1 >= {int(asked.min_count)} AND n0 >= {int(asked.min_count)} AND p1 > p0"
        f" ORDER BY 6 DESC, g ASC NULLS LAST LIMIT {int(asked.limit)}",
        parameters,
    ).rows
    return [
        {
            "group": group,
            "measured": measured,
            "p95": p95,
            "previous": {"measured": measured_before, "p95": p95_before},
            "rise": rise,
            "factor": p95 / p95_before if p95_before > 0 else None,
        }
        for group, measured, p95, measured_before, p95_before, rise in rows
    ]


KIND: Final = Kind(
    name="performance",
    question=PerformanceQuestion,
    answer=answer,
    summary="How slow, how often wrong, and what became worse",
    description="Percentiles of a numeric property over time, its distribution as a heat map, the slowest groups, the share of"
    " events that are errors, an Apdex score, and against the period before the groups whose p95 rose most.",
    examples=EXAMPLES,
    example_answer=EXAMPLE_ANSWER,
)
