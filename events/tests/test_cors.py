"""A page of any origin can send events and read every answer, unless its key says which origins may."""

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from events import buffer
from events.tests.conftest import Reply, queued
from projects import keyring, services
from projects.keys import KeyKind
from projects.services import CreatedProject

Post = Callable[..., Reply]
EVENT = {"name": "page_view"}
SHOP = "https://shop.example.com"


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/", "/v1/events?key=es_w_x"])
def test_a_preflight_allows_what_it_asks_for(send: Post, path: str) -> None:
    asked = {
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "content-type,x-api-key,x-own",
    }
    reply = send(b"", method="OPTIONS", path=path, Origin=SHOP, **asked)
    assert (reply.status, reply.raw) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert reply.headers["access-control-allow-headers"] == "content-type,x-api-key,x-own"
    assert int(reply.headers["access-control-max-age"]) >= 7_200
    assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.parametrize("asked", ["", "x" * 1_001, 'x"y', "é"])
def test_a_preflight_for_no_header_or_nonsense_names_ours(send: Post, asked: str) -> None:
    options = {"Access_Control_Request_Headers": asked} if asked else {}
    reply = send(b"", method="OPTIONS", Origin="null", **options)
    assert "x-api-key" in reply.headers["access-control-allow-headers"].split(", ")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (EVENT, {}, 202),
        (b"nonsense", {}, 400),
        (EVENT, {"Authorization": "Bearer nonsense"}, 401),
        (EVENT, {"Content_Encoding": "gzip, br"}, 415),
        (b"x" * 20_000_001, {}, 413),
        (b"", {"method": "GET"}, 405),
    ],
)
def test_every_answer_can_be_read_by_a_page(
    post: Post, body: Any, headers: dict[str, str], status: int
) -> None:
    reply = post(body, Origin=SHOP, **headers)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (status, "*")
    assert "access-control-allow-origin" not in post(EVENT).headers


@pytest.mark.parametrize(
    ("counter", "status"), [({"e": 10**9}, 503), ({"e": 599_000, "e:{project}": 599_000}, 429)]
)
def test_a_page_can_read_how_long_to_wait(
    post: Post, valkey: redis.Redis, project: CreatedProject, counter: dict[str, int], status: int
) -> None:
    held = {name.format(project=project.project.pk): number for name, number in counter.items()}
    valkey.hset(buffer.DEPTH, mapping=held)
    reply = post(EVENT, Origin=SHOP)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (status, "*")
    assert "retry-after" in reply.headers["access-control-expose-headers"]
    assert int(reply.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (SHOP, 202),
        (SHOP.upper(), 202),
        ("https://other.example.com", 403),
        ("http://shop.example.com", 403),
        ("https://shop.example.com:8443", 403),
        ("https://shop.example.com.evil.example", 403),
        ("null", 403),
        (None, 202),  # no page: a server, curl
    ],
)
def test_a_key_for_some_origins_opens_for_no_page_of_another(
    send: Post, project: CreatedProject, valkey: redis.Redis, origin: str | None, status: int
) -> None:
    key, secret = services.create_key(
        project=project.project,
        kind=KeyKind.WRITE,
        allowed_origins=["https://Shop.example.com/", "app://local"],
    )
    keyring.publish(valkey, [key])
    reply = send(EVENT, X_Api_Key=secret, **({} if origin is None else {"Origin": origin}))
    assert reply.status == status
    assert len(queued(valkey)) == (status == 202)
    if status == 403:
        assert (reply.json["code"], reply.headers["access-control-allow-origin"]) == (
            "origin_not_allowed",
            "*",
        )


def test_other_origins_reach_the_mirror(project: CreatedProject, valkey: redis.Redis) -> None:
    (key,) = project.project.keys.all()
    services.change_key(key, allowed_origins=[" HTTPS://Shop.example.com/", SHOP])
    keyring.publish(valkey, [key])
    grant = keyring.read_entry(valkey.hget(keyring.MIRROR, key.digest))
    assert grant.origins == (SHOP,)
    assert key.name == "first"


def test_without_origins_a_mirror_entry_says_nothing_of_them(
    project: CreatedProject, valkey: redis.Redis
) -> None:
    (key,) = project.project.keys.all()
    assert json.loads(valkey.hget(keyring.MIRROR, key.digest)).keys() == {"p", "k", "id", "rev"}


def test_a_beacon_without_preflight_is_taken(
    edge_port: int, project: CreatedProject, valkey: redis.Redis
) -> None:
    """What `navigator.sendBeacon` sends: text, the key in the address, cookies of the site."""
    connection = http.client.HTTPConnection("127.0.0.1", edge_port, timeout=15)
    headers = {
        "Content-Type": "text/plain;charset=UTF-8",
        "Origin": SHOP,
        "Cookie": "a=b",
        "Sec-Fetch-Mode": "no-cors",
    }
    connection.request("POST", f"/v1/events?key={project.write_key}", json.dumps(EVENT), headers)
    assert connection.getresponse().status == 202
    connection.close()
    assert len(queued(valkey)) == 1
