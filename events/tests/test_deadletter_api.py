"""The API of dead letters and traces: who may what, what is answered, what is refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.test import AsyncClient
from django.utils.dateparse import parse_datetime
from rest_framework.test import APIClient

from events.drain import drain
from events.models import DeadLetter, Event, Replay
from events.tests.conftest import queue
from events.tests.letters import buried, finish, refusing
from projects import keyring
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


@pytest.fixture
def people(make_user: Callable[..., Any]) -> dict[str, Any]:
    names = ("owner", "member", "outsider")
    return {name: make_user(name) for name in names} | {"nobody": None}


@pytest.fixture
def shop(make_project: Callable[..., Any], people: dict[str, Any]) -> Project:
    return make_project(people["owner"], members=(people["member"],)).project


@pytest.fixture
def key_client(valkey: redis.Redis, make_key: Callable[..., Any]) -> Callable[..., APIClient]:
    def make(project: Project, kind: str = "read") -> APIClient:
        secret = make_key(project, kind).secret
        keyring.publish(valkey, list(project.keys.all()))
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
        return client

    return make


@pytest.fixture
def owner(login: Callable[..., APIClient], people: dict[str, Any], shop: Project) -> APIClient:
    return login(people["owner"])


def address(project: Project, path: str) -> str:
    return f"/api/projects/{project.pk}/{path}"


# --- who may what -------------------------------------------------------------------------------------------------------

READS = ["failures/", "failures/{letter}/", "failures/groups/", "failures/export", "failures/replays/",
         "failures/replays/{replay}/", "failures/audit/", "trace/o-0/"]  # fmt: skip
ACTS: dict[str, Any] = {
    "failures/replay": {"filter": {}},
    "failures/check": {"letter": "{letter}"},
    "failures/replays/{replay}/stop": {},
    "failures/replays/{replay}/resume": {},
    "failures/discard": {"filter": {}, "reason": "why"},
}


@pytest.mark.parametrize("path", READS)
def test_who_may_read(
    valkey: redis.Redis,
    shop: Project,
    people: dict[str, Any],
    login: Any,
    key_client: Any,
    make_project: Any,
    path: str,
) -> None:
    (letter,) = buried(valkey, shop, "x")
    started = Replay.objects.create(project=shop, by_name="a", filter={}, rate=1, total=0, until_id=0)
    place = address(shop, path.format(letter=letter.pk, replay=started.pk))
    statuses = {name: login(person).get(place).status_code for name, person in people.items()}
    assert statuses == {"owner": 200, "member": 200, "outsider": 404, "nobody": 401}
    assert key_client(shop).get(place).status_code == 200
    assert key_client(make_project().project).get(place).status_code == 404
    assert key_client(shop, "write").get(place).status_code == 403


@pytest.mark.parametrize("path", ACTS)
def test_who_may_act(
    valkey: redis.Redis, shop: Project, people: dict[str, Any], login: Any, key_client: Any, path: str
) -> None:
    (letter,) = buried(valkey, shop, "x")
    state = "stopped" if path.endswith("resume") else "sending"
    started = Replay.objects.create(
        project=shop, by_name="a", filter={}, rate=1, total=0, until_id=0, state=state
    )
    body = {name: letter.pk if value == "{letter}" else value for name, value in ACTS[path].items()}
    place = address(shop, path.format(replay=started.pk))
    assert [login(people[who]).post(place, body).status_code for who in ("outsider", "nobody")] == [404, 401]
    assert key_client(shop).post(place, body).status_code == 401
    member = login(people["member"]).post(place, body)
    if path == "failures/discard":
        assert (member.status_code, member.json()["code"]) == (403, "not_owner")
        member = login(people["owner"]).post(place, body)
    assert member.status_code in (200, 202)


def test_a_letter_of_another_project_is_as_absent_as_none(
    valkey: redis.Redis, owner: APIClient, shop: Project, make_project: Any
) -> None:
    other = make_project().project
    (letter,) = buried(valkey, other, "x")
    assert owner.get(address(shop, f"failures/{letter.pk}/")).status_code == 404
    assert owner.post(address(shop, "failures/check"), {"letter": letter.pk}).status_code == 404
    begun = owner.post(address(shop, "failures/replay"), {"ids": [letter.pk]})
    assert (begun.status_code, begun.json()["total"]) == (202, 0)
    assert owner.post(address(shop, "failures/discard"), {"ids": [letter.pk], "reason": "x"}).json() == {
        "discarded": 0
    }


# --- reading ------------------------------------------------------------------------------------------------------------


def test_the_list_is_filtered_and_paged_by_id(valkey: redis.Redis, owner: APIClient, shop: Project) -> None:
    letters = buried(valkey, shop, "1", "2", "3")
    page = owner.get(address(shop, "failures/?limit=2&code=data_error")).json()
    assert [row["id"] for row in page["results"]] == [letters[2].pk, letters[1].pk]
    last = owner.get(page["next"]).json()
    assert ([row["id"] for row in last["results"]], last["next"]) == ([letters[0].pk], None)
    for query, found in [
        ("event_id=o-1", 1), (f"event_id={letters[0].event_id}", 1), ("name=other", 0), ("state=discarded", 0),
        ("since=2999-01-01T00:00:00Z", 0), ("until=2999-01-01T00:00:00Z", 3), (f"fingerprint={letters[0].fingerprint}", 3),
    ]:  # fmt: skip
        assert len(owner.get(address(shop, f"failures/?{query}")).json()["results"]) == found, query


def test_one_letter_tells_its_event_its_place_and_how_to_send_it(
    valkey: redis.Redis, owner: APIClient, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "1.10")
    with refusing():
        told = owner.get(address(shop, f"failures/{letter.pk}/")).json()
    assert told["event"]["properties"] == {"amount": "1.10"}
    assert json.loads(told["event_text"]) == told["event"]
    assert told["offending"] == ["properties.amount"]
    assert told["curl"].startswith("curl ")
    assert [row["id"] for row in told["story"]] == [letter.pk]
    (attempt,) = told["failures"]
    assert (attempt["attempt"], attempt["sqlstate"], attempt["error"]) == (1, "23514", letter.error)
    assert parse_datetime(attempt["at"]) == letter.last_failed_at


def test_a_payload_that_is_no_json_is_told_too(valkey: redis.Redis, owner: APIClient, shop: Project) -> None:
    (letter,) = buried(valkey, shop, "1")
    DeadLetter.objects.update(payload=b"\x00{bad\xff")
    told = owner.get(address(shop, f"failures/{letter.pk}/")).json()
    assert (told["event"], told["payload_base64"], told["curl"]) == (None, "AHtiYWT/", None)
    assert len(owner.get(address(shop, "failures/export")).getvalue().splitlines()) == 1


def test_groups_are_of_those_that_wait(valkey: redis.Redis, owner: APIClient, shop: Project) -> None:
    letters = buried(valkey, shop, "1", "2")
    owner.post(address(shop, "failures/discard"), {"ids": [letters[0].pk], "reason": "x"})
    (group,) = owner.get(address(shop, "failures/groups/")).json()["groups"]
    assert (group["letters"], group["example"], group["field"]) == (1, letters[1].pk, "amount_is_number")


def test_an_export_streams_under_asgi(valkey: redis.Redis, shop: Project, make_key: Any) -> None:
    secret = make_key(shop, "read").secret
    keyring.publish(valkey, list(shop.keys.all()))
    buried(valkey, shop, "1", "2")

    async def fetch() -> tuple[bool, bytes]:
        place = address(shop, "failures/export?state=waiting")
        response = await AsyncClient().get(place, headers={"Authorization": f"Bearer {secret}"})
        return response.is_async, b"".join([page async for page in response])

    is_async, body = async_to_sync(fetch)()
    assert (is_async, len(body.splitlines())) == (True, 2)


# --- acting -------------------------------------------------------------------------------------------------------------


def test_a_rule_is_tried_then_replayed_and_followed(
    valkey: redis.Redis, owner: APIClient, shop: Project
) -> None:
    (letter, *_) = buried(valkey, shop, "1", "2", "x")
    body = {
        "filter": {"fingerprint": letter.fingerprint},
        "rule": [{"path": "properties.amount", "do": "to_number"}],
    }
    with refusing():
        tried = owner.post(address(shop, "failures/replay"), body | {"dry": True})
        assert tried.status_code == 200
        assert (tried.json()["would_store"], tried.json()["examined"]) == (2, 3)
        assert tried.json()["misses"][0]["code"] == "cannot_mend"
        assert Replay.objects.count() == 0
        begun = owner.post(address(shop, "failures/replay"), body).json()
        assert (begun["state"], begun["total"], begun["by_name"]) == ("sending", 3, "owner")
        finish(valkey, Replay.objects.get())
    told = owner.get(address(shop, f"failures/replays/{begun['id']}/")).json()
    assert (told["state"], told["progress"]["stored"], told["progress"]["skipped"]) == ("done", 2, 1)
    assert [entry["action"] for entry in owner.get(address(shop, "failures/audit/")).json()["results"]] == [
        "replay", "check",
    ]  # fmt: skip


def test_a_begun_replay_leaves_a_task_for_the_default_worker(
    valkey: redis.Redis, owner: APIClient, shop: Project
) -> None:
    buried(valkey, shop, "1")
    owner.post(address(shop, "failures/replay"), {"filter": {}})
    assert any(b"tasks.replay.run" in message for message in valkey.lrange("celery", 0, -1))


def test_an_edited_payload_is_sent_with_the_digits_it_has(
    valkey: redis.Redis, owner: APIClient, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "x")
    body = (
        b'{"ids": [%d], "payload": {"name": "order_paid", "properties": {"amount": 12345678901234567890.10}}}'
        % letter.pk
    )
    answer = owner.post(address(shop, "failures/replay"), body, content_type="application/json")
    assert answer.status_code == 202
    finish(valkey, Replay.objects.get())
    assert b"12345678901234567890.10" in bytes(DeadLetter.objects.get().sent)
    assert Event.objects.get().event_id == letter.event_id


def test_an_edited_payload_that_would_not_be_stored_is_refused_with_its_place(
    valkey: redis.Redis, owner: APIClient, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "x")
    answer = owner.post(address(shop, "failures/replay"), {"ids": [letter.pk], "payload": '{\n "name": ""}'})
    assert answer.status_code == 400
    assert answer.json()["fields"] == {"payload": ["blank at line 2, column 2: `name` is blank."]}


def test_only_a_waiting_letter_is_edited(valkey: redis.Redis, owner: APIClient, shop: Project) -> None:
    (letter,) = buried(valkey, shop, "x")
    owner.post(address(shop, "failures/discard"), {"ids": [letter.pk], "reason": "x"})
    answer = owner.post(address(shop, "failures/replay"), {"ids": [letter.pk], "payload": '{"name": "a"}'})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_waiting")


def test_a_check_answers_for_a_payload_a_rule_and_as_it_is(
    valkey: redis.Redis, owner: APIClient, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "7")
    with refusing():
        asked = [{}, {"rule": {"path": "properties.amount", "do": "to_number"}}, {"payload": '{"name": }'}]
        found = [
            owner.post(address(shop, "failures/check"), {"letter": letter.pk} | more).json() for more in asked
        ]
    assert [(one["outcome"], one["would_store"], one["code"]) for one in found] == [
        ("dead", False, "data_error"), ("stored", True, ""), ("refused", False, "invalid_json"),
    ]  # fmt: skip
    assert (found[2]["line"], found[2]["column"]) == (1, 10)


def test_a_replay_that_ended_is_not_stopped(valkey: redis.Redis, owner: APIClient, shop: Project) -> None:
    ended = Replay.objects.create(
        project=shop, by_name="a", filter={}, rate=1, total=0, until_id=0, state="done"
    )
    for turn in ("stop", "resume"):
        answer = owner.post(address(shop, f"failures/replays/{ended.pk}/{turn}"))
        assert (answer.status_code, answer.json()["code"]) == (409, "not_running")


# --- trace --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("called", ["order-7", "order%2F7", "a b", "%E2%82%AC"])
def test_a_trace_is_asked_by_any_id(
    valkey: redis.Redis, owner: APIClient, shop: Project, called: str
) -> None:
    from urllib.parse import unquote

    queue(valkey, {"name": "a", "id": unquote(called)}, project_id=shop.pk)
    drain(valkey, 0)
    told = owner.get(address(shop, f"trace/{called}/")).json()
    assert (told["seen"], told["now"], [step["step"] for step in told["steps"]]) == (
        True, "stored", ["accepted", "stored", "batch"],
    )  # fmt: skip


def test_never_seen_here_is_200(owner: APIClient, shop: Project) -> None:
    told = owner.get(address(shop, "trace/nothing/"))
    assert (told.status_code, told.json()["seen"], told.json()["steps"]) == (200, False, [])
