"""How often somebody may try to sign in: by address and name, counted in Valkey."""

import hashlib
import logging
from dataclasses import dataclass
from typing import Final

import redis

from eventsite.valkey import sync_client

logger = logging.getLogger(__name__)

FAILURES: Final = 10
WINDOW_SECONDS: Final = 900
PREFIX: Final = "es:signin:"


@dataclass(frozen=True, slots=True)
class Standing:
    """`wait_seconds`: 0 where another try is allowed."""

    wait_seconds: int


def standing(address: str, name: str) -> Standing:
    """Says whether this pair may try. A Valkey that is away lets everybody try: passwords stay slow to check."""
    try:
        key = _key(address, name)
        failures = sync_client().get(key)
        if int(failures or 0) < FAILURES:
            return Standing(0)
        left = sync_client().ttl(key)
        return Standing(max(1, left))
    except redis.RedisError as error:
        logger.warning("sign-in attempts are not counted: %s", type(error).__name__)
        return Standing(0)


def failed(address: str, name: str) -> None:
    """Counts a failure; the first of a window says when it ends."""
    try:
        pipe = sync_client().pipeline()
        pipe.incr(_key(address, name))
        pipe.expire(_key(address, name), WINDOW_SECONDS, nx=True)
        pipe.execute()
    except redis.RedisError as error:
        logger.warning("a failed sign-in was not counted: %s", type(error).__name__)


def succeeded(address: str, name: str) -> None:
    """Forgets the failures before a success."""
    try:
        sync_client().delete(_key(address, name))
    except redis.RedisError as error:
        logger.warning("failed sign-ins were not forgotten: %s", type(error).__name__)


def _key(address: str, name: str) -> str:
    """Digested: what people type for a name is theirs, and as long as they like."""
    return PREFIX + hashlib.sha256(f"{address}\0{name.casefold()}".encode(errors="replace")).hexdigest()
