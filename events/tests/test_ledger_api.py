"""The ledger over HTTP: what became of a project's events, for those whom it concerns."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import connection
from rest_framework.test import APIClient

from events import buffer
from events.drain import drain
from events.models import Ledger
from events.tests.conftest import queue
from events.tick import tick
from eventsite.pytest_services import Services
from projects import keyring, services
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


@pytest.fixture
def hour() -> datetime:
    """Return the hour it is; one that lasts for as long as a test does."""
    while (now := datetime.now(UTC)).minute == 59 and now.second >= 45:
        time.sleep(0.5)
    return now.replace(minute=0, second=0, microsecond=0)


@pytest.fixture
def shop(make_project: Callable[..., Any], make_user: Callable[..., Any], valkey: redis.Redis) -> Project:
    made: Project = make_project(make_user("ada"), members=(make_user("bob"),)).project
    return made


def address(project: Project, query: str = "") -> str:
    return f"/api/projects/{project.pk}/ledger/{query}"


def by_key(secret: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


@pytest.fixture
def key(shop: Project, valkey: redis.Redis) -> Callable[..., str]:
    def key(kind: str, project: Project = shop) -> str:
        created = services.create_key(project=project, kind=kind)
        keyring.rebuild(valkey)
        return created.secret

    return key


def test_it_tells_what_became_of_every_event(
    shop: Project, key: Callable[..., str], valkey: redis.Redis, hour: datetime
) -> None:
    queue(valkey, [{"name": "a", "id": "1"}, {"name": "a", "id": "1"}], project_id=shop.pk)
    drain(valkey, 0)
    queue(valkey, [{"name": "b"}], project_id=shop.pk)
    buffer.count_rejected(valkey, {(shop.pk, buffer.hour_of(int(hour.timestamp() * 1000)), "blank"): 2})
    tick(valkey)
    body = by_key(key("read")).get(address(shop)).json()
    counts = {
        "accepted": 3,
        "stored": 1,
        "duplicate": 1,
        "dead": 0,
        "discarded": 0,
        "replayed": 0,
        "queued": 1,
    }
    counts |= {"unaccounted": 0, "difference": 0, "rejected": {"blank": 2}, "warned": {}}
    assert body.pop("as_of") >= f"{hour:%Y-%m-%dT%H}"
    assert body == {
        "balanced": True,
        "totals": counts,
        "hours": [{"hour": f"{hour:%Y-%m-%dT%H:00:00Z}", **counts}],
    }


def test_what_was_accepted_this_second_is_in_it(
    shop: Project, key: Callable[..., str], valkey: redis.Redis
) -> None:
    queue(valkey, [{"name": "a"}] * 3, project_id=shop.pk)  # and no tick has copied it yet
    body = by_key(key("read")).get(address(shop)).json()
    assert (body["balanced"], body["totals"]["accepted"], body["totals"]["queued"]) == (True, 3, 3)


def test_an_hour_that_does_not_balance_is_told(
    shop: Project, login: Callable[..., APIClient], hour: datetime
) -> None:
    Ledger.objects.create(project=shop, hour=hour, accepted=5, stored=3, dead=1, rejected={})
    Ledger.objects.create(
        project=shop, hour=hour - timedelta(hours=1), accepted=4, discarded=4, rejected={"blank": 1}
    )
    body = login(shop.memberships.get(role="owner").user).get(address(shop)).json()
    assert (body["balanced"], body["totals"]["difference"], body["totals"]["accepted"]) == (False, 1, 9)
    assert [told["difference"] for told in body["hours"]] == [1, 0]
    assert body["totals"]["rejected"] == {"blank": 1}


@pytest.mark.parametrize(("query", "hours"), [("", 1), ("?hours=1", 1), ("?hours=25", 2), ("?hours=720", 2)])
def test_it_goes_back_as_far_as_asked(
    shop: Project, login: Callable[..., APIClient], hour: datetime, query: str, hours: int
) -> None:
    for back in (0, 24, 720):
        Ledger.objects.create(project=shop, hour=hour - timedelta(hours=back), rejected={})
    owner = shop.memberships.get(role="owner").user
    assert len(login(owner).get(address(shop, query)).json()["hours"]) == hours


@pytest.mark.parametrize("hours", ["0", "721", "-1", "x", "1.5", "", "9" * 40, "1\x00"])
def test_a_span_that_cannot_be_is_refused_by_name(
    shop: Project, login: Callable[..., APIClient], hours: str
) -> None:
    response = login(shop.memberships.get(role="owner").user).get(address(shop), {"hours": hours})
    assert (response.status_code, response.json()["code"]) == (400, "invalid")
    assert set(response.json()["fields"]) == {"hours"}


# --- who may read it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("who", "status"), [("ada", 200), ("bob", 200), ("eve", 404), (None, 401)])
@pytest.mark.parametrize("way", ["token", "session"])
def test_members_may_read_and_outsiders_find_nothing(
    shop: Project,
    login: Callable[..., APIClient],
    make_user: Callable[..., Any],
    who: str | None,
    status: int,
    way: str,
) -> None:
    eve = make_user("eve", is_staff=True, is_superuser=True)  # an administrator has the admin for it
    people = {"ada": shop.memberships.get(role="owner").user, "bob": shop.memberships.get(role="member").user}
    user = (people | {"eve": eve}).get(who or "")
    client = login(user) if way == "token" else APIClient()
    if way == "session" and user is not None:
        client.force_login(user)
    assert client.get(address(shop)).status_code == status


def test_a_read_key_opens_its_own_project_only(
    shop: Project, key: Callable[..., str], make_project: Callable[..., Any]
) -> None:
    other = make_project().project
    assert by_key(key("read")).get(address(shop)).status_code == 200
    assert by_key(key("read", other)).get(address(shop)).status_code == 404
    assert by_key(key("read")).get(address(other)).status_code == 404


def test_a_write_key_a_revoked_and_a_wrong_one_are_refused(
    shop: Project, key: Callable[..., str], valkey: redis.Redis
) -> None:
    response = by_key(key("write")).get(address(shop))
    assert (response.status_code, response.json()["code"]) == (403, "wrong_key_kind")
    secret = key("read")
    services.revoke_key(shop.keys.latest("id"))
    keyring.rebuild(valkey)
    assert (by_key(secret).get(address(shop)).json()["code"]) == "key_revoked"
    assert by_key("es_r_nonsense").get(address(shop)).status_code == 401


def test_a_deleted_project_has_no_ledger(shop: Project, login: Callable[..., APIClient]) -> None:
    owner = shop.memberships.get(role="owner").user
    services.delete_project(shop)
    assert login(owner).get(address(shop)).status_code == 404


def test_the_answer_costs_as_many_queries_however_long_it_is(
    shop: Project, key: Callable[..., str], hour: datetime, django_assert_num_queries: Any
) -> None:
    for back in range(20):
        Ledger.objects.create(project=shop, hour=hour - timedelta(hours=back), rejected={})
    client = by_key(key("read"))
    with django_assert_num_queries(1):
        assert len(client.get(address(shop)).json()["hours"]) == 20


@pytest.mark.parametrize("server", ["valkey", "postgres"])
def test_a_server_that_is_away_is_a_503(
    shop: Project, login: Callable[..., APIClient], request: pytest.FixtureRequest, server: str
) -> None:
    client = login(shop.memberships.get(role="owner").user)
    running: Services = request.getfixturevalue("services")
    connection.close()
    getattr(running, server).stop()
    response = client.get(address(shop))
    getattr(running, server).start()
    connection.close()  # of before
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert int(response["Retry-After"]) >= 1


def test_it_takes_the_address_without_the_slash_and_no_post(
    shop: Project, login: Callable[..., APIClient]
) -> None:
    client = login(shop.memberships.get(role="owner").user)
    assert client.get(address(shop).rstrip("/")).status_code == 200
    assert client.post(address(shop)).status_code == 405
