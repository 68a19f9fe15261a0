"""The keys' mirror in Valkey, so that events are accepted while PostgreSQL is away.

Hash `es:keys`: SHA-256 of the secret in hex -> {"p": project, "k": "w" or "r", "id": key, "rev": revoked},
and "o": the origins whose pages may use it, where not any may.
PostgreSQL decides. Services write changes here after their commit; `rebuild`, called every second, repairs
whatever that missed: a Valkey that was away, emptied or replaced, a process that died between commit and
write.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import redis
from django.db.models import Count, Max, Sum

from projects.keys import KeyKind
from projects.models import ApiKey

MIRROR = "es:keys"
VERSION = "es:keys:version"
# The version answers "did anything change?" from counts alone. It expires, so that what no count shows (a
# field altered by hand, a backup of Valkey that happens to count the same) is found by a full comparison
# once a minute.
VERSION_SECONDS = 60
CHUNK = 1_000


class Grant(msgspec.Struct, frozen=True):
    """What a known key allows, as the mirror tells it."""

    project_id: int
    kind: KeyKind
    key_id: int
    revoked: bool
    origins: tuple[str, ...] = ()  # empty: any


class _Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    p: int
    k: Literal["w", "r"]
    id: int
    rev: bool
    o: tuple[str, ...] = ()


_KIND = {"w": KeyKind.WRITE, "r": KeyKind.READ}
_LETTER: dict[str, Literal["w", "r"]] = {"write": "w", "read": "r"}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Entry).decode


def read_entry(value: bytes | str) -> Grant:
    """Takes a field of the mirror, returns its grant. Raises msgspec.DecodeError on what is not ours."""
    entry = _decode(value)
    return Grant(entry.p, _KIND[entry.k], entry.id, entry.rev, entry.o)


def publish(client: redis.Redis, keys: Sequence[ApiKey]) -> None:
    """Writes these keys as they are now. Raises redis.RedisError; the next `rebuild` then makes up for it."""
    # A Valkey at its memory limit refuses HSET and still does HDEL: so a revoked key stops working even
    # then, as an unknown one until there is room again.
    _remove(client, [key.digest for key in keys if key.revoked])
    for start in range(0, len(keys), CHUNK):
        client.hset(MIRROR, mapping={key.digest: _entry(key) for key in keys[start : start + CHUNK]})
    client.delete(
        VERSION
    )  # two processes may publish one key in the wrong order: the next tick compares all of it


def withdraw(client: redis.Redis, digests: Sequence[str]) -> None:
    """Removes keys whose rows are gone. Raises redis.RedisError; the next `rebuild` then makes up for it."""
    _remove(client, digests)
    client.delete(VERSION)


def rebuild(client: redis.Redis) -> int:
    """Makes the mirror equal to the database and returns how many entries it wrote or removed.

    One aggregate and two small reads when nothing changed. Raises redis.RedisError and django.db.Error; a
    crash midway leaves the old version behind, and so the next call does the rest.
    """
    version, count = _version_of_database()
    if client.get(VERSION) == version and client.hlen(MIRROR) == count:
        return 0
    # Valkey is read first: what the database tells afterwards is then at least as new as what it is
    # compared with, and a revocation published in between is not overwritten by what was true before it.
    mirrored = {field.decode(): value for field, value in client.hscan_iter(MIRROR, count=CHUNK)}
    keys = list(ApiKey.objects.only("digest", "project_id", "kind", "revoked_at", "allowed_origins"))
    changed = [key for key in keys if mirrored.pop(key.digest, None) != _entry(key)]
    publish(client, changed)
    withdraw(client, list(mirrored))
    client.set(VERSION, _version_of(keys), ex=VERSION_SECONDS)
    return len(changed) + len(mirrored)


def _entry(key: ApiKey) -> bytes:
    origins = tuple(key.allowed_origins)
    return _encode(_Entry(key.project_id, _LETTER[key.kind], key.pk, key.revoked, origins))


def _remove(client: redis.Redis, digests: Sequence[str]) -> None:
    for start in range(0, len(digests), CHUNK):
        client.hdel(MIRROR, *digests[start : start + CHUNK])


def _version_of_database() -> tuple[bytes, int]:
    """Keys are added, revoked or purged, and each of these moves one of the four numbers; of a change of origins the
    version does not tell: it is published at once, or else found within VERSION_SECONDS.
    """
    numbers = ApiKey.objects.aggregate(
        keys=Count("id"), last=Max("id"), total=Sum("id"), revoked=Count("revoked_at")
    )
    count = numbers["keys"]
    return _version(count, numbers["last"] or 0, int(numbers["total"] or 0), numbers["revoked"]), count


def _version_of(keys: Sequence[ApiKey]) -> bytes:
    ids = [key.pk for key in keys]
    return _version(len(ids), max(ids, default=0), sum(ids), sum(key.revoked for key in keys))


def _version(*numbers: int) -> bytes:
    return ":".join(map(str, numbers)).encode()
