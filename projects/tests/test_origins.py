"""Which origins' pages may use a key: set by the owner, in the API and in the admin."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.core.exceptions import ValidationError
from django.test import Client

from projects import keyring
from projects.origins import validate_origin

SHOP = "https://shop.example.com"


def test_a_key_is_created_and_changed_with_origins(
    make_user: Callable[..., Any], make_project: Callable[..., Any], login: Callable[..., Any]
) -> None:
    owner = make_user()
    project = make_project(owner).project
    client, address = login(owner), f"/api/projects/{project.pk}/keys/"
    created = client.post(address, {"kind": "write", "allowed_origins": [f" {SHOP.upper()}/ ", SHOP]}).json()
    assert created["allowed_origins"] == [SHOP]
    changed = client.patch(f"{address}{created['id']}/", {"allowed_origins": ["http://localhost:3000"]})
    assert (changed.status_code, changed.json()["allowed_origins"]) == (200, ["http://localhost:3000"])
    assert client.patch(f"{address}{created['id']}/", {"name": "new"}).json()["allowed_origins"] != []
    assert client.patch(f"{address}{created['id']}/", {"kind": "read"}).status_code == 400


@pytest.mark.parametrize(
    "origin", ["https://a.example/path", "a.example", "*", "https://", "https://a b", "x" * 300]
)
def test_what_is_no_origin_is_refused_by_name(
    make_user: Callable[..., Any], make_project: Callable[..., Any], login: Callable[..., Any], origin: str
) -> None:
    owner = make_user()
    project = make_project(owner).project
    reply = login(owner).post(
        f"/api/projects/{project.pk}/keys/", {"kind": "write", "allowed_origins": [origin]}
    )
    assert (reply.status_code, list(reply.json()["fields"])) == (400, ["allowed_origins"])


@pytest.mark.parametrize("origin", ["null", "http://[::1]:8000", "app://local", SHOP])
def test_what_browsers_send_is_an_origin(origin: str) -> None:
    validate_origin(origin)
    with pytest.raises(ValidationError):
        validate_origin(origin + "/x?")


def test_the_admin_sets_origins_and_the_mirror_has_them(
    make_user: Callable[..., Any],
    make_project: Callable[..., Any],
    valkey: redis.Redis,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    (key,) = make_project().project.keys.all()
    client = Client()
    client.force_login(make_user("second", is_staff=True, is_superuser=True))
    with django_capture_on_commit_callbacks(execute=True):
        reply = client.post(
            f"/admin/projects/apikey/{key.pk}/change/",
            {"name": "shop", "allowed_origins": f"{SHOP}/,app://x"},
        )
    assert reply.status_code == 302
    key.refresh_from_db()
    assert (key.name, key.allowed_origins) == ("shop", [SHOP, "app://x"])
    assert keyring.read_entry(valkey.hget(keyring.MIRROR, key.digest)).origins == (SHOP, "app://x")
