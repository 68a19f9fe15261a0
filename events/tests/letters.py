"""Dead letters as they really come: accepted, queued, drained, refused by a constraint of the table."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from django.db import connection

from events import replay
from events.drain import drain
from events.models import DeadLetter, Replay
from events.tests.conftest import queue
from projects.models import Project

AMOUNT_IS_NUMBER = "jsonb_typeof(properties -> 'amount') IS DISTINCT FROM 'string'"


@contextmanager
def refusing(check: str = AMOUNT_IS_NUMBER, name: str = "amount_is_number") -> Iterator[None]:
    """For a while the table has a constraint."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE events_event ADD CONSTRAINT {name} CHECK ({check})")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE events_event DROP CONSTRAINT {name}")


def buried(
    client: redis.Redis, project: Project, *amounts: Any, name: str = "order_paid"
) -> list[DeadLetter]:
    """Sends an event for each amount while texts are refused; returns all letters."""
    events = [{"name": name, "id": f"o-{n}", "properties": {"amount": a}} for n, a in enumerate(amounts)]
    with refusing():
        queue(client, events, project_id=project.pk)
        while drain(client, 0).outcome == "stored":
            pass
    return list(DeadLetter.objects.order_by("id"))


def finish(client: redis.Redis, started: Replay, *, runs: int = 20) -> Replay:
    """Runs a replay to its end, draining in between, without waiting for its pace."""
    for _ in range(runs):
        if started.state not in replay.ACTIVE:
            return started
        Replay.objects.filter(pk=started.pk).update(last_run_at=None)
        replay.run(client, started.pk)
        while drain(client, 0).outcome == "stored":
            pass
        started.refresh_from_db()
    raise AssertionError(f"still {started.state} after {runs} runs: {started.note}")
