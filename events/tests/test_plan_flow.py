"""The tracking plan at work: at the door, in the drain, in dead letters and their replay, and on its way to every process."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis

from events import ledger, mending, rehearsal, replay
from events.deadletter import Wanted
from events.drain import drain
from events.lake.erase import erase_person
from events.models import DeadLetter, Event, Ledger, PlanViolation
from events.plan import mirror, tally, wire
from events.plan.book import Book
from events.plan_change import change
from events.tests.conftest import Reply, drf_send, edge_send, queue
from events.tests.letters import finish
from events.tick import tick
from projects import services
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]
SCHEMA = {"required": ["amount"], "properties": {"amount": {"type": "number"}}}
GOOD = {"name": "order_paid", "properties": {"amount": 1}}
BAD = {"name": "order_paid", "id": "o-1", "properties": {"amount": "12.50"}}
PATIENCE = 5.0  # seconds within which every process is to know


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process looks each time; the web server that runs beside it looks when it would."""
    monkeypatch.setattr("events.plan.book.LOOK_SECONDS", 0)
    monkeypatch.setattr("events.drain._book", Book())
    monkeypatch.setattr("events.api._book", Book())


@pytest.fixture
def shop(
    make_project: Callable[..., services.CreatedProject], valkey: redis.Redis
) -> services.CreatedProject:
    return make_project()


def plan(project: Project, mode: str, schema: Any = SCHEMA, name: str = "order_paid") -> None:
    change(project, name, by="ada", mode=mode, schema=schema)


def drain_all(client: redis.Redis) -> None:
    while drain(client, 0).outcome == "stored":
        pass


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "not within 5 s"
        time.sleep(0.05)
    return found


def balanced(client: redis.Redis) -> bool:
    return ledger.lines(client, since=datetime.now(UTC) - timedelta(hours=3), unbalanced=True) == []


def sender(kind: str, port: int, secret: str) -> Callable[[Any], Reply]:
    send = edge_send(port) if kind == "edge" else drf_send()
    return lambda body: send(body, Authorization=f"Bearer {secret}")


@pytest.mark.parametrize("kind", ["edge", "drf"])
def test_a_change_reaches_a_running_web_process_in_each_mode(
    kind: str, edge_port: int, shop: services.CreatedProject, valkey: redis.Redis
) -> None:
    send = sender(kind, edge_port, shop.write_key)
    assert send(BAD).json == {
        "accepted": 1,
        "rejected": 0,
        "errors": [],
        "warnings": [],
        "id": send(BAD).json["id"],
    }

    plan(shop.project, "reject")
    refused = until(lambda: reply if (reply := send([GOOD, BAD])).json["rejected"] else None)
    assert refused.status == 202
    assert [(e["index"], e["code"], e["field"], e["id"]) for e in refused.json["errors"]] == [
        (1, "plan_violation", "properties.amount", "o-1")
    ]
    assert send(BAD).status == 400 and send(BAD).json["code"] == "plan_violation"
    assert send(GOOD).json["warnings"] == [] and send(BAD | {"name": "other"}).status == 202

    plan(shop.project, "warn")
    warned = until(lambda: reply if (reply := send(BAD)).status == 202 else None).json
    (warning,) = warned["warnings"]
    assert (warning["code"], warning["field"]) == ("plan_violation", "properties.amount")
    assert warning["detail"] == '`amount` is not of type "number".'

    plan(shop.project, "bury")
    until(lambda: send(BAD).json["warnings"] == [])
    plan(shop.project, "off")
    until(lambda: valkey.hgetall(wire.REVISIONS) == {})
    assert send(BAD).json["warnings"] == []

    drain_all(valkey)
    until(lambda: tick(valkey) and Ledger.objects.get().warned.get("plan_violation"))
    row = Ledger.objects.get()
    assert row.rejected["plan_violation"] >= 3 and row.warned["plan_violation"] >= 1
    assert balanced(valkey)
    kept = PlanViolation.objects.get()
    assert (kept.name, kept.field) == ("order_paid", "properties.amount")
    assert kept.events == row.rejected["plan_violation"] + row.warned["plan_violation"] + 0
    assert {example["mode"] for example in kept.examples} <= {"warn", "reject"}
    assert kept.examples[0]["value"] == '"12.50"' and kept.examples[0]["version"] in (1, 2)


