"""The ingest contract: every test runs against the ASGI edge and against the DRF view."""

import base64
import gzip
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis

from events import buffer
from events.tests.conftest import Reply, queued
from projects import keyring
from projects.keys import KeyKind
from projects.services import CreatedProject, create_key

Post = Callable[..., Reply]
EVENT = {"name": "page_view"}


def test_a_single_event_is_confirmed_with_its_id_once_it_is_queued(post: Post, valkey: redis.Redis) -> None:
    reply = post({"name": "page_view", "user_id": "u1", "properties": {"path": "/"}})
    assert reply.status == 202
    assert reply.json | {"id": None} == {
        "accepted": 1,
        "rejected": 0,
        "errors": [],
        "warnings": [],
        "id": None,
    }
    (envelope,) = queued(valkey)
    assert envelope["event_id"] == reply.json["id"]
    assert (envelope["name"], envelope["user_id"], envelope["properties"]) == (
        "page_view",
        "u1",
        {"path": "/"},
    )


@pytest.mark.parametrize(
    "body",
    [
        [EVENT, EVENT],
        {"events": [EVENT, EVENT]},
        {"sent_at": "2026-01-01T00:00:00Z", "events": [EVENT, EVENT]},
    ],
)
def test_an_array_and_a_wrapped_array_are_batches(post: Post, valkey: redis.Redis, body: Any) -> None:
    assert post(body).json["accepted"] == 2
    assert len(queued(valkey)) == 2


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/", "//v1/events"])
def test_no_ingest_path_redirects(post: Post, path: str) -> None:
    assert post(EVENT, path=path).status == 202


@pytest.mark.parametrize(
    "content_type",
    ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "application/octet-stream", ""],
)
def test_the_body_counts_and_not_its_content_type(post: Post, content_type: str) -> None:
    assert post(EVENT, Content_Type=content_type).status == 202


@pytest.mark.parametrize("headers", [{"Content_Encoding": "gzip"}, {}])
def test_gzip_is_known_by_its_bytes(post: Post, valkey: redis.Redis, headers: dict[str, str]) -> None:
    assert post(gzip.compress(json.dumps([EVENT] * 3).encode()), **headers).json["accepted"] == 3


def test_keys_come_as_bearer_header_basic_or_query(send: Post, project: CreatedProject) -> None:
    basic = base64.b64encode(f"{project.write_key}:".encode()).decode()
    assert send(EVENT, Authorization=f"Bearer {project.write_key}").status == 202
    assert send(EVENT, X_Api_Key=f" {project.write_key} ").status == 202
    assert send(EVENT, Authorization=f"Basic {basic}").status == 202
    assert send(EVENT, path=f"/v1/events?key={project.write_key}").status == 202


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        ("", 401, "missing_key"),
        ("nonsense", 401, "invalid_key"),
        ("read", 403, "wrong_key_kind"),
        ("revoked", 403, "key_revoked"),
    ],
)
def test_a_key_that_does_not_open_is_refused_with_a_code(
    send: Post, project: CreatedProject, valkey: redis.Redis, key: str, status: int, code: str
) -> None:
    read, read_secret = create_key(project=project.project, kind=KeyKind.READ)
    revoked, revoked_secret = create_key(project=project.project, kind=KeyKind.WRITE)
    revoked.revoked_at = revoked.created_at
    keyring.publish(valkey, [read, revoked])
    secret = {"read": read_secret, "revoked": revoked_secret}.get(key, key)
    reply = send(EVENT, **({"Authorization": f"Bearer {secret}"} if secret else {}))
    assert (reply.status, reply.json["code"]) == (status, code)
    assert queued(valkey) == []


def test_one_bad_event_never_costs_its_neighbours(post: Post, valkey: redis.Redis) -> None:
    reply = post([{"name": "a"}, {"name": ""}, None, {"name": "b", "user_id": []}, {"name": "c"}])
    assert (reply.status, reply.json["accepted"], reply.json["rejected"]) == (202, 2, 3)
    assert [(e["index"], e["code"], e["field"]) for e in reply.json["errors"]] == [
        (1, "blank", "name"),
        (2, "not_an_object", None),
        (3, "invalid_type", "user_id"),
    ]
    assert [envelope["name"] for envelope in queued(valkey)] == ["a", "c"]


