"""The last hour: what a sample holds, that it is bounded, and that it never costs more than itself."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from events import history, tick
from events.drain import drain
from events.tests.conftest import queue
from events.tests.letters import refusing
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


@pytest.fixture
def shop(make_project: Callable[..., Any]) -> Project:
    project: Project = make_project().project
    return project


def note(client: redis.Redis, *, database_answers: bool = True) -> None:
    """Without waiting until the next is due."""
    client.delete("es:due:history")
    history.note(client, database_answers=database_answers)


def test_a_sample_counts_what_came_and_what_became_of_it(valkey: redis.Redis, shop: Project) -> None:
    note(valkey)  # where counting begins
    queue(valkey, [{"name": "seen", "properties": {"n": n}} for n in range(7)], project_id=shop.pk)
    drain(valkey, 0)
    with refusing():
        queue(valkey, {"name": "paid", "properties": {"amount": "1"}}, project_id=shop.pk)
        drain(valkey, 0)
    queue(valkey, {"name": "waits"}, project_id=shop.pk)
    note(valkey)
    (found,) = history.samples(valkey)
    assert (found.accepted, found.drained, found.queued) == (9, 8, 1)
    assert (found.batches, found.stored, found.dead, found.retried) == (2, 7, 1, 0)
    assert found.projects == {shop.pk: (9, 1)}
    assert found.p50 is not None
    assert found.p99 is not None
    assert 0 <= found.p50 <= found.p99 < 60


def test_what_was_counted_once_is_not_counted_again(valkey: redis.Redis, shop: Project) -> None:
    note(valkey)
    queue(valkey, {"name": "seen"}, project_id=shop.pk)
    drain(valkey, 0)
    note(valkey)
    note(valkey)
    first, second = history.samples(valkey)
    assert (first.accepted, first.stored) == (1, 1)
    assert (second.accepted, second.stored, second.batches) == (0, 0, 0)


def test_without_postgresql_the_queue_is_still_sampled(valkey: redis.Redis, shop: Project) -> None:
    note(valkey)
    queue(valkey, {"name": "waits"}, project_id=shop.pk)
    note(valkey, database_answers=False)
    (found,) = history.samples(valkey)
    assert (found.accepted, found.queued, found.stored, found.p50) == (1, 1, None, None)


def test_only_an_hour_is_kept_and_a_tick_adds_one_in_ten_seconds(valkey: redis.Redis, shop: Project) -> None:
    note(valkey)
    note(valkey)
    (line,) = valkey.lrange(history.SAMPLES, 0, -1)
    valkey.rpush(history.SAMPLES, *[line] * 500)
    note(valkey)
    tick.tick(valkey)
    tick.tick(valkey)
    assert valkey.llen(history.SAMPLES) == history.KEPT
    assert len(history.samples(valkey)) == history.KEPT


def test_what_another_version_left_is_passed_over(valkey: redis.Redis, shop: Project) -> None:
    for line in (b"no json", b'{"of": "another version"}', b"[1]"):
        valkey.lpush(history.SAMPLES, line)
        valkey.set(history.TOTALS, line)
        note(valkey)
    assert history.samples(valkey) == []


def test_a_sample_that_cannot_be_kept_does_not_stop_the_tick(valkey: redis.Redis, shop: Project) -> None:
    valkey.set(history.SAMPLES, "no list")
    valkey.set(history.TOTALS, b'{"at": 9000000000}')
    note(valkey)
    assert tick.tick(valkey).database_answers


@pytest.mark.parametrize(
    ("ranges", "least", "most"), [([], 0, 0), ([(5, 5)], 1, 1), ([(1, 40_000), (50_001, 50_100)], 95, 105)]
)
def test_rows_are_taken_evenly_over_all_batches(ranges: list[tuple[int, int]], least: int, most: int) -> None:
    ids = history._spread(ranges)
    assert least <= len(ids) <= most
    assert all(any(first <= one <= last for first, last in ranges) for one in ids)


def test_a_quantile_lies_between_the_bounds_of_its_bucket() -> None:
    grown = {"store bucket 0.1": 50.0, "store bucket 0.2": 100.0, "store bucket +Inf": 100.0}
    assert history._quantile(grown, "store", 0.5) == pytest.approx(0.1)
    assert history._quantile(grown, "store", 0.75) == pytest.approx(0.15)
    assert history._quantile({"store bucket +Inf": 0.0}, "store", 0.5) is None
