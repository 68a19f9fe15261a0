"""Celery: workers, the drain's rate limit, autoretry and schedules. The queue of record is not here (events/buffer.py)."""

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import redis
from billiard import current_process
from celery import Celery
from celery.signals import worker_init, worker_process_init, worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "eventsite.settings")

from django.conf import settings

from eventsite import metrics
from eventsite.broker import broker_url
from eventsite.launch import PART_MARK
from eventsite.valkey import sync_client

# A publisher must not hang with its broker; a worker's socket waits longer than its BRPOP (1 s) and a slow fsync.
PUBLISHER_SOCKET_SECONDS = 2
WORKER_SOCKET_SECONDS = 30
LAKE_NICENESS = 5  # still a quarter of a busy core, where sealing the full store rate takes a fifth
FULL_SHARE = 0.9  # of Valkey's memory: the queue's bound is half, so above this something is wrong, and Celery needs room

TRANSPORT_OPTIONS: dict[str, Any] = {
    "visibility_timeout": 120,
    "unacked_restore_interval": 5,  # with throttle 1: a lost worker's task is back after 7 s, not after 101
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 2,
    "socket_timeout": PUBLISHER_SOCKET_SECONDS,
    "health_check_interval": 10,
}

app = Celery("eventsite")
app.conf.update(
    broker_url=broker_url(settings.REDIS_URL),
    broker_transport_options=TRANSPORT_OPTIONS,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_ignore_result=True,
    task_acks_late=True,  # not for drain: see tasks/pipeline.py
    task_publish_retry=False,
    task_time_limit=60,
    task_default_queue="celery",
    task_routes={
        "tasks.pipeline.drain": {"queue": "drain"},
        "tasks.lake.work": {"queue": "lake"},
        "tasks.maintenance.erase_deleted_projects": {"queue": "lake"},
        "tasks.maintenance.drop_old_rows": {"queue": "lake"},
    },
    worker_prefetch_multiplier=1,
    worker_consumer="eventsite.consumer:Consumer",
    worker_soft_shutdown_timeout=5,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_max_memory_per_child=400_000,  # KiB: a batch of 8 MB costs its worker about 100 MB
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    timezone="UTC",
    imports=["tasks.pipeline", "tasks.maintenance", "tasks.replay", "tasks.lake"],
    beat_schedule={
        "tick": {"task": "tasks.pipeline.tick", "schedule": 1.0, "options": {"expires": 2}},
        "lake": {"task": "tasks.lake.ring", "schedule": 2.0, "options": {"expires": 2}},
        "partitions": {"task": "tasks.maintenance.ensure_partitions", "schedule": 600.0},
        "replays": {"task": "tasks.replay.resume", "schedule": 10.0, "options": {"expires": 10}},
        "dead_letters": {"task": "tasks.maintenance.expire_dead_letters", "schedule": 3600.0},
        "old_rows": {
            "task": "tasks.maintenance.drop_old_rows",
            "schedule": 3600.0,
            "options": {"expires": 3600},
        },
        "projects": {
            "task": "tasks.maintenance.delete_project_data",
            "schedule": 30.0,
            "options": {"expires": 30},
        },
    },
)


@worker_init.connect
def _use_worker_connections(**_: object) -> None:
    """Workers wait longer on the broker than web processes, and keep their database connection between tasks."""
    app.conf.broker_transport_options = TRANSPORT_OPTIONS | {"socket_timeout": WORKER_SOCKET_SECONDS}
    settings.DATABASES["default"]["CONN_MAX_AGE"] = None


@worker_init.connect
def _share_memory(**_: object) -> None:
    """What is imported by now stays shared with the pool's processes: the collector would write to all of it."""
    app.loader.import_default_modules()
    gc.collect()
    gc.freeze()


@worker_init.connect
def _make_room(**_: object) -> None:
    """At Valkey's memory limit no message can be sent, and a worker ends: its successor first drains without Celery.

    A batch of each slot at a time, by a process of its own, until there is room: the stream drains on whatever happens.
    """
    drain = [sys.executable, str(settings.BASE_DIR / "manage.py"), "drain", "--once"]
    while os.environ.get(PART_MARK) == "drain" and _is_full():
        if subprocess.run(drain, check=False).returncode:
            return  # paused, or the database is away: nothing to be done here


def _is_full() -> bool:
    """Says whether Valkey is at its limit with events to drain."""
    from events import buffer  # needs Django's apps, which Celery loads after this module

    try:
        memory, waiting = sync_client().info("memory"), buffer.depth(sync_client()).entries
    except redis.RedisError:
        return False
    return bool(waiting and 0 < FULL_SHARE * memory["maxmemory"] <= memory["used_memory"])


@worker_process_init.connect
def _share_metrics(**_: object) -> None:
    """A part of the stack names its pool's processes by their place: a successor goes on with the same figures."""
    part, place = os.environ.get(PART_MARK), getattr(current_process(), "index", 0)  # none in a pool of one
    metrics.share(name=None if part is None else f"{part}-{place}")


@worker_process_init.connect
def _stand_back(**_: object) -> None:
    """Sealing and merging take the time that nobody else wants: what is late in the lake is lost to nobody."""
    if os.environ.get(PART_MARK) == "lake":
        os.nice(LAKE_NICENESS)


@worker_ready.connect
def _tell_supervisor(**_: object) -> None:
    """The supervisor waits for this file (parts.py)."""
    if name := os.environ.get("EVENTSITE_READY_FILE"):
        Path(name).touch()
