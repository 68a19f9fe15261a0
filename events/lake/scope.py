"""Which events the table and the lake both hold, so that one can be compared with the other and written anew from it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Q

from events import partitions
from events.times import EPOCH
from projects.models import Project

FIRST: Final = date.min
LAST: Final = date(9998, 12, 31)
# A row whose batch is not sealed is in the table alone. Plan: a hash anti-join with the few such batches.
SEALED: Final = "NOT EXISTS (SELECT FROM events_batch AS b WHERE b.id = e.batch_id AND b.seal IS NULL)"


@dataclass(frozen=True, slots=True)
class Scope:
    """Events of these UTC days of `occurred_at`, received since the oldest partition; of some projects, or of all."""

    received_since: datetime
    first_day: date
    last_day: date
    project_ids: tuple[int, ...] = ()

    def in_table(self) -> tuple[str, list[Any]]:
        """A condition on `events_event AS e`, and its values."""
        sql = f"e.received_at >= %s AND e.occurred_at >= %s AND e.occurred_at < %s AND {SEALED}"
        values: list[Any] = [self.received_since, *_bounds(self.first_day, self.last_day)]
        if self.project_ids:
            return f"{sql} AND e.project_id = ANY(%s)", [*values, list(self.project_ids)]
        return sql, values

    def in_lake(self) -> str:
        """The same as a condition on a segment's columns, whole: its values are numbers."""
        since, until = (us(bound) for bound in _bounds(self.first_day, self.last_day))
        sql = (
            f"epoch_us(received_at) >= {us(self.received_since)}"
            f" AND epoch_us(occurred_at) >= {since} AND epoch_us(occurred_at) < {until}"
        )
        return f"{sql} AND project_id IN ({numbers(self.project_ids)})" if self.project_ids else sql

    def in_segments(self) -> Q:
        """Segments that may hold such events."""
        days = Q(first_day__lte=self.last_day, last_day__gte=self.first_day)
        return days & of_projects(self.project_ids) if self.project_ids else days


def scope(*, project_id: int | None = None, day: date | None = None) -> Scope:
    """Of what is asked for, that which both ought to hold."""
    oldest = min(partitions.days(), default=FIRST)
    return Scope(
        received_since=datetime.combine(oldest, time(), UTC),
        first_day=max(day or FIRST, kept_since() or FIRST),
        last_day=day or LAST,
        project_ids=() if project_id is None else (project_id,),
    )


def living() -> set[int]:
    """The projects that are compared. Those of others, deleted ones, are on their way out of both."""
    return set(Project.objects.filter(deleted_at=None).values_list("pk", flat=True))


def kept_since() -> date | None:
    """The first UTC day of `occurred_at` that the lake keeps; None where it keeps all."""
    if not settings.EVENTS_LAKE_DAYS:
        return None
    return datetime.now(UTC).date() - timedelta(days=settings.EVENTS_LAKE_DAYS)


def of_projects(project_ids: Iterable[int]) -> Q:
    """Segments that hold rows of any of these."""
    ids = list(project_ids)
    return Q(project_id__in=ids) | Q(project=None, project_rows__has_any_keys=[str(key) for key in ids])


def numbers(values: Iterable[int]) -> str:
    return ", ".join(str(int(value)) for value in values)


def _bounds(first_day: date, last_day: date) -> tuple[datetime, datetime]:
    return datetime.combine(first_day, time(), UTC), datetime.combine(
        last_day + timedelta(days=1), time(), UTC
    )


def us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)
