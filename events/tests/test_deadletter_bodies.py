"""What the API of dead letters refuses, and how it says so."""

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from projects.models import Project


@pytest.fixture
def shop(make_project: Callable[..., Any], make_user: Callable[..., Any]) -> Project:
    return make_project(make_user("ada")).project


@pytest.fixture
def owner(login: Callable[..., APIClient], shop: Project) -> APIClient:
    return login(shop.memberships.get().user)


def address(project: Project, path: str) -> str:
    return f"/api/projects/{project.pk}/{path}"


@pytest.mark.parametrize(
    "query",
    [
        "state=lost",
        "before=x",
        "limit=0",
        "since=soon",
        "code=%00",
        "unknown=1",
        "before=99999999999999999999",
    ],
)
def test_a_filter_that_is_none_names_its_field(owner: APIClient, shop: Project, query: str) -> None:
    answer = owner.get(address(shop, f"failures/?{query}"))
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [query.partition("=")[0]])


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("replay", {}, "ids"),
        ("replay", {"ids": [1], "filter": {}}, "ids"),
        ("replay", {"ids": []}, "ids"),
        ("replay", {"ids": ["x"]}, "ids"),
        ("replay", {"filter": {"nothing": 1}}, "filter"),
        ("replay", {"filter": {}, "rule": [{"path": "id", "do": "remove"}]}, "rule"),
        ("replay", {"filter": {}, "payload": "{}"}, "payload"),
        ("replay", {"filter": {}, "rate": 0}, "rate"),
        ("replay", {"filter": {}, "surprise": 1}, "surprise"),
        ("discard", {"filter": {}}, "reason"),
        ("discard", {"filter": {}, "reason": " "}, "reason"),
        ("check", {}, "letter"),
    ],
)
def test_a_body_that_is_not_right_names_its_field(
    owner: APIClient, shop: Project, path: str, body: Any, field: str
) -> None:
    answer = owner.post(address(shop, f"failures/{path}"), body)
    assert (answer.status_code, answer.json()["code"], list(answer.json()["fields"])) == (
        400,
        "invalid",
        [field],
    )


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"5", b'"x"', b"\xff", b'{"payload": "\\ud800", "ids": [1]}', b"null"]
)
@pytest.mark.parametrize("path", ["replay", "check", "discard"])
def test_a_body_that_is_no_object_is_400(owner: APIClient, shop: Project, path: str, body: bytes) -> None:
    answer = owner.post(address(shop, f"failures/{path}"), body, content_type="application/json")
    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "message", "detail", "error", "fields"}


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("replay", '{"filter": {"name": "TEXT"}}'),
        ("replay", '{"filter": {"event_id": "TEXT"}}'),
        ("replay", '{"filter": {}, "rule": [{"path": "TEXT", "do": "remove"}]}'),
        ("replay", '{"filter": {}, "rule": [{"path": "a", "do": "set", "value": {"k": "TEXT"}}]}'),
        ("replay", '{"filter": {}, "TEXT": 1}'),
        ("discard", '{"filter": {}, "reason": "TEXT"}'),
    ],
)
def test_text_that_no_database_holds_is_400(
    owner: APIClient, shop: Project, path: str, body: str, text: str
) -> None:
    answer = owner.post(
        address(shop, f"failures/{path}"), body.replace("TEXT", text), content_type="application/json"
    )
    assert answer.status_code == 400


def test_a_body_beyond_all_limits_is_413(owner: APIClient, shop: Project) -> None:
    body = b'{"letter": 1, "payload": "' + b"x" * 9_000_000 + b'"}'
    answer = owner.post(address(shop, "failures/check"), body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
