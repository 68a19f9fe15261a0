"""From credentials to a grant: `secret_from`, `authenticate` and the edge's `KeyCache`."""

import asyncio
import base64
import time

import pytest
import redis.asyncio

from eventsite.valkey import async_client
from projects import authentication, keyring, keys
from projects.authentication import KeyCache, KeyRefused, KeyStoreUnavailable, authenticate, secret_from
from projects.codes import Code
from projects.keyring import MIRROR
from projects.keys import KeyKind
from projects.services import revoke_key


def basic(text):
    return b"Basic " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("authorization", "x_api_key", "query_string", "expected"),
    [
        (b"Bearer K", None, b"", "K"),
        (b"bearer  K ", None, b"", "K"),
        (None, b" K\t", b"", "K"),
        (basic(b"K"), None, b"", "K"),
        (basic(b"K:"), None, b"", "K"),
        (basic(b"K:password"), None, b"", "K"),
        (None, None, b"key=K", "K"),
        (None, None, b"a=1&key=%4B+&b=2", "K"),
        (b"Bearer K", b"other", b"key=another", "K"),
        (b"Bearer", b"K", b"", "K"),
        (b"Token t", b"K", b"", "K"),
        (b"Token t", None, b"key=K", "K"),
        (None, None, b"", None),
        (b"", b"", b"key=", None),
        (b"Basic", None, b"", None),
        (b"Basic \xff\xff", None, b"", None),
        (b"Basic =", None, b"", None),
        (basic(b":password"), None, b"", None),
        (None, None, b"monkey=K", None),
        (b"Bearer \xff\x00", None, b"", "\xff\x00"),
    ],
)
def test_a_key_is_found_where_clients_put_it(authorization, x_api_key, query_string, expected):
    assert secret_from(authorization, x_api_key, query_string) == expected


class TestAuthenticate:
    """The synchronous twin, for WSGI and DRF."""

    pytestmark = pytest.mark.django_db(transaction=True)

    def test_a_live_key_gets_its_grant(self, valkey, make_project):
        project, write_key = make_project()
        assert authenticate(write_key, KeyKind.WRITE).project_id == project.pk

    def test_a_revoked_key_is_refused_at_once(self, valkey, make_project):
        project, write_key = make_project()
        revoke_key(project.keys.get())
        with pytest.raises(KeyRefused) as refused:
            authenticate(write_key, KeyKind.WRITE)
        assert (refused.value.code, refused.value.status) == (Code.KEY_REVOKED, 403)

    @pytest.mark.parametrize(
        ("secret", "code", "status"),
        [
            (None, Code.MISSING_KEY, 401),
            ("", Code.MISSING_KEY, 401),
            ("nonsense", Code.INVALID_KEY, 401),
            (keys.generate(KeyKind.WRITE), Code.INVALID_KEY, 401),
            (keys.generate(KeyKind.READ), Code.WRONG_KEY_KIND, 403),
        ],
        ids=["none", "empty", "garbage", "unknown", "read key"],
    )
    def test_refusals_have_codes(self, valkey, secret, code, status):
        with pytest.raises(KeyRefused) as refused:
            authenticate(secret, KeyKind.WRITE)
        assert (refused.value.code, refused.value.status) == (code, status)
        assert not secret or secret not in repr(refused.value)

    def test_without_valkey_a_key_is_neither_right_nor_wrong(self, valkey, make_project, services):
        _, write_key = make_project()
        services.valkey.stop()
        with pytest.raises(KeyStoreUnavailable):
            authenticate(write_key, KeyKind.WRITE)

    def test_a_hung_valkey_is_given_up_within_two_seconds(self, valkey, make_project, services):
        _, write_key = make_project()
        services.valkey.freeze()
        started = time.monotonic()
        with pytest.raises(KeyStoreUnavailable):
            authenticate(write_key, KeyKind.WRITE)
        assert time.monotonic() - started < 2


@pytest.fixture
def project(transactional_db, valkey, make_project):
    return make_project()


def refusal(cache, secret):
    async def ask():
        with pytest.raises(KeyRefused) as refused:
            await cache.grant(secret)
        return refused.value.code

    return ask()


class Counting(redis.asyncio.Redis):
    """Counts its questions."""

    asked = 0

    async def hget(self, name, key):
        self.asked += 1
        return await super().hget(name, key)


def counting():
    return Counting(connection_pool=async_client().connection_pool)


def run(story):
    """Runs an async story with a cache whose connection is closed after it."""

    async def whole():
        client = counting()
        cache = KeyCache(client)
        try:
            await story(cache, client)
        finally:
            await cache.aclose()

    asyncio.run(whole())


def test_a_key_is_looked_up_once_and_then_known(project):
    async def story(cache, client):
        assert cache.cached(project.write_key) is None
        grant = await cache.grant(project.write_key)
        assert grant.project_id == project.project.pk
        assert cache.cached(project.write_key) == cache.cached(project.write_key.encode()) == grant
        assert await cache.grant(project.write_key) == grant
        assert client.asked == 1

    run(story)


def test_requests_at_the_same_time_share_one_look_up(project):
    async def story(cache, client):
        grants = await asyncio.gather(*(cache.grant(project.write_key) for _ in range(100)))
        assert len(set(grants)) == client.asked == 1

    run(story)


