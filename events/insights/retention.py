"""The kind `retention`: of the persons who began in a period, how many came back in each period after it, and who."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from events.insights import filters, periods, person_pages
from events.insights.buckets import Buckets, buckets_of
from events.insights.errors import BadQuestion
from events.insights.kind import Ask, Kind
from events.insights.named import NamedEvent, condition, names_of_all
from events.insights.periods import Period
from events.insights.person_pages import PersonsPage
from events.insights.question import Question, names_of
from events.insights.scan import Scan

MAX_PERIODS: Final = 63  # bits of a BIGINT that no sign is among


class RetentionPersons(
    PersonsPage, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True
):
    """Who is counted in a cell."""

    cohort: Annotated[int, Meta(ge=0, le=MAX_PERIODS, description="By place in `times`, from 0.")]
    period: Annotated[int, Meta(ge=0, le=MAX_PERIODS, description="Periods after it; 0: the whole cohort.")]


class RetentionQuestion(Question, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """With `persons`, a page of those of a cell instead of the triangle."""

    start: NamedEvent = NamedEvent()
    return_: NamedEvent = msgspec.field(name="return", default=NamedEvent())
    mode: Annotated[
        Literal["first_time", "recurring"],
        Meta(
            description="`first_time`: in the cohort of the first start ever; `recurring`: of every period with one."
        ),
    ] = "first_time"
    interval: Literal["day", "week", "month"] = "day"
    persons: RetentionPersons | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """`person`: CTEs, the last with a digest `p` of each person and two masks of periods: `a` of starts, `r` of returns."""

    period: Period
    buckets: Buckets
    scan: Scan
    person: str


def answer(ask: Ask) -> dict[str, Any]:
    """Returns `times`, `complete` and `cohorts`, or a page of `persons` and its `next`."""
    asked: RetentionQuestion = ask.question
    plan = _plan(ask, asked)
    period = plan.period
    head = {
        "period": period.shown_with_interval,
        "mode": asked.mode,
        "times": plan.buckets.starts,
        "complete": _complete(period, plan.buckets, ask.now),
    }
    return head | (
        _cohorts(ask, asked, plan) if asked.persons is None else _persons(ask, asked.persons, plan)
    )


# --- the question ---


def _plan(ask: Ask, asked: RetentionQuestion) -> _Plan:
    zone = periods.zone_of(asked.time_zone or ask.time_zone)
    period = periods.resolve(asked.period, zone, asked.interval, ask.now)
    for where, place in (
        (asked.where, "where"),
        (asked.start.where, "start.where"),
        (asked.return_.where, "return.where"),
    ):
        filters.check(where, zone, place)
    buckets = buckets_of(period)
    if buckets.count > MAX_PERIODS:
        raise BadQuestion(
            "interval",
            f"It would make {buckets.count} periods, and {MAX_PERIODS} are the most: choose a longer one, or a shorter period.",
        )
    _check_persons(asked.persons, buckets)
    snapshot = ask.snapshot(since=period.since, until=period.until)
    scan = Scan(snapshot, period.since_us, period.until_us, names_of_all((asked.start, asked.return_)))
    return _Plan(period, buckets, scan, _person(ask, asked, period, buckets, scan))


def _check_persons(asked: RetentionPersons | None, buckets: Buckets) -> None:
    if asked is None:
        return
    if asked.cohort >= buckets.count:
        raise BadQuestion("persons.cohort", f"There are {buckets.count}, numbered from 0.")
    if asked.cohort + asked.period >= buckets.count:
        raise BadQuestion("persons.period", "It begins after the last one.")


def _person(ask: Ask, asked: RetentionQuestion, period: Period, buckets: Buckets, scan: Scan) -> str:
    """Plan: one pass, persons by digest with a bit for each period; joins of starts and returns take twice as long."""
    start, comes_back = (
        condition(event, scan, period.zone, place)
        for event, place in ((asked.start, "start"), (asked.return_, "return"))
    )
    where = filters.compile_filter(asked.where, scan.dialect, period.zone) if asked.where else "true"
    bit = f"1::BIGINT << ({buckets.index('epoch_us(occurred_at)')})::BIGINT"
    seen = (
        "seen AS (SELECT p, bit_or(CASE WHEN starts THEN bit ELSE 0 END) AS a,"
        " bit_or(CASE WHEN returns THEN bit ELSE 0 END) AS r"
        f" FROM (SELECT person_h AS p, {start} AS starts, {comes_back} AS returns, {bit} AS bit FROM {scan.sql()}"
        f" WHERE person_h IS NOT NULL AND {where}) WHERE starts OR returns GROUP BY 1)"
    )
    if asked.mode == "recurring":
        return f"{seen}, person AS (SELECT * FROM seen WHERE a <> 0)"
    return f"{seen}, person AS (SELECT p, a & -a AS a, r FROM seen WHERE a <> 0{_newcomers(ask, asked, period, scan)})"


def _newcomers(ask: Ask, asked: RetentionQuestion, period: Period, scan: Scan) -> str:
    """A condition that leaves out whoever started before the period."""
    snapshot = ask.snapshot(since=None, until=period.since)
    if not snapshot.files:
        return ""
    earlier = Scan(snapshot, None, period.since_us, names_of(asked.start.name), scan.parameters)
    start = condition(asked.start, earlier, period.zone, "start")
    where = filters.compile_filter(asked.where, earlier.dialect, period.zone) if asked.where else "true"
    return (
        f" AND NOT EXISTS (SELECT 1 FROM (SELECT DISTINCT person_h FROM {earlier.sql()}"
        f" WHERE person_h IS NOT NULL AND {where} AND {start}) AS earlier WHERE earlier.person_h = seen.p)"
    )


# --- the answer ---


def _complete(period: Period, buckets: Buckets, now: datetime) -> list[bool]:
    """Of each bucket, whether it lies whole within the question and is over."""
    starts = [datetime.fromisoformat(start) for start in buckets.starts]
    following = buckets_of(replace(period, until=period.until + timedelta(microseconds=1)))
    # Without another that begins at the very end, the end cuts the last one short.
    ends = [*starts[1:], period.until if following.count > buckets.count else None]
    return [
        period.since <= start and end is not None and end <= now
        for start, end in zip(starts, ends, strict=True)
    ]


def _cohorts(ask: Ask, asked: RetentionQuestion, plan: _Plan) -> dict[str, Any]:
    """Plan: persons of equal masks are counted first; then the bits of each cohort are summed."""
    number = plan.buckets.count
    sums = ", ".join(f"sum(n * ((r >> {place}) & 1))" for place in range(number))
    equal = "SELECT a, r, count(*) AS n FROM person GROUP BY 1, 2"
    if asked.mode == "first_time":
        cohorts = f"SELECT bit_count(a - 1) AS c, r, n FROM ({equal})"
    else:
        cohorts = (
            f"SELECT c, r, n FROM ({equal}), (SELECT unnest(range({number})) AS c) WHERE (a >> c) & 1 = 1"
        )
    rows = ask.run(
        f"WITH {plan.person} SELECT c, sum(n), {sums} FROM ({cohorts}) GROUP BY 1", plan.scan.parameters
    ).rows
    found = {cohort: (persons, returned) for cohort, persons, *returned in rows}
    cohorts_shown = []
    for cohort, start in enumerate(plan.buckets.starts):
        persons, returned = found.get(cohort, (0, [0] * number))
        counts = [persons, *returned[cohort + 1 :]]
        shares = [count / persons if persons else None for count in counts]
        cohorts_shown.append({"time": start, "persons": persons, "counts": counts, "shares": shares})
    return {"cohorts": cohorts_shown}


def _persons(ask: Ask, asked: RetentionPersons, plan: _Plan) -> dict[str, Any]:
    counted = f"SELECT p, r FROM person WHERE (a >> {asked.cohort}) & 1 = 1"
    if asked.period:
        counted += f" AND (r >> {asked.cohort + asked.period}) & 1 = 1"
    later = range(1, plan.buckets.count - asked.cohort)
    return person_pages.answer(
        ask, plan.scan, asked, ctes=plan.person, persons=counted, columns=["r"],
        shown=lambda masks: {"returned": [place for place in later if masks[0] >> (asked.cohort + place) & 1]},
    )  # fmt: skip


KIND: Final = Kind(
    name="retention",
    question=RetentionQuestion,
    answer=answer,
    summary="Who comes back",
    description="Persons by the period in which they started, and how many of them returned in each period after it; by day, week"
    " or month, up to 63 of them; and the persons of a cell.",
    examples={
        "Week by week": {
            "start": {"name": "signup"},
            "return": {"name": None},
            "interval": "week",
            "period": {"last": "8w"},
        },
        "Everybody active, day by day": {
            "mode": "recurring",
            "start": {"name": "page_view", "where": {"property": "plan", "op": "=", "value": "pro"}},
            "return": {"name": ["order_paid", "page_view"]},
            "period": {"last": "14d"},
            "time_zone": "Europe/Berlin",
        },
        "Who of the first week was back in the third": {
            "start": {"name": "signup"},
            "interval": "week",
            "period": {"from": "2026-01-05", "until": "2026-02-02"},
            "persons": {"cohort": 0, "period": 2, "limit": 50},
        },
    },
    example_answer={
        "period": {
            "from": "2026-01-05T00:00:00+01:00",
            "until": "2026-01-19T00:00:00+01:00",
            "time_zone": "Europe/Berlin",
            "interval": "week",
        },
        "mode": "first_time",
        "times": ["2026-01-05T00:00:00+01:00", "2026-01-12T00:00:00+01:00"],
        "complete": [True, False],
        "cohorts": [
            {"time": "2026-01-05T00:00:00+01:00", "persons": 80, "counts": [80, 20], "shares": [1.0, 0.25]},
            {"time": "2026-01-12T00:00:00+01:00", "persons": 60, "counts": [60], "shares": [1.0]},
        ],
    },
)
