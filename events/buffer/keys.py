"""The names in Valkey, and the scripts that run there."""

import time
from functools import cache
from pathlib import Path
from typing import Any, Final

import redis
import redis.asyncio

STREAM: Final = "es:stream"
DEPTH: Final = "es:depth"  # hash: e events, b bytes, e:<project> events of one, drained ever, rate a second
ACCEPTED: Final = "es:accepted"  # hash: <project>:<hour> -> events accepted
EPOCH: Final = "es:epoch"  # made with the stream: a replaced Valkey may repeat entry ids
PROGRESS: Final = "es:progress"  # epoch ms of the last acked batch
FAILURE: Final = "es:failure:"  # + slot; hash: the slot's last failed run
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
    return FAILURE + str(slot)


def now_ms() -> int:
    return int(time.time() * 1000)


@cache
def script(name: str) -> str:
    return (Path(__file__).parent / f"{name}.lua").read_text()


def run(client: redis.Redis, name: str, keys: list[str], args: list[Any]) -> Any:
    """Runs one of our scripts; it is loaded where it is not known yet. Raises redis.RedisError."""
    return client.register_script(script(name))(keys=keys, args=args)


async def run_async(client: redis.asyncio.Redis, name: str, keys: list[str], args: list[Any]) -> Any:
    return await client.register_script(script(name))(keys=keys, args=args)
