"""Pipeline: who sees how much, what is said while a server is away, pause and resume, the charts."""

from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from django.contrib.admin.models import LogEntry

from events import buffer, history
from events.drain import drain
from events.tests.conftest import queue
from events.tests.pages.conftest import Shop, browser
from events.views import pipeline_numbers
from events.views.pipeline_charts import charts

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


@pytest.fixture
def staff(shop: Shop) -> Any:
    shop.owner.is_staff = True
    shop.owner.save()
    return shop.owner


@pytest.fixture
def other(shop: Shop, make_project: Any, valkey: redis.Redis) -> Any:
    """Another's project, of which 50 events wait; of ours 3."""
    project = make_project(shop.outsider, name="Other").project
    queue(valkey, [{"name": "theirs", "properties": {"n": n}} for n in range(50)], project_id=project.pk)
    queue(valkey, [{"name": "ours", "properties": {"n": n}} for n in range(3)], project_id=shop.project.pk)
    return project


@pytest.mark.parametrize("below", ["pipeline", "pipeline/now"])
def test_people_of_a_project_see_it_and_nobody_else_does(shop: Shop, below: str) -> None:
    for person in (shop.owner, shop.member):
        assert browser(person).get(shop.path(below)).status_code == 200
    assert browser(shop.outsider).get(shop.path(below)).status_code == 404
    assert browser(None).get(shop.path(below)).status_code == 302


def test_staff_see_all_projects_members_their_own_part(shop: Shop, staff: Any, other: Any) -> None:
    def depth(person: Any, query: str = "") -> tuple[Any, ...]:
        told = browser(person).get(shop.path(f"pipeline/now{query}")).json()
        return told["texts"]["depth"], told["came"], told["texts"]["ledger_accepted"]

    assert depth(shop.member) == ("3", 3, "3")
    assert depth(shop.member, "?scope=all") == ("3", 3, "3")
    assert depth(staff, "?scope=project") == ("3", 3, "3")
    assert depth(staff) == ("53", 53, "53")


def test_a_member_is_not_told_how_much_others_send(shop: Shop, other: Any, valkey: redis.Redis) -> None:
    html = browser(shop.member).get(shop.path("pipeline")).content.decode()
    told = browser(shop.member).get(shop.path("pipeline/now")).json()["texts"]
    assert "53" not in {*told.values()}
    assert "50" not in {*told.values()}
    assert told["bytes"].endswith("%")
    assert "scope=project" not in html


def test_only_staff_pause_and_resume_and_it_is_kept_who_did(
    shop: Shop, staff: Any, valkey: redis.Redis
) -> None:
    sent = {"reason": "The disk is changed."}
    assert browser(shop.member).post(shop.path("pipeline/pause"), sent).status_code == 403
    assert browser(shop.outsider).post(shop.path("pipeline/pause"), sent).status_code == 404
    assert buffer.paused(valkey) is None
    assert browser(staff).post(shop.path("pipeline/pause"), {"reason": ""}).status_code == 422
    assert browser(staff).post(shop.path("pipeline/pause"), sent).status_code == 303
    assert buffer.paused(valkey) == "The disk is changed."
    told = browser(shop.member).get(shop.path("pipeline/now")).json()
    assert (told["stage"], told["paused"]) == ("drain", "The disk is changed.")
    assert browser(staff).post(shop.path("pipeline/resume")).status_code == 303
    assert buffer.paused(valkey) is None
    assert LogEntry.objects.count() == 2


def test_it_says_so_while_the_queue_is_away(shop: Shop, services: Any) -> None:
    services.valkey.stop()
    try:
        answer = browser(shop.owner).get(shop.path("pipeline"))
        told = browser(shop.owner).get(shop.path("pipeline/now")).json()
    finally:
        services.valkey.start()
    assert "The queue does not answer" in answer.content.decode()
    assert (told["tones"]["buffer"], told["came"]) == ("bad", None)


def test_it_says_so_while_postgresql_is_away(shop: Shop, valkey: redis.Redis, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        pipeline_numbers, "_database_answers", lambda: False
    )  # sessions need it, numbers do not
    found = pipeline_numbers.now(shop.project.pk)
    assert (found.limit.stage, found.tones["store"]) == ("store", "bad")
    assert "wait in the queue" in found.texts["sentence"]


def test_the_charts_show_the_project_or_all(shop: Shop, other: Any, valkey: redis.Redis) -> None:
    for _ in range(2):
        valkey.delete("es:due:history")
        history.note(valkey, database_answers=True)
        drain(valkey, 0)
    samples = history.samples(valkey)
    ours, everything = (charts(samples, scope, "UTC")[1].spec for scope in (shop.project.pk, None))
    assert (ours["series"][0]["v"], everything["series"][0]["v"]) == ([0], [0])
    part = browser(shop.owner, htmx="charts").get(shop.path("pipeline")).content.decode()
    assert part.count("data-chart=") == 4
    assert "<html" not in part


def test_a_refresh_asks_the_database_little(
    shop: Shop, other: Any, django_assert_max_num_queries: Any
) -> None:
    client = browser(shop.member)
    with django_assert_max_num_queries(6):
        client.get(shop.path("pipeline/now"))
    with django_assert_max_num_queries(20):
        client.get(shop.path("pipeline"))


def test_what_the_breaker_quotes_is_for_staff_alone(shop: Shop, staff: Any, valkey: redis.Redis) -> None:
    buffer.pause(valkey, "500 of 1000 failed as data, the last: their secret")
    for person, sees in ((shop.member, False), (staff, True)):
        answers = (browser(person).get(shop.path(below)) for below in ("pipeline", "pipeline/now"))
        assert [b"their secret" in answer.content for answer in answers] == [sees, sees]


def test_an_hour_that_does_not_balance_is_shown_to_its_project(
    shop: Shop, other: Any, valkey: redis.Redis
) -> None:
    hour = f"{datetime.now(UTC):%Y-%m-%dT%H:00Z}"
    assert "Balanced" in browser(shop.member).get(shop.path("pipeline")).content.decode()
    buffer.keep_unbalanced(valkey, {f"{other.pk} {hour}": 5})
    assert "Balanced" in browser(shop.member).get(shop.path("pipeline")).content.decode()
    buffer.keep_unbalanced(valkey, {f"{shop.project.pk} {hour}": 7})
    html = browser(shop.member).get(shop.path("pipeline")).content.decode()
    assert "Off by +7" in html
    assert "Hours that do not balance" in html
