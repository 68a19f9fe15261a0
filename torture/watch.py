"""How long until events are stored again, counted from the moment a fault's cause ended."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
import redis

from systemtest.stack import Stack

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds until a batch was stored again, and until all was as before.

    As before: an event that was accepted after the cause's end is stored, and nothing older waits, in any slot.
    """

    resumed: float
    caught_up: float


def recovery(stack: Stack, ended: float) -> Recovery:
    """Takes the end of the cause (epoch seconds), waits for both moments; infinite where one does not come in a minute."""
    resumed = _until(lambda: _last_stored(stack) > ended, ended)
    return Recovery(resumed, _until(lambda: _newest_stored(stack) > ended < _oldest_waiting(stack), ended))


def _until(condition: Callable[[], bool], ended: float) -> float:
    while time.time() - ended < PATIENCE_SECONDS:
        with suppress(psycopg2.Error, redis.RedisError):  # away: it is what was hit
            if condition():
                return time.time() - ended
        time.sleep(POLL_SECONDS)
    return math.inf


def _last_stored(stack: Stack) -> float:
    """When the latest batch with a new row was written. By id: slots may commit in another order."""
    statement = (
        "SELECT extract(epoch FROM max(stored_at))::float8"
        " FROM (SELECT stored_at FROM events_batch WHERE stored > 0 ORDER BY id DESC LIMIT 20) AS latest"
    )
    ((moment,),) = stack.ask(statement)
    return float(moment or 0.0)


def _newest_stored(stack: Stack) -> float:
    """The latest receipt among the latest rows of all slots."""
    statement = (
        "SELECT extract(epoch FROM max(received_at))::float8"
        " FROM (SELECT received_at FROM events_event ORDER BY id DESC LIMIT 2000) AS latest"
    )
    ((moment,),) = stack.ask(statement)
    return float(moment or 0.0)


def _oldest_waiting(stack: Stack) -> float:
    valkey: Any = stack.valkey
    oldest = valkey.xrange("es:stream", "-", "+", count=1)
    return int(oldest[0][0].split(b"-")[0]) / 1000 if oldest else math.inf
