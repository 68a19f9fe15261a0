"""Who looked at dead letters, tried or took them away, and whose replays a project is told of."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from rest_framework.test import APIClient

from events import deadletter, replay
from events.deadletter import Wanted
from events.models import AuditEntry, DeadLetter
from events.tests.letters import buried, finish
from projects import keyring
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


@pytest.fixture
def ada(make_user: Callable[..., User]) -> User:
    return make_user("ada", is_staff=True, is_superuser=True)


@pytest.fixture
def shop(make_project: Callable[..., Any], ada: User) -> Project:
    return make_project(ada).project


@pytest.fixture
def api(login: Callable[..., APIClient], ada: User, shop: Project) -> APIClient:
    return login(ada)


def place(project: Project, path: str) -> str:
    return f"/api/projects/{project.pk}/failures/{path}"


def last() -> tuple[Any, ...]:
    entry = AuditEntry.objects.latest("id")
    return entry.action, entry.by_name, entry.project_id, entry.letters, entry.what


def test_a_check_and_a_dry_run_say_who_tried_what(valkey: redis.Redis, api: APIClient, shop: Project) -> None:
    letter, _ = buried(valkey, shop, "1", "x")
    rule = {"path": "properties.amount", "do": "to_number"}
    api.post(place(shop, "check"), {"letter": letter.pk, "rule": rule})
    what = {"letter": letter.pk, "outcome": "stored", "edited": False, "rule": [rule]}
    assert last() == ("check", "ada", shop.pk, 1, what)
    api.post(place(shop, "replay"), {"filter": {"code": "data_error"}, "rule": rule, "dry": True})
    asked = {"project_id": shop.pk, "code": "data_error"}
    tried = {"filter": asked, "examined": 2, "would_store": 1, "rule": [rule]}
    assert last() == ("check", "ada", shop.pk, 2, tried)


def test_a_check_in_the_admin_and_from_a_shell_is_kept_too(
    valkey: redis.Redis, client: Client, ada: User, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "1")
    client.force_login(ada)
    client.post(f"/admin/events/deadletter/{letter.pk}/edit/", {"do": "check", "text": "{"})
    what = {"letter": letter.pk, "outcome": "refused", "edited": True}
    assert last() == ("check", "ada", shop.pk, 1, what)
    client.post("/admin/events/deadletter/act/", {"do": "try"})
    assert last()[:4] == ("check", "ada", shop.pk, 1)
    call_command("replay", "--dry")
    action, by, project_id, letters, _ = last()
    assert (action, by.partition(":")[0], project_id, letters) == ("check", "shell", shop.pk, 1)


def test_an_export_says_who_took_what(
    valkey: redis.Redis, api: APIClient, shop: Project, make_key: Callable[..., Any]
) -> None:
    buried(valkey, shop, "1", "2")
    assert api.get(place(shop, "export?state=waiting")).status_code == 200
    asked = {"filter": {"project_id": shop.pk, "state": "waiting"}}
    assert last() == ("export", "ada", shop.pk, 2, asked)
    created = make_key(shop, "read")
    keyring.publish(valkey, list(shop.keys.all()))
    machine = APIClient()
    machine.credentials(HTTP_AUTHORIZATION=f"Bearer {created.secret}")
    assert machine.get(place(shop, "export")).status_code == 200
    assert last()[:4] == ("export", f"read key {created.key.pk}", shop.pk, 2)


def test_a_project_is_told_what_was_done_to_its_letters_alone_without_naming_it(
    valkey: redis.Redis, api: APIClient, shop: Project
) -> None:
    one, _ = buried(valkey, shop, "1", "2")
    started = replay.start(Wanted(ids=[one.pk]), by="bob")
    (told,) = api.get(place(shop, "replays/")).json()["results"]
    assert (told["id"], told["total"]) == (started.pk, 1)
    deadletter.discard(Wanted(), reason="why", by="bob")
    actions = [entry["action"] for entry in api.get(place(shop, "audit/")).json()["results"]]
    assert actions == ["discard", "replay"]


def test_of_a_replay_over_several_projects_each_is_told_its_own_part(
    valkey: redis.Redis, api: APIClient, ada: User, shop: Project, make_project: Callable[..., Any]
) -> None:
    buried(valkey, shop, "1")
    other, bystander = (make_project(ada).project for _ in range(2))
    ids = [letter.pk for letter in buried(valkey, other, "1", "2")]
    finish(valkey, replay.start(Wanted(ids=ids), by="bob"))
    for project, own in ((shop, 1), (other, 2)):
        (told,) = api.get(place(project, "replays/")).json()["results"]
        assert (told["total"], told["progress"]["stored"], told["filter"]) == (own, own, {}), project
        assert api.get(place(project, f"replays/{told['id']}/")).json() == told
        assert api.post(place(project, f"replays/{told['id']}/stop")).status_code == 404
    assert api.get(place(bystander, "replays/")).json()["results"] == []
    assert DeadLetter.objects.filter(outcome="stored").count() == 3
