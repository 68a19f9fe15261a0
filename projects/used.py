"""When a key was last used: noted in Valkey once a minute by each process that sees it, brought to the database by the tick.

Only keys that opened a door are noted, so what waits in Valkey is bounded by the keys there are; a request with a key that is
known already costs nothing. What cannot be noted is lost: the next minute says it again.
"""

import time
from datetime import UTC, datetime
from typing import Final

import redis
import redis.asyncio
from django.db import connection

USED: Final = "es:keys:used"  # hash: key -> epoch seconds
TAKEN: Final = "es:keys:used:taken"  # by a copy that has not ended
SECONDS: Final = 60
CHUNK: Final = 1_000
# Plan: each key by its primary key. What another copy wrote meanwhile is never put back.
_COPY: Final = """
UPDATE projects_apikey AS key SET last_used_at = used.at
FROM unnest(%s::bigint[], %s::timestamptz[]) AS used(id, at)
WHERE key.id = used.id AND (key.last_used_at IS NULL OR key.last_used_at < used.at)
"""


class Noted:
    """The keys that this process has noted in the current minute."""

    def __init__(self) -> None:
        self._minute = 0
        self._keys: set[int] = set()

    async def note_async(self, client: redis.asyncio.Redis, key_id: int) -> None:
        """Raises redis.RedisError."""
        if now := self._first_of_minute(key_id):
            await client.hset(USED, str(key_id), str(now))

    def note(self, client: redis.Redis, key_id: int) -> None:
        """Raises redis.RedisError."""
        if now := self._first_of_minute(key_id):
            client.hset(USED, str(key_id), str(now))

    def _first_of_minute(self, key_id: int) -> int:
        """Returns the time in epoch seconds, 0 where it is noted already; what then fails is not tried again this minute."""
        now = int(time.time())
        if (minute := now // SECONDS) != self._minute:
            self._minute, self._keys = minute, set()
        if key_id in self._keys:
            return 0
        self._keys.add(key_id)
        return now


def copy(client: redis.Redis) -> int:
    """Brings what was noted to the keys' rows, returns how many were noted. Raises redis.RedisError and django.db.Error.

    A crash midway leaves the taken ones in Valkey; the next copy does them again, which changes nothing.
    """
    copied = _copy(client)
    try:
        client.rename(USED, TAKEN)
    except redis.ResponseError:
        return copied  # no key was used since
    return copied + _copy(client)


def _copy(client: redis.Redis) -> int:
    taken = [(int(key), datetime.fromtimestamp(int(at), UTC)) for key, at in client.hgetall(TAKEN).items()]
    for start in range(0, len(taken), CHUNK):
        ids, moments = zip(*sorted(taken[start : start + CHUNK]), strict=True)
        with connection.cursor() as cursor:
            cursor.execute(_COPY, [list(ids), list(moments)])
    if taken:
        client.delete(TAKEN)
    return len(taken)
