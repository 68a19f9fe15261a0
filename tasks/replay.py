"""Replays, chunk by chunk on the default worker; a lost task costs seconds, for beat starts what nobody runs."""

import logging
from typing import Final

import redis
from django import db
from kombu.exceptions import OperationalError

from events import replay
from events.settle import settle
from eventsite.celery import app
from eventsite.valkey import sync_client
from tasks.pipeline import ring

log = logging.getLogger(__name__)

UNSENT: Final = (OperationalError, redis.RedisError, OSError)


@app.task(name="tasks.replay.run", ignore_result=True)
def run(replay_id: int) -> None:
    ran = replay.run(sync_client(), replay_id)
    for slot in ran.ring:
        ring(slot)
    if ran.again_seconds is not None:
        run.apply_async((replay_id,), countdown=ran.again_seconds)


@app.task(name="tasks.replay.resume", ignore_result=True)
def resume() -> None:
    """What has arrived since is written to its letters; replays that stand still go on."""
    try:
        settle(sync_client())
        standing_still = replay.stale()
    except (db.OperationalError, db.InterfaceError, redis.RedisError) as error:
        db.connection.close()  # it may be broken
        log.warning("replays are not looked at: %s", type(error).__name__)
        return
    for replay_id in standing_still:
        run.delay(replay_id)


def begin(replay_id: int) -> None:
    """Starts a replay now; where Celery is away, beat does."""
    try:
        run.apply_async((replay_id,), retry=False)
    except UNSENT as error:
        log.warning("replay %s was not started at once: %s", replay_id, error)
