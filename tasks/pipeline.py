"""The pipeline's tasks: a drain message is a doorbell, it carries no event."""

import logging
from typing import Any

import redis
from celery import Task
from django.conf import settings
from kombu.exceptions import OperationalError

from events import drain as drain_stage
from events import tick as tick_stage
from events.retry import Transient
from eventsite.celery import app
from eventsite.valkey import sync_client

log = logging.getLogger(__name__)

RING_EXPIRES_SECONDS = 10


def ring(slot: int) -> None:
    """Wakes a slot. A ring that cannot be sent is no loss: the tick rings while anything waits."""
    try:
        drain.apply_async((slot,), expires=RING_EXPIRES_SECONDS, retry=False)
    except (OperationalError, redis.RedisError, OSError) as error:
        log.warning("slot %s was not rung: %s", slot, error)


@app.task(
    bind=True,
    name="tasks.pipeline.drain",
    acks_late=False,  # the batch's safety is the stream, not this message
    rate_limit=f"{settings.EVENTS_DRAIN_RATE}/s",
    autoretry_for=(Transient,),
    max_retries=3,
    retry_backoff=settings.EVENTS_RETRY_BASE_SECONDS,
    retry_backoff_max=settings.EVENTS_RETRY_CAP_SECONDS,
    retry_jitter=True,
)
def drain(self: "Task[Any, Any]", slot: int) -> dict[str, Any]:
    """Stores one batch of a slot and says how many were claimed, stored, duplicate and dead, and how long it took."""
    attempt = self.request.retries
    drained = drain_stage.drain(sync_client(), slot, attempt=attempt, last_attempt=attempt >= 3)
    if drained.more:
        ring(slot)
    return drained.summary()


@app.task(name="tasks.pipeline.tick", ignore_result=True)
def tick() -> None:
    for slot in tick_stage.tick(sync_client()).ring:
        ring(slot)
