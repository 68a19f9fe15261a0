"""From when to when a question asks. Local times become UTC here: no engine is asked for a time zone."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, get_args
from zoneinfo import ZoneInfo

from events.insights.errors import BadQuestion
from events.insights.question import Interval, PeriodQuestion
from projects.timezones import names as zone_names

MAX_BUCKETS: Final = 1_000
EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE: Final = 60_000_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WIDTH: Final[dict[Interval, int]] = {
    "minute": MINUTE, "hour": HOUR, "day": DAY, "week": 7 * DAY, "month": 28 * DAY,
}  # fmt: skip
_LAST: Final = re.compile(r"([1-9][0-9]{0,5})(min|h|d|w|m)", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Period:
    """[since, until), in UTC."""

    since: datetime
    until: datetime
    zone: ZoneInfo
    interval: Interval | None

    @property
    def since_us(self) -> int:
        return to_us(self.since)

    @property
    def until_us(self) -> int:
        return to_us(self.until)

    def local(self, moment: datetime) -> str:
        return moment.astimezone(self.zone).isoformat()

    @property
    def ends(self) -> dict[str, str]:
        """As answers show them, in local time."""
        return {"from": self.local(self.since), "until": self.local(self.until)}

    @property
    def shown(self) -> dict[str, str]:
        """What an answer says of its period; one with buckets says more (`shown_with_interval`)."""
        return self.ends | {"time_zone": self.zone.key}

    @property
    def shown_with_interval(self) -> dict[str, str | None]:
        return {**self.shown, "interval": self.interval}


def zone_of(name: str) -> ZoneInfo:
    if name not in zone_names():
        raise BadQuestion("time_zone", "Not a time zone. Give an IANA name such as `UTC` or `Europe/Berlin`.")
    return ZoneInfo(name)


def to_us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def resolve(asked: PeriodQuestion, zone: ZoneInfo, interval: Interval | str | None, now: datetime) -> Period:
    """Returns the period as UTC times. An `interval` of "auto" is chosen by the length. Raises BadQuestion."""
    if asked.last is None and asked.from_ is None:
        if asked.until is not None:
            raise BadQuestion("period.from", "Give `from` with `until`.")
        asked = PeriodQuestion(last="7d")
    if asked.last is not None:
        if asked.from_ is not None or asked.until is not None:
            raise BadQuestion("period", "Give either `last`, or `from` and `until`.")
        return _last(asked.last, zone, interval, now)
    since = moment(asked.from_ or "", zone, "period.from")
    until = _ceiling(now, zone, "day") if asked.until is None else moment(asked.until, zone, "period.until")
    if until <= since:
        raise BadQuestion("period", "It is empty: `until` must be later than `from` (and is not part of it).")
    if since < EARLIEST or until > LATEST:
        raise BadQuestion("period", f"Outside {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}.")
    return _with_buckets_bounded(Period(since, until, zone, _chosen(interval, until - since)))


def moment(text: str, zone: ZoneInfo, field: str) -> datetime:
    """Takes a date or a time, local unless it names its offset; returns UTC."""
    try:
        parsed = (
            datetime.combine(date.fromisoformat(text), time())
            if _DATE.fullmatch(text)
            else datetime.fromisoformat(text)
        )
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadQuestion(
            field, "Neither a date such as 2026-01-31 nor a time such as 2026-01-31T12:00:00."
        ) from error


def previous(period: Period) -> Period:
    """The one before, as long: in local days or whole months where it begins and ends with such, else in seconds."""
    since, until = (naive_of(end, period.zone) for end in (period.since, period.until))
    if since.time() == until.time() == time():
        months = (until.year - since.year) * 12 + until.month - since.month
        before = (
            _months_before(since, months)
            if since.day == until.day == 1 and months > 0
            else since - (until - since)
        )
        start = utc_of(before, period.zone)
    else:
        start = period.since - (period.until - period.since)
    if start < EARLIEST:
        raise BadQuestion("compare", f"The period before begins before {EARLIEST:%Y-%m-%d}.")
    return replace(period, since=start, until=period.since)


# --- the period ---


def _last(text: str, zone: ZoneInfo, asked: Interval | str | None, now: datetime) -> Period:
    """Ends with the bucket that holds `now`: the same question a second later is the same question."""
    found = _LAST.fullmatch(text)
    if not found:
        raise BadQuestion("period.last", "Give a number and a unit: 90min, 24h, 7d, 4w, 6m (months).")
    number, unit = int(found[1]), found[2]
    length = timedelta(minutes=number * {"min": 1, "h": 60, "d": 1440, "w": 10_080, "m": 43_200}[unit])
    interval = _chosen(asked, length)
    grain: Interval = interval or ("minute" if unit in ("min", "h") else "day")
    until = _ceiling(now, zone, grain)
    try:
        if unit in ("min", "h"):
            since = until - length
        elif unit == "m":
            since = utc_of(_months_before(naive_of(until, zone), number), zone)
        else:
            since = utc_of(naive_of(until, zone) - length, zone)
    except (OverflowError, ValueError):
        since = EARLIEST - timedelta(days=1)
    if since < EARLIEST:
        raise BadQuestion("period.last", f"It begins before {EARLIEST:%Y-%m-%d}.")
    return _with_buckets_bounded(Period(_floor(since, zone, grain), until, zone, interval))


def _chosen(interval: Interval | str | None, length: timedelta) -> Interval | None:
    if interval is None or interval in get_args(Interval):
        return interval  # type: ignore[return-value]  # one of these texts
    if length <= timedelta(hours=3):
        return "minute"
    if length <= timedelta(days=3):
        return "hour"
    if length <= timedelta(days=93):
        return "day"
    return "week" if length <= timedelta(days=731) else "month"


def _with_buckets_bounded(period: Period) -> Period:
    """Refuses before anything is counted one by one."""
    if period.interval is None:
        return period
    number = (period.until_us - period.since_us) // WIDTH[period.interval]
    if number > MAX_BUCKETS:
        raise too_many_buckets(period, number)
    return period


def too_many_buckets(period: Period, number: int) -> BadQuestion:
    length = period.until_us - period.since_us
    fitting = next((name for name, width in WIDTH.items() if length // width < MAX_BUCKETS - 1), None)
    advice = f"choose `{fitting}`, or a shorter period" if fitting else "choose a shorter period"
    return BadQuestion(
        "interval", f"It would make {number:,} buckets, and {MAX_BUCKETS:,} are the most: {advice}."
    )


def end_of_bucket(start: datetime, zone: ZoneInfo, interval: Interval) -> datetime:
    """When the bucket that begins at a moment is over."""
    return _ceiling(start, zone, interval)


# --- local time ---


def naive_of(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def utc_of(naive: datetime, zone: ZoneInfo) -> datetime:
    """Of a local time that occurs twice, the first; one that a change skips is taken with the offset before the change."""
    return naive.replace(tzinfo=zone).astimezone(UTC)


def offset_us(us: int, zone: ZoneInfo) -> int:
    offset = from_us(us).astimezone(zone).utcoffset() or timedelta()
    return offset // timedelta(microseconds=1)


def _months_before(naive: datetime, number: int) -> datetime:
    month = naive.year * 12 + naive.month - 1 - number
    year, month = divmod(month, 12)
    first_of_next = datetime(year + (month == 11), (month + 1) % 12 + 1, 1)
    return naive.replace(
        year=year, month=month + 1, day=min(naive.day, (first_of_next - timedelta(days=1)).day)
    )


def _floor(moment: datetime, zone: ZoneInfo, interval: Interval) -> datetime:
    """The start of the bucket that holds a moment."""
    if interval in ("minute", "hour"):
        us, width = to_us(moment), WIDTH[interval]
        offset = offset_us(us, zone)
        return from_us((us + offset) // width * width - offset)
    day = naive_of(moment, zone).date()
    if interval == "week":
        day -= timedelta(days=day.weekday())
    if interval == "month":
        day = day.replace(day=1)
    return utc_of(datetime.combine(day, time()), zone)


def _ceiling(moment: datetime, zone: ZoneInfo, interval: Interval) -> datetime:
    """The end of the bucket that holds a moment."""
    start = _floor(moment, zone, interval)
    if interval in ("minute", "hour"):
        return start + timedelta(microseconds=WIDTH[interval])
    day = naive_of(moment, zone).date()
    if interval == "day":
        day += timedelta(days=1)
    elif interval == "week":
        day += timedelta(days=7 - day.weekday())
    else:
        day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return utc_of(datetime.combine(day, time()), zone)
