"""What web process and drain count, as /metrics shows it within seconds."""

import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import redis

from events import buffer, store
from events.drain import drain
from events.tests.conftest import Reply, edge_send, queue
from eventsite import metrics
from eventsite.pytest_services import Services
from eventsite.tests.test_metrics import shown
from projects import services

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

Growth = Callable[..., None]


def values(read: Callable[[], dict[str, float]], names: Any) -> dict[str, float]:
    found = read()
    return {name: found.get(f"eventsite_{name}", 0.0) for name in names}


@pytest.fixture
def edge(edge_port: int, project: services.CreatedProject) -> Callable[..., Reply]:
    send = edge_send(edge_port)
    return lambda body, **options: send(body, **{"Authorization": f"Bearer {project.write_key}"} | options)


@pytest.fixture
def grows(edge_port: int) -> Callable[..., None]:
    """Does something and waits until the web process's figures have grown by exactly so much."""

    def read() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{edge_port}/metrics", timeout=10) as answer:
            return shown(answer.read().decode())

    def grows(act: Callable[[], object], **expected: float) -> None:
        wanted = {
            {
                "taken": 'requests_total{outcome="taken"}',
                "refused": 'requests_total{outcome="refused"}',
                "accept_in": 'stage_in_events_total{stage="accept"}',
                "accept_refused": 'stage_out_events_total{outcome="refused",stage="accept"}',
                "buffer_in": 'stage_in_events_total{stage="buffer"}',
                "buffer_taken": 'stage_out_events_total{outcome="taken",stage="buffer"}',
                "buffer_full": 'stage_out_events_total{outcome="queue_full",stage="buffer"}',
                "buffer_unconfirmed": 'stage_out_events_total{outcome="unconfirmed",stage="buffer"}',
                "blank": 'refused_events_total{code="blank"}',
                "invalid_key": 'refused_requests_total{code="invalid_key"}',
                "unavailable": 'refused_requests_total{code="unavailable"}',
            }[name]: count
            for name, count in expected.items()
        }
        before = values(read, wanted)
        act()
        deadline = time.monotonic() + 5
        while (grown := {n: v - before[n] for n, v in values(read, wanted).items()}) != wanted:
            assert time.monotonic() < deadline, grown
            time.sleep(0.05)

    return grows


def test_taken_requests_and_events_are_counted(edge: Callable[..., Reply], grows: Growth) -> None:
    def act() -> None:
        edge({"name": "a"})
        edge([{"name": "a"}, {"name": "b"}, {"name": ""}])

    grows(act, taken=2, accept_in=4, accept_refused=1, blank=1, buffer_in=3, buffer_taken=3, refused=0)


def test_requests_of_which_nothing_is_taken_are_counted_by_code(
    edge: Callable[..., Reply], grows: Growth
) -> None:
    def act() -> None:
        edge({"name": "a"}, Authorization="Bearer nonsense")
        edge([{"name": ""}, {"name": ""}])

    grows(act, refused=2, invalid_key=1, blank=2, accept_in=2, accept_refused=2, taken=0, buffer_in=0)


def test_what_the_queue_did_not_confirm_is_counted(
    edge: Callable[..., Reply], grows: Growth, services: Services
) -> None:
    def act() -> None:
        edge({"name": "a"})  # the key is known from now on
        services.valkey.stop()
        assert edge([{"name": "a"}] * 3).status == 503
        services.valkey.start()

    grows(act, taken=1, buffer_in=4, buffer_taken=1, buffer_unconfirmed=3, unavailable=1)


def count(counter: Any, *labels: str) -> float:
    return float(counter.labels(*labels)._value.get())


def test_a_drain_run_is_counted_once_its_batch_is_committed(valkey: redis.Redis, monkeypatch: Any) -> None:
    wanted = [(metrics.BATCHES, "stored"), (metrics.EVENTS_IN, "drain"), (metrics.EVENTS_IN, "store")]
    wanted += [(metrics.EVENTS_OUT, "store", outcome) for outcome in ("stored", "duplicate", "dead")]
    before = [count(*one) for one in wanted]
    queue(valkey, [{"name": "a", "id": "1"}, {"name": "a", "id": "1"}, {"name": "b"}])
    drain(valkey, 0)
    assert [count(*one) - was for one, was in zip(wanted, before, strict=True)] == [1, 3, 3, 2, 1, 0]


def test_a_run_that_fails_is_counted_as_failed(valkey: redis.Redis, monkeypatch: Any) -> None:
    def fail(*_: object, **__: object) -> store.Stored:
        raise KeyError("a fault of our own")

    monkeypatch.setattr(store, "store", fail)
    failed, stored = count(metrics.BATCHES, "failed"), count(metrics.EVENTS_IN, "store")
    queue(valkey, [{"name": "a"}])
    with pytest.raises(KeyError):
        drain(valkey, 0)
    assert count(metrics.BATCHES, "failed") - failed == 1
    assert count(metrics.EVENTS_IN, "store") == stored
    assert buffer.depth(valkey).events == 1
