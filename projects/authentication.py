"""From a request's credentials to a grant: `KeyCache` for the ASGI edge, `authenticate` for WSGI and DRF.

Both ask the mirror in Valkey, never PostgreSQL. No secret appears in an error, a log line or a repr.
"""

import asyncio
import base64
import binascii
import contextlib
import time
from collections import OrderedDict
from hashlib import sha256
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
import redis
import redis.asyncio
from django.conf import settings

from eventsite.valkey import async_client, sync_client
from projects import keyring, keys, used
from projects.codes import MESSAGE, STATUS, Code
from projects.keyring import Grant
from projects.keys import KeyKind

MAX_KNOWN = 100_000
MAX_REFUSED = 10_000
MAX_LOOK_UPS = 16  # at a time: a cold start with many keys must not open a connection for each
LOOK_UP_SECONDS = 0.9  # waiting for a turn included: with the push after it, a request is answered within 2

NOTE_SECONDS = 0.1  # the requests that wait for a look-up wait for this too, once a minute

T = TypeVar("T")
_noted = used.Noted()  # by `authenticate`, whichever thread it runs in


class KeyRefused(Exception):
    """A key that does not open this door: `code` says why, `status` is HTTP's, the text is for people."""

    def __init__(self, code: Code) -> None:
        super().__init__(MESSAGE[code])
        self.code = code
        self.status = STATUS[code]


class KeyStoreUnavailable(Exception):
    """The mirror could not be asked: the key may be right. Answered 503, never 401."""

    code = Code.KEY_STORE_UNAVAILABLE
    status = STATUS[Code.KEY_STORE_UNAVAILABLE]

    def __init__(self) -> None:
        super().__init__(MESSAGE[self.code])


def secret_from(authorization: bytes | None, x_api_key: bytes | None, query_string: bytes) -> str | None:
    """Returns the key that a request carries, None if it has none. Pure; says nothing about its being right.

    In this order: `Authorization: Bearer K`, `X-Api-Key: K`, the user name of HTTP Basic (colon or not),
    `?key=K`.
    """
    scheme, _, rest = (authorization or b"").strip().partition(b" ")
    scheme = scheme.lower()
    found = rest if scheme == b"bearer" else b""
    found = found.strip() or (x_api_key or b"").strip()
    if not found and scheme == b"basic":
        found = _basic_user(rest)
    if not found and b"key=" in query_string:
        pairs = parse_qsl(query_string.decode("latin-1"), encoding="latin-1")
        return next((value.strip() for name, value in pairs if name == "key"), "") or None
    return found.decode("latin-1") or None


def _basic_user(credentials: bytes) -> bytes:
    try:
        return base64.b64decode(credentials.strip()).partition(b":")[0].strip()
    except binascii.Error:
        return b""


def authenticate(secret: str | None, kind: KeyKind) -> Grant:
    """Takes what `secret_from` found, returns the grant of a live key of that kind; asks Valkey every time.

    Raises KeyRefused, or KeyStoreUnavailable within about a second.
    """
    digest = keys.digest(_well_formed(secret, kind))
    try:
        value = sync_client().hget(keyring.MIRROR, digest)
    except redis.RedisError as error:
        raise KeyStoreUnavailable from error
    verdict = _verdict(value, kind)
    if isinstance(verdict, Code):
        raise KeyRefused(verdict)
    with contextlib.suppress(redis.RedisError):  # a full Valkey takes no notes
        _noted.note(sync_client(), verdict.key_id)
    return verdict


