"""Which servers do, checked where they are first used: at the start."""

from typing import Any

POSTGRES_MIN = 17  # transaction_timeout, and MERGE/COPY options that the store relies on
REDIS_MIN = (7, 2)
REDIS_MIN_TEXT = "7.2"


class TooOld(Exception):
    """A server is older than what the code needs; the text is one clear line."""


class Unfit(Exception):
    """A server whose settings would lose events; the text is one clear line."""


def check_postgres(server_version: int) -> None:
    """Takes libpq's number (170004 is 17.4)."""
    if server_version // 10_000 < POSTGRES_MIN:
        found = f"{server_version // 10_000}.{server_version % 10_000}"
        raise TooOld(
            f"PostgreSQL {found} is too old: Eventsite needs {POSTGRES_MIN} or newer (DATABASE_URL)."
        )


def check_redis(info: dict[str, Any]) -> None:
    """Takes INFO's server section. Valkey calls itself redis 7.2.4 for its clients' sake and tells its own
    beside."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    told = str(info.get("valkey_version") or info.get("redis_version") or "0")
    numbers = tuple(int(part) for part in told.split(".")[:2] if part.isdigit())
    if numbers < REDIS_MIN:
        raise TooOld(f"{name} {told} is too old: Eventsite needs {REDIS_MIN_TEXT} or newer (REDIS_URL).")


def check_memory(info: dict[str, Any], queue_bytes: int) -> None:
    """Takes INFO's memory section: a queue must not be evicted, and must leave room for what drains it."""
    policy, limit = info.get("maxmemory_policy", "noeviction"), int(info.get("maxmemory", 0))
    if policy != "noeviction":
        raise Unfit(
            f"Valkey's maxmemory-policy is {policy}, which may evict events: set noeviction (REDIS_URL)."
        )
    if limit and queue_bytes > limit // 2:
        raise Unfit(
            f"EVENTS_QUEUE_MAX_BYTES ({queue_bytes}) is more than half of Valkey's maxmemory ({limit}): lower it or raise that."
        )
