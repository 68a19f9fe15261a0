"""Replays as Celery runs them: each run arms the next, a lost one is started again, and a queue that is away costs nothing."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.utils import timezone

from events import replay
from events.deadletter import Wanted
from events.models import DeadLetter, Replay
from eventsite.celery import app
from eventsite.pytest_services import Services
from projects.models import Project
from tasks import replay as tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def started(valkey: redis.Redis, make_project: Callable[..., Any]) -> Replay:
    project: Project = make_project().project
    DeadLetter.objects.create(
        project=project,
        payload=b"?",
        code="data_error",
        error="e",
        stage="store",
        attempts=1,
        received_at=timezone.now(),
    )
    return replay.start(Wanted(), by="ada")


def messages(valkey: redis.Redis) -> list[bytes]:
    return [message for message in valkey.lrange("celery", 0, -1) if b"tasks.replay.run" in message]


def test_a_run_arms_the_next_until_the_replay_is_done(valkey: redis.Redis, started: Replay) -> None:
    tasks.run(started.pk)
    (message,) = messages(valkey)
    assert b'"eta": "' in message
    tasks.run(started.pk)
    started.refresh_from_db()
    assert (started.state, len(messages(valkey))) == ("done", 1)


def test_what_nobody_runs_is_started_again(valkey: redis.Redis, started: Replay) -> None:
    tasks.resume()
    assert messages(valkey) == []
    Replay.objects.update(created_at=timezone.now() - 2 * replay.STALE)
    tasks.resume()
    assert len(messages(valkey)) == 1
    assert app.conf.beat_schedule["replays"]["task"] == tasks.resume.name


def test_a_queue_that_is_away_is_no_error(
    started: Replay, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    services.valkey.stop()
    with caplog.at_level(logging.WARNING):
        tasks.begin(started.pk)
    assert "was not started at once" in caplog.text
    tasks.resume()
    services.valkey.start()
