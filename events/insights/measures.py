"""The figures of a trend, as SQL: one source (names and filters) at a time, all its measures, by bucket and by group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from events.insights.buckets import Buckets
from events.insights.filters import compile_filter
from events.insights.kind import Ask
from events.insights.periods import Period
from events.insights.question import Filter
from events.insights.scan import Scan
from events.lake.snapshot import Snapshot

OTHER: Final = -1
WHOLE: Final = (0, -1)  # the place of what holds for all buckets, where a pass by buckets tells it too
MAX_BITS: Final = 63  # of a BIGINT
_AGGREGATES: Final = {
    "count": "count(*)",
    "persons": "count(DISTINCT person_h)",
    "sum": "coalesce(sum({}), 0)",
    "avg": "avg({})",
    "min": "min({})",
    "max": "max({})",
}
# Between the two nearest values, in proportion: PostgreSQL's percentile_cont, and NumPy's default.
_PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
FEW: Final = 1_000
SUMMED: Final[dict[str, Callable[[list[Any]], Any]]] = {"count": sum, "sum": sum, "min": min, "max": max}
# Figures of parts, and of them the figure of the whole: `{0}` the property, `{1}`, `{2}` the parts.
_PARTS: Final = {
    "count": (["count(*)"], "sum({1})"),
    "sum": (["sum({0})"], "coalesce(sum({1}), 0)"),
    "avg": (["sum({0})", "count({0})"], "sum({1}) / nullif(sum({2}), 0)"),
    "min": (["min({0})"], "min({1})"),
    "max": (["max({0})"], "max({1})"),
}
EMPTY: Final = {"count": 0, "persons": 0, "sum": 0}  # of a bucket without events; the others are null there


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure of a series: its kind and, where it has one, the path of its property."""

    kind: str
    path: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Group:
    """What events are grouped by: a property, or a text of the event."""

    path: tuple[str, ...] | None
    field: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """Which events: of a snapshot, within a period, of names (None: any), meeting each condition (with its place in errors)."""

    snapshot: Snapshot
    period: Period
    names: tuple[str, ...] | None
    conditions: tuple[tuple[Filter, str], ...]
    group: Group | None = None


