"""The oldest servers that work, checked where they are first used: at the start."""

from typing import Any

POSTGRES_MIN = 17  # transaction_timeout, and MERGE/COPY options that the store relies on
REDIS_MIN = (7, 2)
REDIS_MIN_TEXT = "7.2"


class TooOld(Exception):
    """A server is older than what the code needs; the text is one clear line."""


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