def test_a_burying_plan_makes_dead_letters_of_what_was_accepted(valkey: redis.Redis, shop: Any) -> None:
    plan(shop.project, "bury")
    decision = queue(valkey, [GOOD, BAD, BAD | {"id": "o-2", "name": "other"}], project_id=shop.project.pk)
    assert len(decision.envelopes) == 3 and not decision.warnings
    drain_all(valkey)
    assert sorted(Event.objects.values_list("name", flat=True)) == ["order_paid", "other"]
    letter = DeadLetter.objects.get()
    assert (letter.code, letter.field, letter.sqlstate) == ("plan_violation", "properties.amount", "")
    assert letter.error == "`amount` is not of type \"number\". Tracking plan of 'order_paid', version 1."
    (failure,) = letter.failures
    assert (failure["error"], failure["plan_version"]) == (letter.error, 1)
    tick(valkey)
    row = Ledger.objects.get()
    assert (row.accepted, row.stored, row.dead, row.warned) == (3, 2, 1, {}) and balanced(valkey)
    assert PlanViolation.objects.get().examples[0]["event_id"] == str(letter.event_id)


def test_a_letter_of_the_plan_is_mended_and_replayed(valkey: redis.Redis, shop: Any) -> None:
    plan(shop.project, "bury")
    queue(valkey, [BAD, BAD | {"id": "o-2"}], project_id=shop.project.pk)
    drain_all(valkey)
    wanted = Wanted(project_id=shop.project.pk, code="plan_violation")
    rule = mending.read({"path": "properties.amount", "do": "to_number"})
    as_it_is, mended = rehearsal.rehearse(wanted, by="ada"), rehearsal.rehearse(wanted, rule, by="ada")
    assert (as_it_is.would_store, as_it_is.misses[0].code) == (0, "plan_violation")
    assert (as_it_is.misses[0].outcome, as_it_is.misses[0].field) == ("dead", "properties.amount")
    assert mended.would_store == 2
    again = finish(valkey, replay.start(wanted, by="ada"))
    assert replay.progress(again)["buried"] == 2
    done = finish(valkey, replay.start(wanted, by="ada", rule=rule))
    assert replay.progress(done)["stored"] == 2
    assert list(Event.objects.values_list("properties__amount", flat=True)) == [12.5, 12.5]


def test_a_looser_version_lets_the_letters_in(valkey: redis.Redis, shop: Any) -> None:
    plan(shop.project, "bury")
    queue(valkey, BAD, project_id=shop.project.pk)
    drain_all(valkey)
    plan(shop.project, "bury", {"required": ["amount"]})
    wanted = Wanted(project_id=shop.project.pk)
    assert rehearsal.rehearse(wanted, by="ada").would_store == 1
    assert replay.progress(finish(valkey, replay.start(wanted, by="ada")))["stored"] == 1


def test_what_passed_the_door_before_a_rejecting_plan_came_there_is_buried(
    valkey: redis.Redis, shop: Any
) -> None:
    queue(valkey, BAD, project_id=shop.project.pk)
    plan(shop.project, "reject")
    drain_all(valkey)
    letter = DeadLetter.objects.get()
    assert letter.code == "plan_violation"
    assert rehearsal.check(letter, by="ada").outcome == "refused"


def test_a_flood_of_violations_in_two_projects_does_not_stop_the_pipeline(
    valkey: redis.Redis, make_project: Callable[..., Any]
) -> None:
    for created in (make_project(), make_project(name="Other")):
        plan(created.project, "bury")
        for part in range(2):
            events = [{"name": "order_paid", "id": f"{part}-{n}"} for n in range(400)]
            queue(valkey, events, project_id=created.project.pk)
    drain_all(valkey)
    assert drain(valkey, 0).outcome == "empty"
    assert DeadLetter.objects.filter(code="plan_violation").count() == 1600
    assert PlanViolation.objects.count() == 0 and tally.copy(valkey) == 2
    assert sum(PlanViolation.objects.values_list("events", flat=True)) == 1600


def test_each_project_and_name_is_held_to_its_own_plan(valkey: redis.Redis, make_project: Any) -> None:
    ours, theirs = make_project().project, make_project(name="Other").project
    plan(ours, "bury")
    plan(ours, "warn", {"required": ["path"]}, name="page_view")
    for project in (ours, theirs):
        queue(valkey, [BAD, {"name": "page_view"}], project_id=project.pk)
    drain_all(valkey)
    assert DeadLetter.objects.get().project_id == ours.pk
    assert Event.objects.count() == 3


