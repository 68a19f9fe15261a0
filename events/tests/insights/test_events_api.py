"""One event by its id, and who may read events at all."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.db import connection
from rest_framework.test import APIClient

from events.drain import drain
from events.tests.conftest import queue
from projects import keyring, services
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables", "questions")]


@pytest.fixture
def shop(make_project: Callable[..., Any], make_user: Callable[..., Any], valkey: redis.Redis) -> Project:
    made: Project = make_project(make_user("ada"), members=(make_user("bob"),)).project
    return made


@pytest.fixture
def get(shop: Project, login: Callable[..., APIClient]) -> Callable[[str], Any]:
    client = login(shop.memberships.get(role="owner").user)
    return lambda name: client.get(f"/api/projects/{shop.pk}/events/{name}")


def test_one_event_by_either_id_wherever_it_is(
    shop: Project, valkey: redis.Redis, get: Callable[[str], Any], seal_all: Callable[[], int]
) -> None:
    sent = [
        {"name": "a", "id": "order/7 ü"},
        {"name": "b"},
        {"name": "c", "id": "0190A7C812347ABC8DEF0123456789AB"},
    ]
    ids = [envelope.event_id for envelope in queue(valkey, sent, project_id=shop.pk).envelopes]
    queue(valkey, [{"name": "other", "id": "other"}], project_id=shop.pk + 1)
    drain(valkey, 0)
    seal_all()
    known = [*ids, "order%2F7%20%C3%BC", sent[2]["id"], ids[1].upper()]
    held = [get(name).json() for name in known]
    assert [event["name"] for event in held] == ["a", "b", "c", "a", "c", "b"]
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE events_event")  # as if its days were dropped
    assert [get(name).json() for name in known] == held
    for unknown in ("other", "x" * 200, "0190a7c8-1234-7abc-8def-000000000000", "%00"):
        assert get(unknown).status_code == 404


PATHS = ("events/export", "events/e1", "insights/events/")


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ("ada", 200),
        ("bob", 200),
        ("read", 200),
        ("eve", 404),
        ("read elsewhere", 404),
        ("write", 403),
        ("", 401),
    ],
)
def test_who_may_read(
    shop: Project, valkey: redis.Redis, login: Callable[..., APIClient], make_project: Callable[..., Any],
    make_user: Callable[..., Any], who: str, status: int,
) -> None:  # fmt: skip
    queue(valkey, [{"name": "a", "id": "e1"}], project_id=shop.pk)
    drain(valkey, 0)
    client = APIClient()
    if who.split()[0:1] in (["read"], ["write"]):
        project = make_project(make_user("carl")).project if "elsewhere" in who else shop
        key = services.create_key(project=project, kind=who.split()[0])
        keyring.rebuild(valkey)
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {key.secret}")
    elif who:
        client = login(make_user(who) if who == "eve" else User.objects.get(username=who))
    for path in PATHS:
        response = client.get(f"/api/projects/{shop.pk}/{path}")
        assert (response.status_code, path) == (status, path)
        if status != 200:
            assert response.json()["code"]
