"""What an error means and how long to wait. Pure: no database, no Celery."""

import hashlib
import re
from typing import Final

import redis
from django import db

# By SQLSTATE, never by exception class: psycopg2 raises read-only (25006) as InternalError and 54xxx (data) as OperationalError.
TRANSIENT_PREFIXES: Final = (
    "08",  # connection
    "40001",  # serialization failure
    "40P01",  # deadlock
    "53",  # disk full, out of memory, too many connections
    "57P0",  # shutting down, starting up, crashed
    "57014",  # cancelled: statement timeout
    "25006",  # read-only
    "25P04",  # transaction timeout
    "55P03",  # lock not available
    "58",  # I/O error below PostgreSQL
    "XX",  # a fault of PostgreSQL's own
)
UNIQUE_VIOLATION: Final = "23505"
BAD_DATA_PREFIXES: Final = ("22", "23", "54")
# What differs between events that fail for one and the same reason: what they hold, and the day's partition.
_VALUES: Final = re.compile(r'"[^"]*"|\'[^\']*\'|\d+')
CONNECTION_LOST: Final = "08006"  # where the driver gives none
QUEUE_AWAY: Final = "queue"


class Transient(Exception):
    """The infrastructure failed, not the data: the batch stays with its slot and is tried again."""

    def __init__(self, sqlstate: str, detail: str) -> None:
        super().__init__(sqlstate, detail)  # both, so that a message queue can carry it
        self.sqlstate = sqlstate
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.sqlstate}: {self.detail}"


class BadData(Exception):
    """PostgreSQL refuses the data itself; trying again will not help."""

    def __init__(self, sqlstate: str, detail: str, field: str | None = None) -> None:
        super().__init__(sqlstate, detail)
        self.sqlstate = sqlstate
        self.detail = detail
        self.field = field

    def __str__(self) -> str:
        return f"{self.sqlstate}: {self.detail}"


def classify(error: Exception) -> Transient | BadData | None:
    """Takes what a driver raised, returns what it means, or None for an error that is nobody's but ours."""
    detail = " ".join(str(error).split())[:500]
    if isinstance(error, redis.RedisError):
        return Transient(QUEUE_AWAY, detail)
    driver_error = error.__cause__ if isinstance(error, db.Error) and error.__cause__ else error
    sqlstate = getattr(driver_error, "pgcode", None)
    if sqlstate is None:
        if isinstance(error, db.OperationalError | db.InterfaceError):
            return Transient(CONNECTION_LOST, detail)
        return BadData("22000", detail) if isinstance(error, ValueError | db.DataError) else None
    if sqlstate == UNIQUE_VIOLATION or sqlstate.startswith(TRANSIENT_PREFIXES):
        return Transient(sqlstate, detail)
    if sqlstate.startswith(BAD_DATA_PREFIXES):
        diagnosis = getattr(driver_error, "diag", None)
        field = getattr(diagnosis, "column_name", None) or getattr(diagnosis, "constraint_name", None)
        return BadData(sqlstate, detail, field)
    return None


def fingerprint(code: str, sqlstate: str, field: str, detail: str) -> str:
    """Takes a failure, returns 16 hex digits that are the same for the same cause, whatever the values."""
    cause = "" if field else _VALUES.sub("", detail.partition(" DETAIL: ")[0].partition(" CONTEXT: ")[0])
    return hashlib.sha256(f"{code}:{sqlstate}:{field}:{cause}".encode()).hexdigest()[:16]


def backoff_seconds(attempt: int, *, base: int, cap: int) -> int:
    """The longest wait before attempt 1, 2, 3...: base doubled each time, up to cap."""
    return int(min(cap, base * 2 ** max(0, attempt - 1)))


def halves(rows: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    middle = len(rows) // 2
    return rows[:middle], rows[middle:]
