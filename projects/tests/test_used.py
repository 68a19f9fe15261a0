"""When a key was last used: from the door to its row, once a minute."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import redis

from projects import used
from projects.authentication import KeyCache, KeyRefused, authenticate
from projects.keys import KeyKind
from projects.models import ApiKey

pytestmark = pytest.mark.django_db(transaction=True)


def at_the_door(*secrets):
    """One process that sees these keys, one after another, and remembers none of them."""

    async def ask():
        cache = KeyCache()
        try:
            for secret in secrets:
                cache._known.clear()
                await cache.grant(secret)
        finally:
            await cache.aclose()

    asyncio.run(ask())


def test_a_key_that_opened_the_door_says_when_and_others_never(valkey, make_project, make_key):
    project, secret = make_project()
    make_key(project)
    at_the_door(secret)
    assert used.copy(valkey) == 1
    first, other = ApiKey.objects.order_by("id")
    assert datetime.now(UTC) - first.last_used_at < timedelta(minutes=1)
    assert other.last_used_at is None
    assert used.copy(valkey) == 0
    assert not valkey.keys(f"{used.USED}*")


def test_a_read_key_is_noted_by_the_api(valkey, make_project, make_key):
    project, _ = make_project()
    key, secret = make_key(project, "read")
    authenticate(secret, KeyKind.READ)
    assert list(valkey.hgetall(used.USED)) == [str(key.pk).encode()]


def test_it_is_noted_once_a_minute_and_no_refused_key_is(valkey, make_project, make_key):
    project, _ = make_project()
    _, read = make_key(project, "read")
    noted = used.Noted()
    noted.note(valkey, 7)
    valkey.delete(used.USED)
    noted.note(valkey, 7)
    with pytest.raises(KeyRefused):
        authenticate(read, KeyKind.WRITE)
    assert not valkey.exists(used.USED)
    noted._minute -= 1  # it is the next one
    noted.note(valkey, 7)
    assert valkey.exists(used.USED)


def test_a_copy_that_was_cut_short_is_done_by_the_next_and_nothing_goes_back(valkey, make_project):
    key = make_project()[0].keys.get()
    late, early = datetime(2026, 1, 5, 9, tzinfo=UTC), datetime(2026, 1, 5, 8, tzinfo=UTC)
    valkey.hset(used.TAKEN, str(key.pk), str(int(late.timestamp())))
    valkey.hset(used.USED, str(key.pk), str(int(early.timestamp())))
    used.copy(valkey)
    key.refresh_from_db()
    assert key.last_used_at == late


def test_a_full_valkey_takes_no_note_and_the_key_works(valkey, make_project):
    _, secret = make_project()
    before = valkey.config_get("maxmemory")["maxmemory"]
    valkey.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.RedisError):
            valkey.set("x", "y")
        at_the_door(secret)
    finally:
        valkey.config_set("maxmemory", before)
    assert not valkey.exists(used.USED)
