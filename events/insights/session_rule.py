"""What a session is, for the kinds that ask of sessions: events of a person without a long silence, or of one `session_id`."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from events.insights import periods
from events.insights.errors import BadQuestion
from events.insights.filters import compile_filter
from events.insights.kind import Ask
from events.insights.periods import Period
from events.insights.question import Names, Question, names_of
from events.insights.scan import Scan

SILENCE_MINUTES: Final = 30
GapMinutes = Annotated[
    int, Meta(ge=1, le=1_440, description="A longer silence ends a session; 30 unless given.")
]
# Events so far outside of the period are read, so that sessions are not cut at its ends.
MARGIN: Final = timedelta(days=1)


class SessionsQuestion(Question, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """Sessions are made of the events that `where` and `name` leave."""

    by: Annotated[
        Literal["silence", "session_id"],
        Meta(
            description="A session is a person's events without a long silence, or those of one `session_id`."
        ),
    ] = "silence"
    gap_minutes: GapMinutes | UnsetType = UNSET
    name: Names = None


@dataclass(frozen=True, slots=True)
class Rule:
    """`whose`: the column that says whose events a session is made of, `key`: SQL of an integer for each; `gap_us`: the longest
    silence within a session, None where there is no limit.
    """

    whose: str
    key: str
    gap_us: int | None

    def begins(self, window: str) -> str:
        """SQL: whether an event is the first of its session, of events in order within a window."""
        before = f"lag(t) OVER {window}"
        if self.gap_us is None:
            return f"({before} IS NULL)"
        return f"coalesce(t - {before} > {self.gap_us}, true)"

    def ends(self, window: str) -> str:
        after = f"lead(t) OVER {window}"
        if self.gap_us is None:
            return f"({after} IS NULL)"
        return f"coalesce({after} - t > {self.gap_us}, true)"

    def divides(self, silence_us: int) -> bool:
        """Whether an event after so long a silence begins another session."""
        return self.gap_us is not None and silence_us > self.gap_us

    @property
    def look_back(self) -> timedelta:
        """As far before an event as it takes to know whether it is the first of its session."""
        return MARGIN if self.gap_us is None else timedelta(microseconds=self.gap_us)


def rule_of(asked: SessionsQuestion) -> Rule:
    if asked.by == "session_id":
        if asked.gap_minutes is not UNSET:
            raise BadQuestion("gap_minutes", "A `session_id` knows no silence: give it with `by: silence`.")
        return Rule("session_id", "hash(session_id)", None)
    return by_silence(SILENCE_MINUTES if asked.gap_minutes is UNSET else asked.gap_minutes)


def by_silence(minutes: int) -> Rule:
    return Rule("person_h", "person_h", minutes * periods.MINUTE)


@dataclass(frozen=True, slots=True)
class Events:
    """What sessions are made of, as SQL: a scan that reaches beyond the period, and a condition over it."""

    scan: Scan
    rule: Rule
    condition: str

    def sql(self, columns: str, more: str = "") -> str:
        """Returns a SELECT of `p` whose, `t` when in µs, `id` and the columns. Called last: the scan is complete by then."""
        return f"SELECT {self.rule.key} AS p, epoch_us(occurred_at) AS t, id, {columns} {self.rows(more)}"

    def labels(self, text: str) -> str:
        """Returns a SELECT of `h` and `label`: of each text that there is, its hash and itself.

        Plan: a sort that carries the hashes instead of the texts takes half the time and a third of the memory.
        """
        return f"SELECT DISTINCT hash({text}) AS h, {text} AS label {self.rows()}"

    def rows(self, more: str = "") -> str:
        return f"FROM {self.scan.sql()} WHERE {self.condition}{more}"

    @property
    def parameters(self) -> dict[str, Any]:
        return self.scan.parameters


def events_of(
    ask: Ask,
    asked: SessionsQuestion,
    period: Period,
    *,
    before: timedelta | None = None,
    after: timedelta = MARGIN,
) -> Events:
    """Takes how much is read of the time around the period; before it, unless given, what tells where sessions begin."""
    rule = rule_of(asked)
    since = period.since - (rule.look_back if before is None else before)
    until = period.until + after
    snapshot = ask.snapshot(since=since, until=until)
    scan = Scan(snapshot, periods.to_us(since), periods.to_us(until), names_of(asked.name))
    conditions = [f"{rule.whose} IS NOT NULL"]
    if asked.where:
        conditions.append(compile_filter(asked.where, scan.dialect, period.zone))
    return Events(scan, rule, " AND ".join(conditions))


def inside(period: Period, moment: str) -> str:
    return f"({moment} >= {period.since_us} AND {moment} < {period.until_us})"
