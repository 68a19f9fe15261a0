"""The names in Valkey, and the scripts that run there."""

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import redis
import redis.asyncio

STREAM: Final = "es:stream"
# hash: n entries, e events, b bytes; e:<project>, q:<project>:<hour> events of one; drained ever, rate a second
DEPTH: Final = "es:depth"
ACCEPTED: Final = "es:accepted"  # hash: <project>:<hour> -> events accepted
TICKED: Final = "es:ticked"  # epoch ms of the last tick
RESUMED: Final = "es:resumed"  # epoch ms at which a pause ended last
EPOCH: Final = "es:epoch"  # made with the stream: a replaced Valkey may repeat entry ids
PROGRESS: Final = "es:progress"  # epoch ms of the last acked batch
LAKE_PROGRESS: Final = "es:lake"  # epoch seconds at which the lake's worker last sealed what there was
PAUSED: Final = "es:paused"  # why nothing is drained; absent: it is
CRASHES: Final = "es:crashes"  # hash: entry id -> how often a worker died at it
KILLERS: Final = "es:killers"  # hash: entry id -> places of the events in it that a worker died at
WINDOW: Final = "es:window"  # list: events, failed and projects of the latest batches, while any failed
BURY_LEAVE: Final = "es:bury"  # exists while the breaker is off
BUCKETS: Final = "es:buckets"  # hash: project -> tokens and time of its rate quota
DAY: Final = "es:day:"  # + days since the epoch; hash: project -> events accepted that day
REJECTED: Final = "es:rejected"  # hash: <project>:<hour>:<code> -> events refused
DRAIN_LIST: Final = "drain"  # Celery's list of drain messages
GROUP: Final = "drain"
MAX_SLOTS: Final = 32


def consumer(slot: int) -> str:
    return f"slot-{slot}"


def bell(slot: int) -> str:
    return f"es:bell:{slot}"


def hold_key(slot: int) -> str:
    return f"es:hold:{slot}"


def failure_key(slot: int) -> str:
    """A hash: the slot's last failed run."""
    return f"es:failure:{slot}"


def attempts_key(slot: int) -> str:
    """A hash: n, how many attempts at the slot's batch failed, and by their numbers those that are kept."""
    return f"es:attempts:{slot}"


def work_key(slot: int) -> str:
    """The ids that the slot's run is at; there while it lasts, and after it died."""
    return f"es:work:{slot}"


def row_key(slot: int) -> str:
    """Entry id and place of the one event that the slot's run is at."""
    return f"es:row:{slot}"


def now_ms() -> int:
    return int(time.time() * 1000)


def now_text() -> str:
    """To the microsecond; a script reads large numbers less exactly."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@cache
def script(name: str) -> str:
    return (Path(__file__).parent / f"{name}.lua").read_text()


def run(client: redis.Redis, name: str, keys: list[str], args: list[Any]) -> Any:
    """Runs one of our scripts; it is loaded where it is not known yet. Raises redis.RedisError."""
    return client.register_script(script(name))(keys=keys, args=args)


async def run_async(client: redis.asyncio.Redis, name: str, keys: list[str], args: list[Any]) -> Any:
    return await client.register_script(script(name))(keys=keys, args=args)
