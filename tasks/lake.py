"""The lake's task, on a worker of its own: a message is a doorbell here too."""

from functools import cache
from typing import TYPE_CHECKING, Final

import redis
from kombu.exceptions import OperationalError

from eventsite.celery import app
from eventsite.valkey import sync_client

if TYPE_CHECKING:
    from events.lake.work import Worker

QUEUE: Final = "lake"


@app.task(name="tasks.lake.ring", ignore_result=True)
def ring() -> None:
    """On the default worker, by beat: where nobody takes the lake's messages, one waits and not thousands."""
    try:
        if not sync_client().llen(QUEUE):
            work.apply_async(expires=60, retry=False)
    except (OperationalError, redis.RedisError, OSError):
        return  # the next one will


@app.task(name="tasks.lake.work", acks_late=False, time_limit=180)
def work() -> dict[str, int]:
    return _worker().run(sync_client())


@cache
def _worker() -> "Worker":
    """Late: DuckDB would cost every other worker 30 MB."""
    from events.lake.work import Worker

    return Worker()