def test_when_nothing_is_valid_the_answer_is_400_in_the_same_shape(post: Post) -> None:
    reply = post({"nome": "page_view"})
    assert reply.status == 400
    assert (reply.json["accepted"], reply.json["rejected"], reply.json["errors"][0]["field"]) == (
        0,
        1,
        "name",
    )
    assert {"code", "message", "detail", "error"} <= reply.json.keys()


def test_full_receipts_name_every_id_in_order(post: Post) -> None:
    first = str(uuid.uuid4())
    reply = post([{"name": "a", "id": first}, {"name": ""}, {"name": "c"}], path="/v1/events?receipts=full")
    assert reply.json["ids"][0] == first
    assert reply.json["ids"][1] is None
    assert uuid.UUID(reply.json["ids"][2]).version == 7


def test_strict_refuses_unknown_fields_by_name(post: Post) -> None:
    reply = post({"name": "a", "colour": "red"}, path="/v1/events?strict=1")
    assert (reply.status, reply.json["errors"][0]["code"], reply.json["errors"][0]["field"]) == (
        400,
        "unknown_field",
        "colour",
    )


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "empty_body"),
        (b"  ", 400, "empty_body"),
        (b"[]", 400, "no_events"),
        (b'{"events":[]}', 400, "no_events"),
        (b'{"events":{}}', 400, "invalid_type"),
        (b"{}", 400, "required"),
        (b"5", 400, "invalid_body"),
        (b"nonsense", 400, "invalid_json"),
        (b'{"name":"a"', 400, "invalid_json"),
        (b'[{"name":"a"}', 400, "invalid_json"),
        (b'{"name":"\xff"}', 400, "invalid_utf8"),
        (b"[" * 100_000, 400, "invalid_json"),
        (gzip.compress(b"[]" * 99)[:-9], 400, "broken_encoding"),
        (gzip.compress(b"{}") + b"x", 400, "broken_encoding"),
        (gzip.compress(b"0" * 30_000_000), 413, "body_too_large"),
        (b"x" * 20_000_001, 413, "body_too_large"),
        (b"[" + b"{}," * 5_000 + b"{}]", 413, "too_many_events"),
        (b'{"name":"a","properties":{"a":"' + b"x" * 1_000_000 + b'"}}', 413, "too_large"),
    ],
)
def test_a_request_that_cannot_be_read_is_answered_with_a_code(
    post: Post, body: bytes, status: int, code: str
) -> None:
    reply = post(body)
    assert (reply.status, reply.json["code"]) == (status, code)
    assert reply.json["detail"] == reply.json["message"]


def test_an_unknown_encoding_is_415_and_a_get_is_405(post: Post, send: Post) -> None:
    assert post(b"\x01\x02\x03", Content_Encoding="compress").status == 415
    reply = post(b"", method="GET")
    assert (reply.status, reply.headers["allow"], reply.json["code"]) == (
        405,
        "POST, OPTIONS",
        "method_not_allowed",
    )


def test_an_idempotency_key_repeats_the_ids(post: Post) -> None:
    path = "/v1/events?receipts=full"
    first, again, other = (
        post([EVENT, EVENT], path=path, Idempotency_Key=key).json["ids"] for key in ("k1", "k1", "k2")
    )
    assert first == again
    assert len({*first, *other}) == 4


def test_a_full_queue_is_503_with_retry_after_and_nothing_is_taken(
    post: Post, valkey: redis.Redis, project: CreatedProject
) -> None:
    valkey.hset(buffer.DEPTH, "e", 10**9)
    reply = post(EVENT)
    assert (reply.status, reply.json["code"]) == (503, "queue_full")
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert queued(valkey) == []


def test_a_project_over_its_share_is_429(
    post: Post, valkey: redis.Redis, project: CreatedProject, settings: Any
) -> None:
    held = settings.EVENTS_QUEUE_MAX_EVENTS * 9 // 10
    valkey.hset(buffer.DEPTH, mapping={"e": held, f"e:{project.project.pk}": held})
    reply = post(EVENT)
    assert (reply.status, reply.json["code"]) == (429, "project_backlog")
    assert 1 <= int(reply.headers["retry-after"]) <= 60


def test_a_post_rings_one_slot_and_not_again(post: Post, valkey: redis.Redis) -> None:
    for _ in range(3):
        post(EVENT)
    assert valkey.llen("drain") == 1
