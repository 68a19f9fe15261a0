"""Retention: a day of rows is dropped once the lake holds all of it; days of the lake, where it is told to, later."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import duckdb
from django.conf import settings
from django.db import OperationalError, connection

from events import partitions
from events.lake import duck, publish, rewrite
from events.lake.layout import lake_dir
from events.lake.scope import kept_since, living
from events.models import Batch, Segment

FILES_A_RUN: Final = 20
BATCHES_AT_ONCE: Final = 5_000
BATCHES_A_RUN: Final = 100_000

UNSEALED: Final = "it holds rows that are not in the lake yet"
BUSY: Final = "others hold on to the table"
COUNT_ROWS: Final = "SELECT project_id, count(*) FROM {table} WHERE occurred_at >= %s GROUP BY 1"
COUNT_LAKE: Final = """
SELECT project_id, count(*) FROM read_parquet(?, hive_partitioning = false)
WHERE received_at >= '{day} 00:00:00+00'::timestamptz AND received_at < '{day} 00:00:00+00'::timestamptz + INTERVAL 1 DAY
GROUP BY 1
"""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Dropped:
    """`days` were dropped; `kept` says why a day that is old enough was not. `batches`: rows of the table of batches."""

    days: list[date] = field(default_factory=list)
    kept: dict[date, str] = field(default_factory=dict)
    segments: int = 0
    lake_rows: int = 0
    batches: int = 0


def drop_old(today: date | None = None) -> Dropped:
    """Drops what is older than EVENTS_ROWS_DAYS in the table and than EVENTS_LAKE_DAYS in the lake.

    May run at any time and twice at once; each step commits on its own. A day that the lake does not hold whole stays.
    """
    dropped = Dropped()
    today = today or datetime.now(UTC).date()
    oldest_kept = today - timedelta(days=settings.EVENTS_ROWS_DAYS)
    for day in partitions.days():
        if day >= oldest_kept:
            break
        if reason := _drop_day(day):
            dropped.kept[day] = reason
        else:
            dropped.days.append(day)
    # A day longer than the rows themselves, whose way they tell.
    dropped.batches = _prune_batches(datetime.combine(oldest_kept, time(), UTC) - timedelta(days=1))
    _drop_from_lake(dropped)
    return dropped


def _drop_day(day: date) -> str:
    """Returns why it was not dropped, or nothing."""
    try:
        with publish.writing(wait=True):
            if partitions.holds_unsealed(day):
                return UNSEALED
            if lacking := _lacking(day):
                return f"the lake lacks {lacking} of its rows: see manage.py lake verify"
            return "" if partitions.drop(day) else UNSEALED
    except duckdb.Error as error:
        return f"a file of the lake cannot be read ({' '.join(str(error).split())[:200]}): see manage.py lake verify"
    except OperationalError as error:
        log.warning("the day %s of rows is dropped later: %s", day, " ".join(str(error).split()))
        return BUSY


def _lacking(day: date) -> int:
    """Says how many rows of a partition the lake does not hold, by counting: the last look before they are gone."""
    since = datetime.combine(day, time(), UTC)
    with connection.cursor() as cursor:
        cursor.execute(COUNT_ROWS.format(table=partitions.name(day)), [kept_since() or date.min])
        rows = Counter(dict(cursor.fetchall()))
    if not rows:
        return 0
    # No file that is older than the day holds rows received on it. The margin is for two clocks.
    files = Segment.objects.filter(
        retired_at=None,
        created_at__gte=since - timedelta(days=1),
        first_received_at__lt=since + timedelta(days=1),
    )
    with duck.connect() as reader:
        for path in files.values_list("path", flat=True):
            for project_id, count in reader.execute(
                COUNT_LAKE.format(day=day), [str(lake_dir() / path)]
            ).fetchall():
                rows[project_id] -= count
    alive = living()
    return sum(count for project_id, count in rows.items() if count > 0 and project_id in alive)


def _drop_from_lake(dropped: Dropped) -> None:
    """Retires segments of which all is too old, and takes such rows out of shared ones."""
    first_day = kept_since()
    if first_day is None:
        return
    with publish.writing(wait=True):
        old = Segment.objects.filter(retired_at=None, first_day__lt=first_day).order_by("id")
        whole = list(old.filter(last_day__lt=first_day))
        partly = old.filter(project=None, last_day__gte=first_day)
        done = rewrite.without(
            partly, f"occurred_at < '{first_day} 00:00:00+00'::timestamptz", at_most=FILES_A_RUN
        )
        publish.publish(done.drafts, retire=[*(segment.pk for segment in whole), *done.retired_ids])
    rewrite.tell_others([*whole, *done.retired])
    dropped.segments = len(whole) + len(done.retired)
    dropped.lake_rows = sum(segment.rows for segment in whole) + done.rows


def _prune_batches(stored_before: datetime) -> int:
    """Deletes sealed batches from the oldest on. Plan: the primary key, as ids rise with time."""
    pruned, after = 0, 0
    while pruned < BATCHES_A_RUN:
        chunk = list(
            Batch.objects.filter(id__gt=after)
            .order_by("id")
            .values_list("id", "stored_at", "seal")[:BATCHES_AT_ONCE]
        )
        old = [pk for pk, stored_at, seal in chunk if stored_at < stored_before and seal is not None]
        pruned += Batch.objects.filter(id__in=old)._raw_delete("default") if old else 0
        if len(chunk) < BATCHES_AT_ONCE or chunk[-1][1] >= stored_before:
            break
        after = chunk[-1][0]
    return pruned
