"""Events that no worker survives, and code that takes every event for bad data."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.db import connection

from events import buffer
from events.drain import drain
from events.models import DeadLetter, Event, Ledger
from events.tests.conftest import queue

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

RUN = """
import django
django.setup()
from events.drain import drain
from eventsite.valkey import sync_client
drain(sync_client(), 0)
"""


@pytest.fixture
def sleepy(db: None) -> Iterator[None]:
    """The table takes for ever over an event named `killer`: time enough to kill the process that stores it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION sleep_over(name text) RETURNS boolean LANGUAGE plpgsql AS"
            " $$ BEGIN IF name = 'killer' THEN PERFORM pg_sleep(600); END IF; RETURN true; END $$"
        )
        cursor.execute("ALTER TABLE events_event ADD CONSTRAINT awake CHECK (sleep_over(name))")
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE events_event DROP CONSTRAINT awake")
        cursor.execute("DROP FUNCTION sleep_over(text)")


def sleepers() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        return [row[0] for row in cursor.fetchall()]


def drain_and_die_at_the_killer() -> bool:
    """A real process drains slot 0; it is killed when the database comes to the killer. False if it ended by itself."""
    environment = os.environ | {
        "DATABASE_URL": _test_database_url(),
        "DJANGO_SETTINGS_MODULE": "eventsite.settings",
    }
    process = subprocess.Popen([sys.executable, "-c", RUN], env=environment, cwd=django_settings.BASE_DIR)
    while process.poll() is None:
        if pids := sleepers():
            process.send_signal(signal.SIGKILL)
            process.wait()
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s)", [pids[0]])
            while sleepers():
                time.sleep(0.01)
            return True
        time.sleep(0.01)
    assert process.returncode == 0
    return False


def _test_database_url() -> str:
    return os.environ["DATABASE_URL"].replace("/eventsite?", f"/{connection.settings_dict['NAME']}?")


def test_only_the_event_that_kills_its_worker_is_buried(valkey: redis.Redis, sleepy: None) -> None:
    names = ["a", "b", "killer", "c"]
    ids = [str(uuid.uuid4()) for _ in names]
    queue(valkey, [{"name": "before"}] * 3)
    queue(valkey, [{"name": name, "id": event_id} for name, event_id in zip(names, ids, strict=True)])
    queue(valkey, [{"name": "after"}] * 3)
    deaths = 0
    while buffer.depth(valkey).events:
        deaths += drain_and_die_at_the_killer()
        assert deaths < 8
    assert deaths == 4  # twice in its batch, once alone, once event by event
    assert Event.objects.count() == 9
    letter = DeadLetter.objects.get()
    assert (str(letter.event_id), letter.name, letter.code) == (ids[2], "killer", "worker_killed")
    assert [one["error"] for one in letter.failures] == ["the worker died"] * 4
    assert letter.attempts == 4
    assert letter.first_failed_at < letter.last_failed_at
    row = Ledger.objects.get()
    assert (row.stored, row.duplicate, row.dead) == (9, 0, 1)
    assert (valkey.hlen("es:crashes"), valkey.hlen("es:killers"), valkey.exists("es:row:0", "es:work:0")) == (
        0,
        0,
        0,
    )


def test_a_caught_error_is_no_death(valkey: redis.Redis, settings: Any) -> None:
    queue(valkey, [{"name": "a"}])
    for _ in range(5):
        buffer.claim(valkey, 0)
        buffer.give_up(valkey, 0)
    assert buffer.claim(valkey, 0).deaths == 0
    assert buffer.claim(valkey, 0).deaths == 0  # the run before said nothing: one death
    assert valkey.hvals("es:crashes") == [b"1"]
    assert drain(valkey, 0).stored == 1


@pytest.fixture
def refuse_all(db: None) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE events_event ADD CONSTRAINT nothing CHECK (name = 'good')")
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE events_event DROP CONSTRAINT IF EXISTS nothing")


def test_when_half_of_a_thousand_fail_in_two_projects_draining_stops_and_says_so(
    valkey: redis.Redis, refuse_all: None
) -> None:
    for _ in range(12):
        queue(valkey, [{"name": "bad"}] * 50, project_id=1)
        queue(valkey, [{"name": "bad"}] * 50, project_id=2)
    settings_batch = [drain(valkey, 0).outcome for _ in range(3)]
    assert settings_batch == ["paused"] * 3
    assert "failed as data" in (buffer.paused(valkey) or "")
    assert DeadLetter.objects.count() == 0  # nothing of that batch was buried
    assert buffer.depth(valkey).events == 1_200
    buffer.resume(valkey)
    assert drain(valkey, 0).outcome == "paused"
    buffer.resume(valkey, bury=True)
    assert drain(valkey, 0).dead == 1_000


def test_small_batches_that_fail_add_up(valkey: redis.Redis, refuse_all: None, settings: Any) -> None:
    settings.EVENTS_BATCH_SIZE = 100
    for n in range(14):
        queue(valkey, [{"name": "bad"}] * 100, project_id=1 + n % 2)
    drained = [drain(valkey, 0) for _ in range(7)]
    assert [one.dead for one in drained] == [100] * 5 + [0, 0]
    assert "500 of the last 500 events" in (buffer.paused(valkey) or "")


def test_one_project_that_sends_rubbish_stops_nobody(valkey: redis.Redis, refuse_all: None) -> None:
    for _ in range(3):
        queue(valkey, [{"name": "bad"}] * 600, project_id=1)
        queue(valkey, [{"name": "good"}] * 100, project_id=2)
    while drain(valkey, 0).outcome == "stored":
        pass
    assert buffer.paused(valkey) is None
    assert (DeadLetter.objects.count(), Event.objects.count()) == (1_800, 300)
