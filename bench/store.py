"""Rows a second of our one statement against Django's bulk_create, in the same table, in turns.

Ours is `events.store.store` as the drain runs it: slot, inbox, dedup over days, rows, ledger, batch, one commit.
bulk_create gets the same bytes from the queue, writes the rows with ignore_conflicts, and does nothing else of that.
Starts a stack of its own for its PostgreSQL and removes it: `make bench BENCH=store`.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from statistics import median

from bench.load import SMALL_EVENT
from bench.report import table
from systemtest.fixtures.product_events import KINDS, product_events
from systemtest.stack import Stack, stack_in_clean_folder

BATCH_EVENTS, ENTRY_EVENTS = 1_000, 250
PURCHASES = 2  # its place among the kinds of fixtures: about a kilobyte, with arrays and a context
Batch = list[bytes]  # payloads of stream entries: envelopes with commas between


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench BENCH=store", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (default: 15)")
    parser.add_argument("--batches", type=int, default=5, help="batches of 1,000 a turn (default: 5)")
    arguments = parser.parse_args()
    with stack_in_clean_folder() as stack:
        stack.start()
        use(stack)
        rows = [compare(kind, arguments.rounds, arguments.batches) for kind in ("small", "purchase")]
    head = ["events", "bytes each", "one statement, rows/s", "bulk_create, rows/s", "ratio", "lowest, highest ratio"]
    print(f"median of {arguments.rounds} rounds in turns, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}\n")
    print(table(head, rows))
    return 0


def use(stack: Stack) -> None:
    """Makes this process a Django process of that stack."""
    os.environ.update(
        EVENTSITE_VAR=str(stack.var),
        DATABASE_URL=stack.credentials["database_url"],
        REDIS_URL=stack.credentials["redis_url"],
        DATABASE_CONN_MAX_AGE="3600",
        DJANGO_SETTINGS_MODULE="eventsite.settings",
    )
    import django

    django.setup()


def compare(kind: str, rounds: int, batches: int) -> list[str]:
    ours, theirs = [], []
    size = 0
    for number in range(rounds + 1):
        turns: list[tuple[Callable[[Batch], None], list[float]]] = [(one_statement, ours), (bulk_create, theirs)]
        for write, rates in turns if number % 2 else reversed(turns):
            made = [make_batch(kind) for _ in range(batches)]
            size = sum(map(len, made[0])) // BATCH_EVENTS
            begin = time.perf_counter()
            for batch in made:
                write(batch)
            if number:  # the first round warms up
                rates.append(batches * BATCH_EVENTS / (time.perf_counter() - begin))
    ratio = [own / other for own, other in zip(ours, theirs, strict=True)]
    return [
        kind, f"{size}", f"{median(ours):,.0f}", f"{median(theirs):,.0f}", f"{median(ratio):.1f}",
        f"{min(ratio):.1f}, {max(ratio):.1f}",
    ]  # fmt: skip


def make_batch(kind: str) -> Batch:
    """Accepts 1,000 new events, as the edge does, and lays them into entries as the group commit does."""
    from events.accept import accept
    from events.envelope import encode
    from events.limits import Limits
    from events.protocols import native

    if kind == "small":
        items = [bytes_of(SMALL_EVENT)] * BATCH_EVENTS
    else:
        texts = product_events(len(KINDS) * 20)[PURCHASES :: len(KINDS)]
        items = [without_id(texts[number % len(texts)].body) for number in range(BATCH_EVENTS)]
    request = native.split(b"[" + b",".join(items) + b"]")
    decision = accept(request, project_id=1, limits=Limits.from_settings())
    rows = [encode(envelope) for envelope in decision.envelopes]
    return [b",".join(rows[start : start + ENTRY_EVENTS]) for start in range(0, BATCH_EVENTS, ENTRY_EVENTS)]


def bytes_of(event: object) -> bytes:
    import msgspec

    return msgspec.json.encode(event)


def without_id(event: bytes) -> bytes:
    """Each batch's events are new: what is measured is inserting, not finding duplicates."""
    import msgspec

    fields = msgspec.json.decode(event, type=dict[str, msgspec.Raw])
    fields.pop("id", None)
    return msgspec.json.encode(fields)


def one_statement(batch: Batch) -> None:
    import uuid

    from django.db import transaction

    from events import store
    from events.buffer import Claimed

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
        assert store.take_slot(0)
        stored = store.store(claimed, slot=0)
    assert stored.stored.total() == BATCH_EVENTS


def bulk_create(batch: Batch) -> None:
    from datetime import UTC, datetime

    import msgspec
    from django.db import transaction

    from events.models import Event

    now = datetime.now(UTC)
    rows = [row for payload in batch for row in msgspec.json.decode(b"[" + payload + b"]")]
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
        for row in rows
    ]
    with transaction.atomic():
        Event.objects.bulk_create(events, batch_size=BATCH_EVENTS, ignore_conflicts=True)


if __name__ == "__main__":
    sys.exit(main())
