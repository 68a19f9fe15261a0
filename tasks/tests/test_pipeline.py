"""The tasks as Celery knows them: routed, limited, retried as designed; and a ring that cannot be sent."""

import pytest
import redis

from eventsite.broker import broker_url
from eventsite.celery import app
from eventsite.pytest_services import Services
from tasks import pipeline


def test_drain_is_rate_limited_and_retried_three_times_for_infrastructure_only() -> None:
    task = pipeline.drain
    assert task.rate_limit == "50/s"
    assert (task.max_retries, task.autoretry_for, task.retry_backoff_max, task.retry_jitter) == (
        3,
        (pipeline.Transient,),
        5,
        True,
    )
    assert task.acks_late is False
    assert app.conf.task_routes["tasks.pipeline.drain"] == {"queue": "drain"}


def test_a_ring_leaves_one_message_that_expires(valkey: redis.Redis) -> None:
    pipeline.ring(0)
    (message,) = valkey.lrange("drain", 0, -1)
    assert b'"expires"' in message


def test_a_ring_that_cannot_be_sent_is_swallowed(services: Services) -> None:
    services.valkey.stop()
    try:
        pipeline.ring(0)
    finally:
        services.valkey.start()


@pytest.mark.parametrize(
    ("redis_url", "broker"),
    [
        ("unix:///run/v.sock?db=3", "redis+socket:///run/v.sock?virtual_host=3"),
        ("unix:///run/v.sock", "redis+socket:///run/v.sock?virtual_host=0"),
        ("redis://:pw@host:6379/1", "redis://:pw@host:6379/1"),
    ],
)
def test_a_socket_is_spelled_as_kombu_wants_it(redis_url: str, broker: str) -> None:
    assert broker_url(redis_url) == broker