Cells = dict[tuple[int, int], Any]  # (group, bucket) -> value; group 0 and bucket 0 where there are none


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a question, the largest first; `are_few`: there are not many more than these; `has_rest`: any more."""

    names: list[str | None]
    are_few: bool
    has_rest: bool = False


def ranked(ask: Ask, source: Source, figure: Figure, limit: int) -> tuple[Groups, Cells | None]:
    """The `limit` largest groups by a measure over the period, ties by name, null last; with the figures of all and of the
    rest, or None where those of the rest need another pass.
    """
    rows = _persons_of_few_groups(ask, source) if figure.kind == "persons" else None
    if rows is None:
        select = _Select(source)
        aggregate = select.aggregate(figure)
        rows = ask.run(
            f"SELECT {select.group} AS g, {aggregate} AS m {select.events()} GROUP BY 1"
            f" ORDER BY m DESC NULLS LAST, g ASC NULLS LAST LIMIT {FEW + 1}",
            select.parameters,
        ).rows
    top, rest = rows[:limit], rows[limit:]
    groups = Groups([row[0] for row in top], are_few=len(rows) <= FEW, has_rest=bool(rest))
    cells: Cells = {(place, 0): row[1] for place, row in enumerate(top)}
    if rest:
        if not groups.are_few or figure.kind not in SUMMED:
            return groups, None
        values = [row[1] for row in rest if row[1] is not None]
        cells[OTHER, 0] = SUMMED[figure.kind](values) if values else EMPTY.get(figure.kind)
    return groups, cells


def figures(
    ask: Ask,
    source: Source,
    wanted: Sequence[Figure],
    *,
    groups: Groups | None,
    buckets: Buckets | None,
) -> dict[Figure, Cells]:
    """Every measure of one source. Events of none of the `groups` are group OTHER."""
    found: dict[Figure, Cells] = {}
    rest = list(wanted)
    persons = Figure("persons", None)
    if persons in rest and _masks(source, groups, buckets):
        rest.remove(persons)
        found[persons] = _persons_by_mask(ask, source, groups, buckets)
    if (
        groups is not None
        and groups.are_few
        and (parts := [figure for figure in rest if figure.kind in _PARTS])
    ):
        found |= _of_parts(ask, source, parts, groups, buckets)
        rest = [figure for figure in rest if figure not in parts]
    if not rest:
        return found
    select = _Select(source, groups)
    keys = ([select.looked_up] if groups is not None else []) + (
        [buckets.index("epoch_us(occurred_at)")] if buckets else []
    )
    # Plan: percentiles of one property are taken from one sorted list.
    percentiles: dict[tuple[str, ...] | None, list[Figure]] = {}
    for figure in [figure for figure in rest if figure.kind in _PERCENTILES]:
        percentiles.setdefault(figure.path, []).append(figure)
    plain = [figure for figure in rest if figure.kind not in _PERCENTILES]
    aggregates = [select.aggregate(figure) for figure in plain]
    aggregates += [select.percentiles(figures) for figures in percentiles.values()]
    by = f" GROUP BY {', '.join(str(place + 1) for place in range(len(keys)))}" if keys else ""
    rows = ask.run(f"SELECT {', '.join(keys + aggregates)} {select.events()}{by}", select.parameters).rows
    for row in rows:
        cell = (row[0] if groups is not None else 0, row[len(keys) - 1] if buckets else 0)
        for figure, value in zip(plain, row[len(keys) :], strict=False):
            found.setdefault(figure, {})[cell] = value
        for figures, values in zip(percentiles.values(), row[len(keys) + len(plain) :], strict=True):
            for place, figure in enumerate(figures):
                found.setdefault(figure, {})[cell] = values[place] if values else None
    return {figure: found.get(figure, {}) for figure in wanted}


def _of_parts(
    ask: Ask, source: Source, wanted: list[Figure], groups: Groups, buckets: Buckets | None
) -> dict[Figure, Cells]:
    """Plan: each group of its own first, then looked up and put together: a look-up of every event takes four times as long."""
    select = _Select(source)
    columns, wholes = [f"{select.group} AS g", f"{_bucket(buckets)} AS b"], []
    for figure in wanted:
        parts, whole = _PARTS[figure.kind]
        number, first = select.number(figure), len(columns)
        columns += [f"{part.format(number)} AS part{first + place}" for place, part in enumerate(parts)]
        wholes.append(whole.format(number, f"part{first}", f"part{first + 1}"))
    rows = ask.run(
        f"SELECT {select.looked_up}, b, {', '.join(wholes)} FROM (SELECT {', '.join(columns)} {select.events()}"
        f" GROUP BY 1, 2){select.lookup(groups, 'g')} GROUP BY 1, 2",
        select.parameters,
    ).rows
    return {figure: {(row[0], row[1]): row[2 + place] for row in rows} for place, figure in enumerate(wanted)}


def _bucket(buckets: Buckets | None) -> str:
    return buckets.index("epoch_us(occurred_at)") if buckets else "0"


class _Select:
    """FROM and WHERE of a source, its groups looked up where they are given."""

    def __init__(self, source: Source, groups: Groups | None = None) -> None:
        period = source.period
        self._scan = Scan(source.snapshot, period.since_us, period.until_us, source.names)
        self.parameters = self._scan.parameters
        self._conditions = [
            compile_filter(asked, self._scan.dialect, period.zone, place)
            for asked, place in source.conditions
        ]
        self._join = ""
        self.group = "NULL"
        if source.group is not None:
            self.group = self._group(source.group)
        if groups is not None:
            self._join = self.lookup(groups, self.group)

    looked_up: ClassVar[str] = f"coalesce(top_number, {OTHER})"

    def lookup(self, groups: Groups, group: str) -> str:
        """A join that gives each row the number of its group."""
        names = self._scan.value(groups.names)
        return (
            f" LEFT JOIN (SELECT unnest({names}::VARCHAR[]) AS top_group, unnest(range({len(groups.names)})) AS top_number)"
            f" ON {group} IS NOT DISTINCT FROM top_group"
        )

    def number(self, figure: Figure) -> str:
        return self._scan.number(figure.path) if figure.path is not None else ""

    def aggregate(self, figure: Figure) -> str:
        if figure.kind in _PERCENTILES:
            return f"{self.percentiles([figure])}[1]"
        return _AGGREGATES[figure.kind].format(self.number(figure))

    def percentiles(self, figures: Sequence[Figure]) -> str:
        """SQL of a list, of figures of one property."""
        shares = ", ".join(str(_PERCENTILES[figure.kind]) for figure in figures)
        return f"quantile_cont({self._scan.number(figures[0].path or ())}, [{shares}])"

    def events(self, *more: str) -> str:
        """Called last: the scan has the columns that were asked for by then."""
        conditions = [*self._conditions, *more]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"FROM {self._scan.sql()}{self._join}{where}"

    def _group(self, group: Group) -> str:
        if group.path is not None:
            return self._scan.text(group.path)
        return self._scan.dialect.column(group.field or "name")


def _masks(source: Source, groups: Groups | None, buckets: Buckets | None) -> bool:
    """Whether one bit for each group or bucket beats counting distinct persons in each: half the time over all names or
    more, but twice over the few events of one name.
    """
    if buckets is None:
        return groups is not None
    return buckets.count <= MAX_BITS and source.names is None


def _persons_by_mask(ask: Ask, source: Source, groups: Groups | None, buckets: Buckets | None) -> Cells:
    """Plan: persons once each (and group), with a bit for every bucket, or group, they were seen in; then bits are summed."""
    select = _Select(source, groups)
    if buckets is None:
        bits, bit, keys = len(groups.names if groups else ()) + 1, f"{select.looked_up} + 1", ""
    else:
        bits, bit = buckets.count, buckets.index("epoch_us(occurred_at)")
        keys = f"{select.looked_up} AS g, " if groups is not None else ""
    by = "1, 2" if keys else "1"
    sums = ", ".join(f"sum((seen >> {place}) & 1)" for place in range(bits))
    columns = f"g, {sums}" if keys else f"{sums}, count(*)"
    rows = ask.run(
        f"SELECT {columns} FROM (SELECT {keys}person_h, bit_or(1::BIGINT << ({bit})::BIGINT) AS seen"
        f" {select.events('person_h IS NOT NULL')} GROUP BY {by}){' GROUP BY 1' if keys else ''}",
        select.parameters,
    ).rows
    if buckets is None:
        return {(place - 1, 0): value for place, value in enumerate(rows[0][:bits]) if value}
    if keys:
        return {(row[0], place): value for row in rows for place, value in enumerate(row[1:]) if value}
    *by_bucket, persons = rows[0]
    return {WHOLE: persons} | {(0, place): value for place, value in enumerate(by_bucket) if value}


def _persons_of_few_groups(ask: Ask, source: Source) -> list[list[Any]] | None:
    """Persons of each group, the largest first, or None where there are more groups than bits."""
    select = _Select(source)
    rows = ask.run(
        f"SELECT DISTINCT {select.group} {select.events()} LIMIT {MAX_BITS}", select.parameters
    ).rows
    groups = sorted((row[0] for row in rows), key=lambda group: (group is None, group or ""))
    if len(groups) >= MAX_BITS:
        return None
    if not groups:
        return []
    cells = _persons_by_mask(ask, source, Groups(groups, are_few=True), None)
    counted = [[group, cells.get((place, 0), 0)] for place, group in enumerate(groups)]
    return sorted(counted, key=lambda row: (-row[1], row[0] is None, row[0] or ""))
