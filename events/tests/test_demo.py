"""The demo: a month that is plausible and the same for a seed, and its way in through the pipeline."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from events import buffer, mending, rehearsal
from events.deadletter import Wanted
from events.demo import load
from events.demo.flaws import Sorter
from events.demo.live import Live
from events.demo.month import happenings
from events.demo.people import People
from events.drain import drain
from events.lake.seal import seal
from events.models import DeadLetter, Event
from projects.models import Project

MENDS = (
    {"path": "properties.amount", "do": "to_number"},
    {"path": "properties.currency", "do": "set", "value": "EUR"},
    {"path": "properties.orderId", "do": "rename", "to": "order_id"},
    {"path": "properties.plan", "do": "set", "value": "plus"},
)
NOW = datetime(2026, 11, 25, 14, tzinfo=UTC)


def month(seed: int = 7, events: int = 5_000) -> list[dict[str, Any]]:
    return list(happenings(People(Random(seed)), events=events, days=30, now=NOW))


@pytest.fixture(scope="module")
def told() -> list[dict[str, Any]]:
    return month()


def persons(told: list[dict[str, Any]], name: str) -> set[str]:
    return {event.get("user_id") or event["anonymous_id"] for event in told if event["name"] == name}


def test_the_same_seed_makes_the_same_month(told: list[dict[str, Any]]) -> None:
    assert month() == told
    assert month(seed=8) != told


def test_a_month_has_about_as_many_events_as_were_asked_for_on_each_of_its_days(
    told: list[dict[str, Any]],
) -> None:
    times = [event["occurred_at"] for event in told]
    assert 4_500 < len(told) < 5_500
    assert NOW - timedelta(days=30) <= min(times) <= max(times) <= NOW
    assert len({time.date() for time in times}) == 31


def test_fewer_persons_take_each_next_step_towards_an_order(told: list[dict[str, Any]]) -> None:
    steps = ("page_viewed", "product_viewed", "cart_added", "checkout_started", "order_completed")
    counts = [len(persons(told, step)) for step in steps]
    assert counts == sorted(set(counts), reverse=True)
    assert counts[-1] > 0


def test_a_discount_was_a_text_and_became_a_number(told: list[dict[str, Any]]) -> None:
    orders = [event for event in told if event["name"] == "order_completed"]
    kinds = [
        type(order["properties"]["discount"]) for order in sorted(orders, key=lambda one: one["occurred_at"])
    ]
    assert set(kinds) == {str, int}
    assert kinds == sorted(kinds, key=lambda kind: kind is int)


def test_some_events_are_late_and_some_come_twice(told: list[dict[str, Any]]) -> None:
    pairs = pairwise(told)
    assert any(later["occurred_at"] < earlier["occurred_at"] - timedelta(hours=6) for earlier, later in pairs)
    assert max(Counter(event["id"] for event in month(events=20_000) if "id" in event).values()) == 2


def test_flaws_befall_every_other_order_of_the_last_days_and_no_good_event_is_changed(
    told: list[dict[str, Any]],
) -> None:
    sorter = Sorter(NOW)
    good = list(sorter.good(told))
    kept = {id(event) for event in good}
    assert good == [event for event in month() if event in good]
    assert len(sorter.spoiled) == len({id(event) for event in told} - kept)
    assert {event["name"] for event in sorter.spoiled} == {"order_completed", "signed_up"}


def test_the_shop_goes_on_at_about_the_rate_asked_for() -> None:
    live = Live(People(Random(7)), rate=20, day=30, until=NOW)
    seconds = [live.due(NOW + timedelta(seconds=second)) for second in range(1, 121)]
    events = [event for second in seconds for event in second]
    assert 10 * 120 < len(events) < 30 * 120
    assert all(NOW < event["occurred_at"] <= NOW + timedelta(seconds=120) for event in events)


@pytest.fixture
def worker(tables: None, valkey: redis.Redis) -> Iterator[None]:
    """What a stack does with the queue: ticks, drains and seals, until the test is over."""
    buffer.note_tick(valkey)
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.02):
            for slot in (0, 1):
                drain(valkey, slot)
            seal()
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.django_db(transaction=True)
def test_a_demo_goes_through_the_pipeline_and_leaves_causes_to_mend(
    worker: None, make_user: Callable[..., User]
) -> None:
    make_user("ada", is_superuser=True)
    output = StringIO()
    call_command("demo", events=9_000, days=12, stdout=output)
    project = Project.objects.get(name="Web shop")
    letters = DeadLetter.objects.filter(project_id=project.pk)
    assert set(letters.values_list("field", flat=True)) == {
        "properties.amount", "properties.currency", "properties.order_id", "properties.plan",
    }  # fmt: skip
    for steps in MENDS:
        letter = letters.filter(field=steps["path"].replace("orderId", "order_id")).earliest("id")
        wanted = Wanted(project_id=project.pk, fingerprint=letter.fingerprint)
        tried = rehearsal.rehearse(wanted, mending.read(steps), by="ada")
        assert tried.would_store == tried.examined > 0
    stored = Event.objects.filter(project_id=project.pk).count()
    assert f"{stored:,} stored" in output.getvalue()
    assert f"{letters.count()} dead; 12 refused at the door" in output.getvalue()
    assert f"/projects/{project.pk}/overview" in output.getvalue()


@pytest.mark.django_db(transaction=True)
def test_without_a_stack_nothing_is_made(
    tables: None, make_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "TICKED_SECONDS", 0.3)
    make_user("ada", is_superuser=True)
    with pytest.raises(CommandError, match="Start the stack first"):
        call_command("demo")
    assert not Project.objects.exists()
