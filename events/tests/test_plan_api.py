"""The tracking plan over HTTP: who may do what, versions, refusals, drafts and violations."""

from typing import Any

import pytest
import redis
from rest_framework.test import APIClient

from events.drain import drain
from events.models import AuditEntry, PlanVersion
from events.plan import tally
from events.plan.book import Book
from events.tests.conftest import queue
from projects import keyring
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]
SCHEMA = {"required": ["amount"], "properties": {"amount": {"type": "number"}}}


@pytest.fixture
def people(make_user: Any, make_project: Any, login: Any, make_key: Any, valkey: redis.Redis) -> Any:
    """An owner, a member, an outsider and a read key, each as a client, and the project."""
    ada, bob, eve = make_user("ada"), make_user("bob"), make_user("eve")
    project: Project = make_project(ada, members=(bob,)).project
    key = make_key(project, "read")
    keyring.publish(valkey, [key.key])
    by_key = APIClient()
    by_key.credentials(HTTP_AUTHORIZATION=f"Bearer {key.secret}")
    return {
        "owner": login(ada),
        "member": login(bob),
        "outsider": login(eve),
        "key": by_key,
        "project": project,
    }


def url(people: Any, rest: str = "order_paid/") -> str:
    return f"/api/projects/{people['project'].pk}/plan/{rest}"


def put(people: Any, who: str = "owner", rest: str = "order_paid/", **body: Any) -> Any:
    return people[who].put(url(people, rest), {"mode": "warn", "schema": SCHEMA} | body, format="json")


@pytest.mark.parametrize(
    "who, reads, writes",
    [("owner", 200, 200), ("member", 200, 403), ("key", 200, 403), ("outsider", 404, 404)],
)
def test_owners_write_and_members_and_read_keys_read(people: Any, who: str, reads: int, writes: int) -> None:
    assert put(people).status_code == 200
    assert put(people, who, mode="bury").status_code == writes
    for rest in ("", "order_paid/", "order_paid", "order_paid/versions/", "order_paid/violations/"):
        assert people[who].get(url(people, rest)).status_code == reads, rest
    assert people[who].post(url(people, "order_paid/draft/")).status_code == reads


def test_nobody_in_particular_is_refused(people: Any) -> None:
    assert APIClient().get(url(people)).status_code == 401
    assert APIClient().put(url(people), {}, format="json").status_code == 401


def test_every_version_says_who_when_and_what_differs(people: Any) -> None:
    first = put(people).json()
    assert (first["version"], first["mode"], first["by"], first["schema"]) == (1, "warn", "ada", SCHEMA)
    assert put(people).json()["version"] == 1  # nothing differs
    second = put(people, schema=SCHEMA | {"required": ["amount", "plan"]}, note="plans").json()
    assert second["changes"] == [{"place": "required", "before": '["amount"]', "after": '["amount","plan"]'}]
    third = people["owner"].put(url(people), {"mode": "off"}, format="json").json()
    assert (third["version"], third["mode"], third["schema"]) == (3, "off", second["schema"])
    versions = people["member"].get(url(people, "order_paid/versions/")).json()["results"]
    assert [version["version"] for version in versions] == [3, 2, 1] and versions[1]["note"] == "plans"
    listed = people["member"].get(url(people, "")).json()["results"]
    assert [(entry["name"], entry["version"], entry["mode"]) for entry in listed] == [
        ("order_paid", 3, "off")
    ]
    audited = AuditEntry.objects.filter(action="plan").order_by("id")
    assert [(entry.by_name, entry.what["version"]) for entry in audited] == [
        ("ada", 1),
        ("ada", 2),
        ("ada", 3),
    ]


def test_a_version_made_meanwhile_is_not_overwritten(people: Any) -> None:
    assert put(people, based_on=0).status_code == 200
    outdated = put(people, mode="bury", based_on=0)
    assert outdated.status_code == 409 and outdated.json()["code"] == "outdated"
    assert put(people, mode="bury", based_on=1).json()["version"] == 2


@pytest.mark.parametrize(
    "body, field",
    [
        ({"schema": {"type": "strin"}}, "schema.type"),
        ({"schema": {"$ref": "http://127.0.0.1:9/x"}}, "schema.$ref"),
        ({"schema": {"properties": {"a": {"pattern": "(?<!x)y"}}}}, "schema.properties.a.pattern"),
        ({"schema": "{}"}, "schema"),
        ({"schema": None}, "schema"),
        ({"schema": {"title": "a\0"}}, "schema.title"),
        ({"mode": "loud"}, "mode"),
        ({"based_on": -1}, "based_on"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_plan_is_refused_with_its_place(people: Any, body: Any, field: str) -> None:
    refused = put(people, **body)
    assert refused.status_code == 400 and list(refused.json()["fields"]) == [field]
    assert not PlanVersion.objects.exists()


def test_a_project_has_plans_for_so_many_names(people: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.plan_change.MAX_NAMES", 2)
    assert [put(people, rest=f"n{n}/").status_code for n in range(3)] == [200, 200, 400]


@pytest.mark.parametrize("name", ["a b", "a%2Fb", "größe", "a.b", "x" * 200])
def test_any_name_that_an_event_may_have_can_be_planned(people: Any, name: str) -> None:
    made = put(people, rest=f"{name}/")
    assert made.status_code == 200
    assert people["key"].get(url(people, f"{name}/versions/")).json()["results"] == [made.json()]


@pytest.mark.parametrize("name", ["none", "%00", "%20", "x" * 201])
def test_names_without_a_plan_are_not_there(people: Any, name: str) -> None:
    assert people["owner"].get(url(people, f"{name}/")).status_code == 404


def test_a_draft_comes_from_the_stored_events(people: Any, valkey: redis.Redis) -> None:
    events = [{"name": "order_paid", "properties": {"amount": n, "plan": "pro"}} for n in range(30)]
    queue(valkey, [*events, {"name": "other", "properties": {"x": 1}}], project_id=people["project"].pk)
    drain(valkey, 0)
    made = people["key"].post(url(people, "order_paid/draft/")).json()
    assert made == {
        "events": 30,
        "drawn_from": "events",
        "schema": {
            "type": "object",
            "properties": {"amount": {"type": "integer"}, "plan": {"type": "string", "enum": ["pro"]}},
            "required": ["amount", "plan"],
        },
    }
    assert put(people, schema=made["schema"]).status_code == 200


def test_violations_are_listed_by_field_with_examples(
    people: Any, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.drain._book", Book())
    put(people, mode="bury")
    bad: list[Any] = [{"amount": "1"}, {"amount": "2"}, {}]
    queue(valkey, [{"name": "order_paid", "properties": one} for one in bad], project_id=people["project"].pk)
    drain(valkey, 0)
    tally.copy(valkey)
    (found,) = people["key"].get(url(people, "order_paid/violations/")).json()["results"]
    assert (found["field"], found["events"]) == ("properties.amount", 3)
    assert found["examples"][0]["detail"] == "`amount` is required."
    assert people["key"].get(url(people, "")).json()["results"][0]["violations"] == 3


def test_what_was_deleted_takes_its_plans_along(people: Any, valkey: redis.Redis) -> None:
    from events import deletion
    from projects import services

    put(people)
    services.delete_project(people["project"])
    deletion.delete_some(valkey)
    assert not PlanVersion.objects.exists()
