"""The two ways to write a batch into the events table, and batches to write. Needs Django set up."""

import time
import uuid
from datetime import UTC, datetime

import msgspec
from django.db import transaction

from bench.load import SMALL_EVENT
from events import store
from events.accept import accept
from events.buffer import Claimed
from events.envelope import encode
from events.limits import Limits
from events.models import Event
from events.protocols import native
from systemtest.fixtures.product_events import KINDS, product_events

BATCH_EVENTS, ENTRY_EVENTS = 1_000, 250
PURCHASES = 2  # their place among the kinds of fixtures: arrays, and most with a context
Batch = list[bytes]  # payloads of stream entries: envelopes with commas between


def make_batch(kind: str) -> Batch:
    """Accepts 1,000 new events, as the edge does, and lays them into entries as the group commit does."""
    if kind == "small":
        items = [msgspec.json.encode(SMALL_EVENT)] * BATCH_EVENTS
    else:
        texts = product_events(len(KINDS) * 20)[PURCHASES :: len(KINDS)]
        items = [_without_id(texts[number % len(texts)].body) for number in range(BATCH_EVENTS)]
    request = native.split(b"[" + b",".join(items) + b"]")
    decision = accept(request, project_id=1, limits=Limits.from_settings())
    rows = [encode(envelope) for envelope in decision.envelopes]
    return [b",".join(rows[start : start + ENTRY_EVENTS]) for start in range(0, BATCH_EVENTS, ENTRY_EVENTS)]


def _without_id(event: bytes) -> bytes:
    """Each batch's events are new: what is measured is inserting, not finding duplicates."""
    fields = msgspec.json.decode(event, type=dict[str, msgspec.Raw])
    fields.pop("id", None)
    return msgspec.json.encode(fields)


def one_statement(batch: Batch) -> None:
    """As the drain does it: slot, inbox, dedup over days, rows, ledger and batch in one commit."""
    now = time.time_ns() // 1_000_000
    claimed = Claimed(
        epoch=str(uuid.uuid4()),
        ids=[f"{now}-{number}" for number in range(len(batch))],
        payloads=batch,
        events=BATCH_EVENTS,
        first_ms=now,
        last_ms=now,
    )
    with transaction.atomic():
        store.take_slot(0)
        stored = store.store(claimed, slot=0).stored.total()
    if stored != BATCH_EVENTS:
        raise RuntimeError(f"{stored} of {BATCH_EVENTS} rows were stored")


def bulk_create(batch: Batch) -> None:
    """The rows alone, in one commit: no inbox, no look at neighbouring days, no counts."""
    now = datetime.now(UTC)
    events = [
        Event(
            project_id=row["project_id"],
            event_id=row["event_id"],
            client_event_id=row.get("client_event_id"),
            name=row["name"],
            user_id=row.get("user_id"),
            anonymous_id=row.get("anonymous_id"),
            session_id=row.get("session_id"),
            occurred_at=datetime.fromisoformat(row["occurred_at"]),
            received_at=datetime.fromisoformat(row["received_at"]),
            stored_at=now,
            properties=row["properties"],
            context=row["context"],
            batch_id=0,
        )
        for payload in batch
        for row in msgspec.json.decode(b"[" + payload + b"]")
    ]
    with transaction.atomic():
        Event.objects.bulk_create(events, batch_size=BATCH_EVENTS, ignore_conflicts=True)
