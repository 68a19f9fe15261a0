"""The catalogue over HTTP: who may read it, how it looks, what it refuses."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import redis
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from events import catalogue_api
from events.tests.lake.pond import put
from projects import keyring, services
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]
ODD = "Zürich/'q\" %?#\n/"


@pytest.fixture
def project(make_project: Callable[..., Any], seal_all: Callable[[], int]) -> Project:
    project: Project = make_project().project
    put([{"project_id": project.pk, "name": "a", "properties": {"plan": "pro"}}] * 2)
    put([{"project_id": project.pk, "name": ODD}, {"project_id": project.pk + 1, "name": "b"}])
    seal_all()
    return project


def by_key(project: Project, valkey: redis.Redis, kind: str = "read") -> APIClient:
    created = services.create_key(project=project, kind=kind)
    keyring.rebuild(valkey)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {created.secret}")
    return client


def address(project: Project, name: str = "") -> str:
    return f"/api/projects/{project.pk}/catalogue/" + (f"{quote(name, safe='')}/" if name else "")


def test_owner_member_and_read_key_read_it_and_nobody_else(
    project: Project, valkey: redis.Redis, login: Callable[..., APIClient], make_user: Callable[..., Any],
    make_project: Callable[..., Any],
) -> None:  # fmt: skip
    member = make_user("bob")
    project.memberships.create(user=member, role="member")
    owner = project.memberships.get(role="owner").user
    other = make_project(make_user("eve"), name="Other").project
    tried = [
        (login(owner), 200), (login(member), 200), (by_key(project, valkey), 200), (APIClient(), 401),
        (login(make_user("mallory")), 404), (by_key(other, valkey), 404), (by_key(project, valkey, "write"), 403),
    ]  # fmt: skip
    for client, status in tried:
        for place in (address(project), address(project, "a")):
            response = client.get(place)
            assert response.status_code == status, (place, response.content)
            assert status == 200 or response.json()["code"]


def test_what_it_says_has_the_documented_form(project: Project, valkey: redis.Redis) -> None:
    client = by_key(project, valkey)
    names = client.get(address(project)).json()
    assert [row["name"] for row in names["names"]] == ["a", ODD]
    assert names.keys() == {"as_of", "names", "more", "more_events"}
    assert names["names"][0].keys() == catalogue_api._NAME.keys()
    found = client.get(address(project, "a")).json()
    assert found["properties"][0].keys() == catalogue_api._PROPERTY.keys()
    assert (found["sampled"], found["properties"][0]["values"]) == (2, [{"value": "pro", "events": 2}])
    assert client.get(address(project, ODD)).json()["properties"] == []


def test_names_are_searched_in_any_case(project: Project, valkey: redis.Redis) -> None:
    client = by_key(project, valkey)
    assert [row["name"] for row in client.get(address(project) + "?search=ZÜR").json()["names"]] == [ODD]
    assert client.get(address(project) + "?search=%25_").json()["names"] == []


@pytest.mark.parametrize("search", ["x" * 201, "%00"])
def test_a_search_that_is_none_is_a_400_with_its_field(
    project: Project, valkey: redis.Redis, search: str
) -> None:
    response = by_key(project, valkey).get(f"{address(project)}?search={search}")
    assert (response.status_code, list(response.json()["fields"])) == (400, ["search"])


@pytest.mark.parametrize("name", ["b", "A", "%00", "x" * 201])
def test_a_name_that_did_not_come_is_a_404(project: Project, valkey: redis.Redis, name: str) -> None:
    assert by_key(project, valkey).get(f"{address(project)}{name}/").status_code == 404


def test_a_project_without_events_has_an_empty_catalogue(
    make_project: Callable[..., Any], valkey: redis.Redis
) -> None:
    project = make_project().project
    names = by_key(project, valkey).get(address(project)).json()
    assert (names["names"], names["more"], names["more_events"]) == ([], 0, 0)


def test_it_takes_few_queries_however_much_is_known(project: Project, valkey: redis.Redis) -> None:
    client = by_key(project, valkey)
    for place in (address(project), address(project, "a")):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get(place)
        assert len(queries) <= 6