class KeyCache:
    """Grants of one kind of key, kept for EVENTS_KEY_CACHE_SECONDS; for one event loop.

    A revoked key is refused at most that long after the mirror knows, and a key that is new after a wrong
    try works as soon. Refusals are kept in a bounded LRU of their own, so that guessing cannot push out
    good keys.
    """

    def __init__(self, client: redis.asyncio.Redis | None = None, *, kind: KeyKind = KeyKind.WRITE) -> None:
        self._client = client
        self._kind = kind
        self._known: OrderedDict[bytes, tuple[Grant, float]] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[Code, float]] = OrderedDict()
        self._in_flight: dict[bytes, asyncio.Task[Grant | Code | None]] = {}
        self._turns = asyncio.Semaphore(MAX_LOOK_UPS)
        self._noted = used.Noted()

    def cached(self, secret: bytes | str) -> Grant | None:
        """Returns the grant of a good key looked up lately, else None: then `grant` finds out. About 1 µs."""
        if isinstance(secret, str):
            secret = secret.encode(errors="backslashreplace")
        entry = self._known.get(sha256(secret).digest())
        if entry is not None and entry[1] > time.monotonic():
            return entry[0]
        return None

    async def grant(self, secret: bytes | str | None) -> Grant:
        """Returns the grant of a live key. Raises KeyRefused, or KeyStoreUnavailable within LOOK_UP_SECONDS.

        Requests with the same key wait for one look-up; one of them going away leaves it to the others.
        """
        text = _well_formed(secret.decode("latin-1") if isinstance(secret, bytes) else secret, self._kind)
        if (known := self.cached(text)) is not None:
            return known
        digest = sha256(text.encode()).digest()
        verdict: Grant | Code | None = self._refusal(digest)
        if verdict is None:
            look_up = self._in_flight.get(digest)
            if look_up is None:
                look_up = self._in_flight[digest] = asyncio.create_task(self._look_up(digest))
            verdict = await asyncio.shield(look_up)
        if verdict is None:
            raise KeyStoreUnavailable
        if isinstance(verdict, Code):
            raise KeyRefused(verdict)
        return verdict

    async def aclose(self) -> None:
        """Closes the connection to Valkey."""
        if self._client is not None:
            await self._client.aclose()

    def _refusal(self, digest: bytes) -> Code | None:
        entry = self._refused.get(digest)
        if entry is None or entry[1] <= time.monotonic():
            return None
        self._refused.move_to_end(digest)
        return entry[0]

    async def _look_up(self, digest: bytes) -> Grant | Code | None:
        """Asks the mirror and remembers its answer; None if it could not be asked.

        Raises nothing: its waiters may all be gone, and then nobody would hear of it.
        """
        # Counted from before the question: what Valkey answers may be as old as that.
        expires = time.monotonic() + settings.EVENTS_KEY_CACHE_SECONDS
        try:
            if self._client is None:
                self._client = async_client()
            async with asyncio.timeout(LOOK_UP_SECONDS), self._turns:
                value = await self._client.hget(keyring.MIRROR, digest.hex())
            verdict = _verdict(value, self._kind)
        except (redis.RedisError, TimeoutError, KeyStoreUnavailable):
            return None
        finally:
            del self._in_flight[digest]
        if isinstance(verdict, Code):
            self._known.pop(digest, None)
            _remember(self._refused, digest, (verdict, expires), MAX_REFUSED)
        else:
            _remember(self._known, digest, (verdict, expires), MAX_KNOWN)
            with contextlib.suppress(redis.RedisError, TimeoutError):  # a full Valkey takes no notes
                async with asyncio.timeout(NOTE_SECONDS):
                    await self._noted.note_async(self._client, verdict.key_id)
        return verdict


def _remember(cache: OrderedDict[bytes, T], digest: bytes, entry: T, limit: int) -> None:
    cache[digest] = entry
    cache.move_to_end(digest)
    if len(cache) > limit:
        cache.popitem(last=False)


def _well_formed(secret: str | None, kind: KeyKind) -> str:
    """Refuses what needs no look-up: nothing, garbage, and a key that says itself it is of the other kind."""
    if not secret:
        raise KeyRefused(Code.MISSING_KEY)
    claimed = keys.kind_of(secret)
    if claimed is None:
        raise KeyRefused(Code.INVALID_KEY)
    if claimed is not kind:
        raise KeyRefused(Code.WRONG_KEY_KIND)
    return secret


def _verdict(value: bytes | str | None, kind: KeyKind) -> Grant | Code:
    """Takes the mirror's answer. A damaged entry may be a good key's: unavailable until it is mended."""
    if value is None:
        return Code.INVALID_KEY
    try:
        grant = keyring.read_entry(value)
    except msgspec.DecodeError as error:
        raise KeyStoreUnavailable from error
    if grant.revoked:
        return Code.KEY_REVOKED
    return grant if grant.kind is kind else Code.WRONG_KEY_KIND