def test_the_tick_repairs_a_mirror_that_was_lost_or_is_behind(valkey: redis.Redis, shop: Any) -> None:
    plan(shop.project, "warn")
    before = valkey.hgetall(wire.DOCUMENTS)
    valkey.delete(wire.REVISIONS, wire.DOCUMENTS, wire.VERSION)
    assert mirror.rebuild(valkey) == 1 and valkey.hgetall(wire.DOCUMENTS) == before
    assert mirror.rebuild(valkey) == 0
    services.delete_project(shop.project)
    valkey.delete(wire.VERSION)
    assert mirror.rebuild(valkey) == 1 and valkey.hgetall(wire.DOCUMENTS) == {}


def test_counts_that_come_to_the_database_twice_are_added_once(valkey: redis.Redis, shop: Any) -> None:
    plan(shop.project, "bury")
    queue(valkey, BAD, project_id=shop.project.pk)
    drain_all(valkey)
    valkey.rename(wire.COUNTS, wire.TAKEN_COUNTS)
    valkey.rename(wire.EXAMPLES, wire.TAKEN_EXAMPLES)
    valkey.hset(wire.TAKEN_COUNTS, "", "6f7f3c6a-54d8-5b4f-9c0e-0e6a3f1d2b7c")
    taken = valkey.dump(wire.TAKEN_COUNTS), valkey.dump(wire.TAKEN_EXAMPLES)
    assert tally.copy(valkey) == 1
    valkey.restore(wire.TAKEN_COUNTS, 0, taken[0])
    valkey.restore(wire.TAKEN_EXAMPLES, 0, taken[1])
    tally.copy(valkey)
    kept = PlanViolation.objects.get()
    assert kept.events == 1 and len(kept.examples) == 1


def test_fields_that_clients_make_up_are_bounded(valkey: redis.Redis, shop: Any) -> None:
    plan(shop.project, "bury", {"properties": {"amount": {}}, "additionalProperties": False})
    for part in range(3):
        events = [{"name": "order_paid", "properties": {f"x{part}-{n}": 1}} for n in range(100)]
        queue(valkey, events, project_id=shop.project.pk)
        drain_all(valkey)
        tally.copy(valkey)
    fields = dict(PlanViolation.objects.values_list("field", "events"))
    assert len(fields) == tally.MAX_FIELDS + 1 and fields["*"] == 200


def test_violations_are_forgotten_in_time(valkey: redis.Redis, shop: Any, settings: Any) -> None:
    plan(shop.project, "bury")
    queue(valkey, BAD, project_id=shop.project.pk)
    drain_all(valkey)
    tally.copy(valkey)
    assert tally.expire() == 0
    PlanViolation.objects.update(last_at=datetime.now(UTC) - timedelta(days=settings.EVENTS_DEAD_DAYS + 1))
    assert tally.expire() == 1


def test_erasing_a_person_drops_what_violations_show_and_keeps_their_counts(
    shop: services.CreatedProject, valkey: redis.Redis
) -> None:
    send = sender("drf", 0, shop.write_key)
    plan(shop.project, "reject")
    assert send(BAD | {"user_id": "ann"}).status == 400
    plan(shop.project, "bury", name="other")
    queue(valkey, BAD | {"name": "other", "user_id": "ann"}, project_id=shop.project.pk)
    drain_all(valkey)
    until(lambda: tick(valkey) and PlanViolation.objects.count() == 2)
    theirs = PlanViolation.objects.create(
        project_id=shop.project.pk + 1, name="a", field="f", events=1, examples=[{"value": "1"}],
        first_at=datetime.now(UTC), last_at=datetime.now(UTC), taken=uuid4(),
    )  # fmt: skip
    assert erase_person(shop.project.pk, "ann").proof.rows == 0
    ours = PlanViolation.objects.filter(project=shop.project)
    assert [(row.events, row.examples) for row in ours] == [(1, []), (1, [])]
    theirs.refresh_from_db()
    assert theirs.examples == [{"value": "1"}]
    queue(valkey, BAD | {"name": "other", "id": "o-2"}, project_id=shop.project.pk)
    drain_all(valkey)
    tally.copy(valkey)
    assert {row.name: len(row.examples) for row in ours.all()} == {"order_paid": 0, "other": 1}
