"""Which events a question wants, not what of them: for the questions whose answer is events. One condition in two dialects."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from msgspec import Meta

from events.insights import filters, periods
from events.insights.filters import Dialect, PostgresDialect
from events.insights.question import Filter, Names, PeriodQuestion, Question, Text, names_of
from events.insights.scan import Scan
from events.lake.snapshot import Snapshot

# No event lies outside: a year before 2000 is refused by accept, and one more than a day ahead.
SINCE: Final = periods.EARLIEST
UNTIL: Final = periods.LATEST


class EventsWanted(Question, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """Without a `period`: all that there are."""

    period: PeriodQuestion | None = None  # type: ignore[assignment]  # the other kinds always have one
    name: Names = None
    person: Annotated[Text | None, Meta(description="`user_id`, or `anonymous_id` where there is none.")] = (
        None
    )


@dataclass(frozen=True, slots=True)
class Which:
    """[since, until) in UTC, and what else an event must be like."""

    since: datetime
    until: datetime
    names: tuple[str, ...] | None
    person: str | None
    where: Filter | None
    zone: ZoneInfo

    @property
    def is_narrow(self) -> bool:
        """Whether there is more to it than the period."""
        return (self.names, self.person, self.where) != (None, None, None)

    def postgres(self) -> tuple[str, dict[str, Any]]:
        """Returns a condition over `events_event`, the period apart, and its parameters."""
        dialect = PostgresDialect()
        conditions = self._conditions(dialect)
        if self.names is not None:
            conditions.append(f"name IN ({', '.join(map(dialect.value, self.names)) or 'NULL'})")
        return " AND ".join(conditions) or "true", dialect.parameters

    def lake(
        self, snapshot: Snapshot, *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[Scan, str]:
        """Returns a scan of a snapshot's files, whole or of a part of the period, and a condition over it."""
        since_us = periods.to_us(max(since or self.since, self.since))
        until_us = periods.to_us(min(until or self.until, self.until))
        scan = Scan(snapshot, since_us, until_us, self.names)
        return scan, " AND ".join(self._conditions(scan.dialect)) or "true"

    def _conditions(self, dialect: Dialect) -> list[str]:
        conditions = []
        if self.person is not None:
            conditions.append(dialect.equals_person(self.person))
        if self.where is not None:
            conditions.append(filters.compile_filter(self.where, dialect, self.zone))
        return conditions


def which(question: EventsWanted, *, time_zone: str, now: datetime) -> Which:
    """Takes what was asked and the project's time zone. Raises BadQuestion, also for what only compiling finds."""
    zone = periods.zone_of(question.time_zone or time_zone)
    since, until = SINCE, UNTIL
    if question.period is not None:
        period = periods.resolve(question.period, zone, None, now)
        since, until = period.since, period.until
    filters.check(question.where, zone)
    return Which(since, until, names_of(question.name), question.person, question.where, zone)
