"""What cannot be done from outside: a process of the product that dies at one certain line. Run by `manage.py shell`."""

import json
import os
import random
import signal
from datetime import UTC, datetime, timedelta

import redis
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction

from events import buffer, store
from events.accept import accept
from events.envelope import encode
from events.limits import Limits
from events.protocols import native
from eventsite.valkey import sync_client
from projects import services
from torture.crowd import new_ids

IDS = 150
TRIES = 400


def midnight(seed: int) -> None:
    """Queues the same ids with receipts before and after midnight, several times; stores a part of them, and dies."""
    client, ids = sync_client(), new_ids(random.Random(seed), IDS)
    owner = User.objects.filter(is_superuser=True).first()
    if owner is None:
        raise SystemExit("no admin")
    project = services.create_project(name=f"Midnight {seed}", owner=owner).project
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    sides = [today - timedelta(seconds=1), today + timedelta(seconds=1)]
    # One push, so that their counts come at once: hours long over are dropped from the queue's counts when copied.
    units = [_unit(project.pk, order, side) for order in (ids, ids[::-1]) for side in sides]
    _keep_others_out()
    outcomes = buffer.push(client, units).outcomes
    if not all(outcome.is_taken for outcome in outcomes):
        raise SystemExit(f"not taken: {outcomes}")
    print(json.dumps({"project_id": project.pk, "ids": ids}), flush=True)
    store_and_die(client, project.pk)


def _unit(project_id: int, ids: list[str], received_at: datetime) -> buffer.Unit:
    body = json.dumps([{"id": event_id, "name": "midnight"} for event_id in ids]).encode()
    decision = accept(
        native.split(body), project_id=project_id, limits=Limits.from_settings(), received_at=received_at
    )
    rows = [encode(envelope) for envelope in decision.envelopes]
    return buffer.unit(project_id, rows, int(received_at.timestamp() * 1000))


def store_and_die(client: redis.Redis, project_id: int) -> None:
    """Drains slot 0 until a batch holds the project's events; that one is committed and never acked."""
    mark = b'"project_id":%d,' % project_id
    for _ in range(TRIES):
        with transaction.atomic():
            store.take_slot(0)
            batch = buffer.claim(client, 0)
            stored = store.store(batch, slot=0) if batch.ids else store.Stored()
        if any(mark in payload for payload in batch.payloads):
            os.kill(os.getpid(), signal.SIGKILL)
        failed = stored.failed
        buffer.ack(client, 0, batch.ids, events=batch.events, dead=failed.total(), dead_projects=set(failed))
    raise SystemExit("the events did not come to slot 0")


def _keep_others_out() -> None:
    """The slots are this session's until it ends: the workers' runs find them busy, ours passes its own lock."""
    with connection.cursor() as cursor:
        for slot in range(settings.EVENTS_DRAIN_SLOTS):
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", [store.SLOT_LOCK, slot])
