"""Real worker processes: stopped, slowed down, killed, and without their database."""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import psutil
import pytest

from systemtest.client import PAYLOAD, Load, post_all
from systemtest.stack import Stack, served_by_wsgi, stack_in_clean_folder, wait

pytestmark = pytest.mark.slow

RATE, BATCH = 2, 20
OUTAGE_SECONDS = 6.0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with stack_in_clean_folder() as stack:
        yield stack.start()


@pytest.fixture
def slow_stack() -> Iterator[Stack]:
    with stack_in_clean_folder(EVENTS_DRAIN_RATE=RATE, EVENTS_BATCH_SIZE=BATCH) as stack:
        yield stack.start()


def post(credentials: Mapping[str, Any], *events: dict[str, str]) -> None:
    (reply,) = post_all(credentials, [(json.dumps(events).encode(), "plain")], threads=1)
    assert reply.status == 202, reply.body


def missing(stack: Stack, ids: list[str]) -> int:
    (row,) = stack.ask("SELECT count(*) FROM events_event WHERE event_id = ANY(%s::uuid[])", ids)
    return len(ids) - int(row[0])


def kill(pid: int, number: signal.Signals) -> None:
    """Ends one process and waits until it does no more work."""
    process = psutil.Process(pid)
    os.kill(pid, number)
    wait(
        lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 10, f"the end of {pid}"
    )


def prove_nothing_lost(stack: Stack, load: Load, seconds: float) -> None:
    """Every acknowledged id is there once, and the queue is empty."""
    assert len(load.acknowledged) > 100
    wait(
        lambda: missing(stack, load.acknowledged) == 0,
        seconds,
        f"{len(load.acknowledged)} acknowledged events",
    )
    wait(lambda: stack.valkey.hget("es:depth", "e") == b"0", 5, "an empty queue")
    twice = "SELECT event_id FROM events_event GROUP BY event_id, project_id HAVING count(*) > 1"
    assert stack.ask(twice) == []
    assert stack.ask("SELECT count(*) FROM events_deadletter") == [(0,)]
    for log in (stack.var / "logs").iterdir():
        assert PAYLOAD not in log.read_text(errors="replace"), log.name


def test_an_event_posted_while_workers_are_stopped_waits_with_one_message(stack: Stack) -> None:
    parts = stack.parts()
    with served_by_wsgi(stack) as django_alone, stack.unattended():
        for name in ("drain", "worker"):  # the latter ticks
            kill(parts[name], signal.SIGTERM)
        post(django_alone, {"name": "while away", "id": "by the DRF view"})
        assert stack.valkey.llen("drain") == 1
        for number in range(30):
            post(stack.credentials, {"name": "while away", "id": f"by the edge {number}"})
        (message,) = stack.valkey.lrange("drain", 0, -1)
        assert json.loads(message)["headers"]["task"] == "tasks.pipeline.drain"
        assert b"while away" not in message
        assert stack.valkey.hget("es:depth", "e") == b"31"
        assert stack.ask("SELECT count(*) FROM events_event") == [(0,)]
    statement = "SELECT count(*) FROM events_event WHERE name = 'while away'"
    wait(lambda: stack.ask(statement) == [(31,)], 20, "the events, once the workers are back")
    wait(lambda: stack.valkey.llen("drain") == 0, 2, "no message left")


def a_batch_is_midway(stack: Stack) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'events_event'::regclass AND NOT granted"
    return stack.ask(waiting) != [(0,)]


def children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def test_pool_processes_killed_in_the_middle_of_a_batch_lose_nothing(stack: Stack) -> None:
    drain = stack.parts()["drain"]
    with Load(stack.credentials).running() as load:
        for _ in range(3):
            with stack.inserts_blocked():
                wait(lambda: a_batch_is_midway(stack), 10, "a batch inside its transaction")
                victims = children(drain)
                for victim in victims:
                    kill(victim.pid, signal.SIGKILL)
            wait(lambda: len(children(drain)) == len(victims), 10, "successors")  # noqa: B023  called before the next turn
            goal = len(load.acknowledged) + 300
            wait(lambda: len(load.acknowledged) > goal, 20, "load")  # noqa: B023
    assert stack.parts()["drain"] == drain
    prove_nothing_lost(stack, load, 20)


def test_a_drain_worker_killed_in_the_middle_of_a_batch_loses_nothing_and_another_goes_on(
    stack: Stack,
) -> None:
    drain = stack.parts()["drain"]
    with Load(stack.credentials).running() as load:
        with stack.inserts_blocked():
            wait(lambda: a_batch_is_midway(stack), 10, "a batch inside its transaction")
            kill(drain, signal.SIGKILL)
        wait(lambda: stack.parts().get("drain", drain) != drain, 20, "a new worker")
        after = len(load.acknowledged)
        wait(lambda: len(load.acknowledged) > after + 300, 20, "load")
    prove_nothing_lost(stack, load, 20)
    assert len(load.acknowledged) > after


def test_events_are_taken_while_postgresql_is_down_and_stored_when_it_is_back(stack: Stack) -> None:
    postmaster = stack.parts()["postgres"]
    with Load(stack.credentials).running() as load:
        wait(lambda: len(load.acknowledged) > 300, 20, "load")
        with stack.unattended():
            with stack.inserts_blocked():
                wait(lambda: a_batch_is_midway(stack), 10, "a batch inside its transaction")
                kill(postmaster, signal.SIGINT)
            begin, before = time.monotonic(), len(load.acknowledged)
            wait(lambda: time.monotonic() - begin > OUTAGE_SECONDS, OUTAGE_SECONDS + 1, "the outage")
            during = len(load.acknowledged) - before
            waiting = int(stack.valkey.hget("es:depth", "e") or 0)
        wait(lambda: stack.parts().get("postgres", postmaster) != postmaster, 20, "PostgreSQL")
    assert during > 300, "acknowledged while PostgreSQL was down"
    assert waiting >= during
    assert load.refused == 0
    prove_nothing_lost(stack, load, 30)
    # An operator sees in the admin that a slot failed and healed.
    failures = "SELECT count(*) FROM events_drainfailure WHERE healed_at IS NOT NULL"
    wait(lambda: stack.ask(failures) != [(0,)], 10, "the failed run, healed")


def test_a_slow_drain_rate_is_kept_with_a_backlog(slow_stack: Stack) -> None:
    stack = slow_stack
    post(stack.credentials, *({"name": "backlog"} for _ in range(BATCH * 40)))

    def begun() -> list[datetime]:
        rows = stack.ask("SELECT stored_at FROM events_batch WHERE events > 0 ORDER BY stored_at")
        return [moment for (moment,) in rows]

    wait(lambda: len(begun()) >= 12, 15, "a dozen batches")
    assert int(stack.valkey.hget("es:depth", "e") or 0) > 0, "there was a backlog all the time"
    moments = begun()
    for first, start in enumerate(moments):
        for last in range(first + 1, len(moments)):
            batches, seconds = last - first + 1, (moments[last] - start).total_seconds()
            assert batches <= RATE * seconds + 1 + 1, f"{batches} batches in {seconds:.2f} s"
    print(
        f"\n{len(moments)} batches in {(moments[-1] - moments[0]).total_seconds():.1f} s at {RATE} a second"
    )
    assert {events for (events,) in stack.ask("SELECT DISTINCT events FROM events_batch")} == {BATCH}
