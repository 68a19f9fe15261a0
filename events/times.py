"""Times as clients send them. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Any

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MAX_AHEAD = timedelta(hours=24)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Above each bound a number of that unit would lie thousands of years ahead: it is the next finer unit.
_MILLISECONDS, _MICROSECONDS, _NANOSECONDS = 1e11, 1e14, 1e17


def parse(value: Any) -> datetime | None:
    """Takes RFC 3339 text (without a zone: UTC) or epoch seconds to nanoseconds, by size. Returns UTC, or None."""
    try:
        if isinstance(value, str):
            return _from_text(value.strip())
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _from_epoch(value)
    except (ValueError, OverflowError):
        return None
    return None


def is_plausible(time: datetime, now: datetime) -> bool:
    return EARLIEST <= time <= now + MAX_AHEAD


def shifted(time: datetime, by: timedelta) -> datetime | None:
    try:
        return time + by
    except OverflowError:
        return None


def text(time: datetime) -> str:
    """Takes an aware time in UTC, returns RFC 3339 with microseconds and Z."""
    return time.isoformat(timespec="microseconds")[:26] + "Z"


def _from_text(value: str) -> datetime:
    if len(value) >= 9 and value.replace(".", "", 1).isdecimal() and value.isascii():
        return _from_epoch(float(value) if "." in value else int(value))
    if len(value) < 10 or value[4] != "-":
        raise ValueError("no calendar date")
    time = datetime.fromisoformat(value.upper())
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _from_epoch(number: float) -> datetime:
    size = abs(number)
    if size < _MILLISECONDS:
        return EPOCH + timedelta(seconds=number)
    if size < _MICROSECONDS:
        return EPOCH + timedelta(milliseconds=number)
    return EPOCH + timedelta(microseconds=number if size < _NANOSECONDS else number // 1000)
