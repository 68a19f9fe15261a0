"""Clients of the one Valkey (or Redis) that holds the queue, the keys' mirror and Celery's messages."""

from functools import cache

import redis
import redis.asyncio
from django.conf import settings

# A hung server must answer its callers with an error, not with silence; redis-py's default retries ten times and
# sends an XADD again each time.
SOCKET_SECONDS = 1.0


@cache
def sync_client() -> redis.Redis:
    """Returns this process's blocking client: no retries, every call over within about a second. Errors: redis.RedisError."""
    return redis.Redis.from_url(
        settings.REDIS_URL, retry=None, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS
    )


def async_client() -> redis.asyncio.Redis:
    """Returns a new asyncio client with the same limits; it belongs to the running event loop."""
    return redis.asyncio.Redis.from_url(
        settings.REDIS_URL, retry=None, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS
    )
