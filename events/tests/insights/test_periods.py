"""Periods and their buckets, in zones whose clocks do odd things."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from events.insights import periods
from events.insights.buckets import buckets_of, changes_of
from events.insights.errors import BadQuestion
from events.insights.question import PeriodQuestion
from events.tests.insights.reference import bucket

NOW = datetime(2026, 11, 6, 9, 30, 20, 5, tzinfo=UTC)


def resolve(zone: str = "UTC", interval: Any = "auto", **asked: Any) -> periods.Period:
    if "from" in asked:
        asked["from_"] = asked.pop("from")
    return periods.resolve(PeriodQuestion(**asked), ZoneInfo(zone), interval, NOW)


ODD_DAYS = [
    ("Asia/Beirut", "2026-03-27", "2026-03-31"),  # the clock goes from 0:00 to 1:00: a day begins at 1:00
    ("Asia/Beirut", "2026-10-24", "2026-10-27"),  # from 24:00 back to 23:00
    ("Pacific/Apia", "2011-12-28", "2012-01-02"),  # 30 December was left out
    ("America/St_Johns", "2006-10-28", "2006-10-31"),  # from 0:01 back to 23:01 of the day before
    ("America/St_Johns", "2006-04-01", "2006-04-04"),
    ("Australia/Lord_Howe", "2026-04-03", "2026-04-07"),  # by half an hour
    ("Australia/Lord_Howe", "2026-10-02", "2026-10-06"),
    ("Africa/Casablanca", "2026-02-13", "2026-03-24"),  # twice in five weeks
    ("Antarctica/Troll", "2026-03-28", "2026-03-31"),  # by two hours
    ("Asia/Kathmandu", "2026-01-01", "2026-01-03"),
    ("America/New_York", "1970-04-25", "1970-04-28"),
    ("Europe/Berlin", "2026-10-24T22:17:03.000001", "2026-10-25T02:30:00+01:00"),
]


@pytest.mark.parametrize(("zone", "since", "until"), ODD_DAYS)
@pytest.mark.parametrize("interval", ["minute", "hour", "day", "week", "month"])
def test_every_moment_lies_in_the_bucket_of_its_local_time(
    zone: str, since: str, until: str, interval: str
) -> None:
    period = resolve(zone, None, **{"from": since, "until": until})
    if interval == "minute":  # around noon to noon is enough, and at most what is allowed
        middle = period.since + (period.until - period.since) / 2
        changes = [
            us for us in changes_of(middle.year, period.zone) if period.since_us < us < period.until_us
        ]
        middle = periods.from_us(changes[0]) if changes else middle
        period = periods.Period(
            middle - timedelta(hours=3), middle + timedelta(hours=3), period.zone, "minute"
        )
    period = periods.Period(period.since, period.until, period.zone, interval)
    found = buckets_of(period)
    step = 13_000_000 if interval == "minute" else 307_000_000
    moments = sorted(
        {*range(period.since_us, period.until_us, step), period.until_us - 1}
        | {
            us + shift
            for us in changes_of(period.since.year, period.zone)
            for shift in (-1, 0)
            if period.since_us <= us + shift < period.until_us
        }
    )
    numbers = duckdb.execute(
        f"SELECT us, {found.index('us')} FROM (SELECT unnest(?::BIGINT[]) us)", [moments]
    ).fetchall()
    keys = [bucket(datetime.fromisoformat(start), period.zone, interval) for start in found.starts]
    for us, number in numbers:
        assert 0 <= number < found.count
        assert keys[number] == bucket(periods.from_us(us), period.zone, interval), (us, found.starts[number])
    assert [*found.starts] == sorted(found.starts, key=datetime.fromisoformat)
    if interval in ("day", "week", "month"):
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("asked", "zone", "since", "until"),
    [
        ({"from": "2026-10-25", "until": "2026-10-26"}, "Europe/Berlin",
         "2026-10-24T22:00:00+00:00", "2026-10-25T23:00:00+00:00"),
        ({"from": "2026-10-25T02:30:00", "until": "2026-10-25T03:00:00"}, "Europe/Berlin",
         "2026-10-25T00:30:00+00:00", "2026-10-25T02:00:00+00:00"),  # the first of two
        ({"from": "2026-03-29T02:30:00", "until": "2026-03-30"}, "Europe/Berlin",
         "2026-03-29T01:30:00+00:00", "2026-03-29T22:00:00+00:00"),  # there was no 2:30
        ({"from": "2026-01-01T00:00:00.000001Z", "until": "2026-01-01T00:00:00.000002Z"}, "Asia/Kathmandu",
         "2026-01-01T00:00:00.000001+00:00", "2026-01-01T00:00:00.000002+00:00"),
        ({"from": "2026-11-01"}, "UTC", "2026-11-01T00:00:00+00:00", "2026-11-07T00:00:00+00:00"),
        ({}, "UTC", "2026-10-31T00:00:00+00:00", "2026-11-07T00:00:00+00:00"),
    ],
)  # fmt: skip
def test_a_local_period_in_utc(asked: dict[str, str], zone: str, since: str, until: str) -> None:
    period = resolve(zone, **asked)
    assert (period.since.isoformat(), period.until.isoformat()) == (since, until)


@pytest.mark.parametrize(
    ("asked", "interval", "field"),
    [
        ({"last": "7"}, "day", "period.last"),
        ({"last": "0d"}, "day", "period.last"),
        ({"last": "-1d"}, "day", "period.last"),
        ({"last": "99999m"}, None, "period.last"),
        ({"last": "999999m"}, "month", "period.last"),
        ({"last": "7d", "from": "2026-01-01"}, "day", "period"),
        ({"until": "2026-01-01"}, "day", "period.from"),
        ({"from": "2026-02-30"}, "day", "period.from"),
        ({"from": "yesterday"}, "day", "period.from"),
        ({"from": "2026-01-01", "until": "2026-01-01"}, "day", "period"),
        ({"from": "2026-01-02", "until": "2026-01-01"}, "day", "period"),
        ({"from": "0001-01-01", "until": "2026-01-01"}, None, "period.from"),
        ({"from": "1969-01-01", "until": "2026-01-01"}, None, "period"),
        ({"from": "2026-01-01", "until": "9999-12-31T23:59:59-23:59"}, None, "period.until"),
        ({"last": "30d"}, "minute", "interval"),
        ({"last": "10000h"}, "hour", "interval"),
        ({"from": "1970-02-01", "until": "2199-01-01"}, "month", "interval"),
    ],
)
def test_a_period_that_is_not_right_names_its_field(asked: dict[str, str], interval: Any, field: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        buckets_of(resolve("Europe/Berlin", interval, **asked))
    assert refused.value.field == field


def test_a_thousand_buckets_are_the_most() -> None:
    whole = {"from": "2026-01-01", "until": "2026-02-11T16:00:00"}
    assert buckets_of(resolve("UTC", "hour", **whole)).count == 1_000
    with pytest.raises(BadQuestion, match="1,001 buckets, and 1,000 are the most: choose `day`"):
        buckets_of(resolve("UTC", "hour", **{"from": "2026-01-01T00:30", "until": "2026-02-11T16:30:00"}))


def test_too_many_buckets_name_an_interval_that_fits() -> None:
    with pytest.raises(BadQuestion, match="43,200 buckets, and 1,000 are the most: choose `hour`"):
        resolve("UTC", "minute", last="30d")


@pytest.mark.parametrize(
    ("last", "interval"), [("2h", "minute"), ("24h", "hour"), ("7d", "day"), ("6m", "week"), ("36m", "month")]
)
def test_an_interval_that_was_not_given_suits_the_period(last: str, interval: str) -> None:
    assert resolve(last=last).interval == interval


@pytest.mark.parametrize(
    ("since", "until", "before"),
    [
        ("2026-10-01", "2026-11-01", "2026-09-01T00:00:00+02:00"),  # a month
        ("2026-01-01", "2026-04-01", "2025-10-01T00:00:00+02:00"),  # a quarter
        ("2026-10-25", "2026-10-26", "2026-10-24T00:00:00+02:00"),  # a day of 25 hours
        ("2026-10-25T12:00:00", "2026-10-25T18:00:00", "2026-10-25T06:00:00+01:00"),
    ],
)
def test_the_period_before_is_as_long_by_the_calendar(since: str, until: str, before: str) -> None:
    period = resolve("Europe/Berlin", None, **{"from": since, "until": until})
    earlier = periods.previous(period)
    assert period.local(earlier.since) == before
    assert earlier.until == period.since
