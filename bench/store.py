"""Rows a second of our one statement against Django's bulk_create, in the same table, in turns (writers.py).

Starts a stack of its own for its PostgreSQL and removes it: `make bench BENCH=store`.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from statistics import median

from bench.tables import table
from systemtest.stack import Stack, stack_in_clean_folder

HEAD = (
    "events",
    "bytes each",
    "one statement, rows/s",
    "bulk_create, rows/s",
    "ratio",
    "lowest, highest ratio",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench BENCH=store", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (default: 15)")
    parser.add_argument("--batches", type=int, default=5, help="batches of 1,000 a turn (default: 5)")
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    with stack_in_clean_folder() as stack:
        stack.start()
        use(stack)
        rows = [compare(kind, arguments.rounds, arguments.batches) for kind in ("small", "purchase")]
    print(
        f"median of {arguments.rounds} rounds in turns, {os.cpu_count()} cores, load average before {load_before:.1f}\n"
    )
    print(table(HEAD, rows))
    return 0


def use(stack: Stack) -> None:
    """Makes this process a Django process of that stack, with a lasting connection as a worker has."""
    os.environ.update(
        EVENTSITE_VAR=str(stack.var),
        DATABASE_URL=stack.credentials["database_url"],
        REDIS_URL=stack.credentials["redis_url"],
        DJANGO_SETTINGS_MODULE="eventsite.settings",
    )
    import django

    django.setup()


def compare(kind: str, rounds: int, batches: int) -> list[str]:
    """Lets both write new events in turns, each round the other one first; returns a row of the table."""
    from bench import writers  # needs the settings

    rates: dict[Callable[[writers.Batch], None], list[float]] = {
        writers.one_statement: [],
        writers.bulk_create: [],
    }
    for number in range(rounds + 1):
        for write in list(rates) if number % 2 else list(rates)[::-1]:
            made = [writers.make_batch(kind) for _ in range(batches)]
            begin = time.perf_counter()
            for batch in made:
                write(batch)
            if number:  # the first round warms up
                rates[write].append(batches * writers.BATCH_EVENTS / (time.perf_counter() - begin))
    ours, theirs = rates.values()
    ratio = [own / other for own, other in zip(ours, theirs, strict=True)]
    size = sum(map(len, writers.make_batch(kind))) // writers.BATCH_EVENTS
    spread = f"{min(ratio):.1f}, {max(ratio):.1f}"
    return [
        kind,
        f"{size:,}",
        f"{median(ours):,.0f}",
        f"{median(theirs):,.0f}",
        f"{median(ratio):.1f}",
        spread,
    ]


if __name__ == "__main__":
    sys.exit(main())