def test_a_client_that_leaves_does_not_take_the_look_up_along(project):
    async def story(cache, client):
        leaver = asyncio.create_task(cache.grant(project.write_key))
        stayer = asyncio.create_task(cache.grant(project.write_key))
        await asyncio.sleep(0)
        leaver.cancel()
        assert (await stayer).project_id == project.project.pk
        assert client.asked == 1

    run(story)


def test_a_revoked_key_is_refused_within_the_cache_time(project, settings):
    settings.EVENTS_KEY_CACHE_SECONDS = 0.2
    key = project.project.keys.get()

    async def story(cache, client):
        await cache.grant(project.write_key)
        await asyncio.to_thread(revoke_in_thread, key)
        deadline = time.monotonic() + settings.EVENTS_KEY_CACHE_SECONDS
        while cache.cached(project.write_key):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert await refusal(cache, project.write_key) == Code.KEY_REVOKED

    run(story)


def revoke_in_thread(key):
    from django.db import connection

    revoke_key(key)
    connection.close()


def test_a_key_made_after_a_wrong_try_works_within_the_cache_time(valkey, settings):
    settings.EVENTS_KEY_CACHE_SECONDS = 0.1
    secret = keys.generate(KeyKind.WRITE)

    async def story(cache, client):
        assert await refusal(cache, secret) == Code.INVALID_KEY
        valkey.hset(MIRROR, keys.digest(secret), b'{"p":7,"k":"w","id":1,"rev":false}')
        assert await refusal(cache, secret) == Code.INVALID_KEY
        assert client.asked == 1
        await asyncio.sleep(settings.EVENTS_KEY_CACHE_SECONDS)
        assert (await cache.grant(secret)).project_id == 7

    run(story)


def test_garbage_and_read_keys_cost_no_look_up(valkey):
    async def story(cache, client):
        for secret, code in [
            (None, Code.MISSING_KEY),
            ("", Code.MISSING_KEY),
            ("garbage", Code.INVALID_KEY),
            (b"\xff\x00", Code.INVALID_KEY),
            ("\ud800", Code.INVALID_KEY),
            (keys.generate(KeyKind.READ), Code.WRONG_KEY_KIND),
        ]:
            assert await refusal(cache, secret) == code
        assert cache.cached("\ud800") is None
        assert client.asked == 0

    run(story)


def test_a_key_whose_prefix_lies_is_judged_by_the_mirror(valkey):
    secret = keys.generate(KeyKind.WRITE)
    valkey.hset(MIRROR, keys.digest(secret), b'{"p":7,"k":"r","id":1,"rev":false}')

    async def story(cache, client):
        assert await refusal(cache, secret) == Code.WRONG_KEY_KIND

    run(story)


def test_refusals_are_bounded_and_do_not_push_out_good_keys(project, settings, monkeypatch):
    settings.EVENTS_KEY_CACHE_SECONDS = 4
    monkeypatch.setattr(authentication, "MAX_REFUSED", 50)

    async def story(cache, client):
        await cache.grant(project.write_key)
        for _ in range(200):
            await refusal(cache, keys.generate(KeyKind.WRITE))
        assert len(cache._refused) == 50
        assert cache.cached(project.write_key)

    run(story)


def test_without_valkey_known_keys_serve_their_time_and_others_are_unavailable(project, services, settings):
    settings.EVENTS_KEY_CACHE_SECONDS = 0.3
    other = keys.generate(KeyKind.WRITE)

    async def story(cache, client):
        await cache.grant(project.write_key)
        await asyncio.to_thread(services.valkey.kill)
        assert (await cache.grant(project.write_key)).project_id == project.project.pk
        with pytest.raises(KeyStoreUnavailable):
            await cache.grant(other)
        while cache.cached(project.write_key):
            await asyncio.sleep(0.01)
        with pytest.raises(KeyStoreUnavailable):
            await cache.grant(project.write_key)

    run(story)


def test_a_hung_valkey_is_given_up_within_two_seconds_by_all_who_wait(valkey, services):
    secrets = [keys.generate(KeyKind.WRITE) for _ in range(100)]
    services.valkey.freeze()

    async def story(cache, client):
        started = time.monotonic()
        answers = await asyncio.gather(*map(cache.grant, secrets), return_exceptions=True)
        assert time.monotonic() - started < 2
        assert {type(answer) for answer in answers} == {KeyStoreUnavailable}

    run(story)


def test_a_damaged_entry_is_unavailable_not_unknown(valkey):
    secret = keys.generate(KeyKind.WRITE)
    valkey.hset(MIRROR, keys.digest(secret), b"damaged")

    async def story(cache, client):
        with pytest.raises(KeyStoreUnavailable):
            await cache.grant(secret)

    run(story)


def test_no_secret_lies_in_the_cache(project):
    async def story(cache, client):
        await cache.grant(project.write_key)
        assert project.write_key.encode() not in repr(vars(cache)).encode()

    run(story)


def test_the_mirror_heals_within_a_tick_of_flushall(project, valkey):
    async def story(cache, client):
        assert await refusal(cache, project.write_key) == Code.INVALID_KEY

    valkey.flushall()
    run(story)
    keyring.rebuild(valkey)
    assert authenticate(project.write_key, KeyKind.WRITE).project_id == project.project.pk
