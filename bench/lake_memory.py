"""The most memory that the lake's worker takes for rows of several kinds, sealed and merged, each on a stack of its own:
`make bench BENCH=lake_memory`. Ends with 1 where that is more than 300 MB.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.tables import table
from systemtest.client import Client
from systemtest.stack import Stack, stack_in_clean_folder, wait

MOST_MB: Final = 300
BODY_BYTES: Final = 1 << 20
MERGED_SECONDS: Final = 400.0
# A minute after their seal large rows are merged too; steps follow each other within seconds.
LATEST: Final = "SELECT max(created_at) < now() - interval '75 seconds' FROM events_segment"
HEAD: Final = ("rows", "each", "files made by merging", "idle MB", "most MB", "s")
Properties = Callable[[random.Random], dict[str, Any]]
KINDS: Final[dict[str, tuple[int, Properties]]] = {
    "of three properties": (800_000, lambda r: {"path": f"/{r.randrange(500)}", "ref": "search", "ms": r.random()}),
    "of 2.5 kB": (40_000, lambda r: {"text": r.randbytes(1_200).hex(), "n": r.random()}),
    "of 10 kB": (24_000, lambda r: {"text": r.randbytes(5_000).hex(), "n": r.random()}),
    "of 100 kB, alike": (3_000, lambda r: {"text": f"{r.randrange(9)} and so on; " * 7_000}),
    "of which 1 in 50 of 60 kB": (80_000, lambda r: {"text": r.randbytes(30_000).hex() if r.random() < 0.02 else "short"}),
    "of 900 kB": (160, lambda r: {"text": r.randbytes(450_000).hex()}),
    "of 75 numbers": (60_000, lambda r: {f"k{n}": round(r.random() * 1e3, 3) for n in range(75)}),
    "of 150 numbers": (40_000, lambda r: {f"k{n}": round(r.random() * 1e3, 3) for n in range(150)}),
    "of 150 of 5,000 names": (40_000, lambda r: {f"k{r.randrange(5_000)}": r.random() for _ in range(150)}),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench BENCH=lake_memory", description=__doc__)
    parser.add_argument("--only", help="kinds with this in their name")
    arguments = parser.parse_args()
    rows = [measure(kind) for kind in KINDS if not arguments.only or arguments.only in kind]
    print(f"\n{table(HEAD, rows)}")
    return int(any(float(row[4]) > MOST_MB for row in rows))


def measure(kind: str) -> list[str]:
    count, properties = KINDS[kind]
    with stack_in_clean_folder() as stack:
        stack.start()
        pid, start = stack.parts()["lake"], time.monotonic()
        idle = highest_mb(pid)
        size = send(stack, count, properties)
        wait(lambda: stored(stack) == count, MERGED_SECONDS, "every event in the lake")
        wait(lambda: made(stack) and stack.ask(LATEST)[0][0], MERGED_SECONDS, "everything merged")
        most = highest_mb(pid)
        if pid != stack.parts()["lake"]:
            sys.exit(f"bench: the lake's worker was started again: {kind}")
        took = time.monotonic() - start
        row = [
            f"{count:,} {kind}",
            f"{size:,} B",
            str(made(stack)),
            f"{idle:.0f}",
            f"{most:.0f}",
            f"{took:.0f}",
        ]
    print(" | ".join(row), flush=True)
    return row


def highest_mb(pid: int) -> float:
    """Resident memory of a process, the most so far, in 10**6 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def send(stack: Stack, count: int, properties: Properties) -> int:
    """Posts so many events of the last minute, the queue's refusals again. Returns the bytes of one."""
    chance, sent, events, size = random.Random(7), 0, list[str](), 0  # noqa: S311
    client = Client(stack.credentials)
    for number in range(count):
        person = f"u-{chance.randrange(5_000)}"
        event = {"name": f"name {chance.randrange(20)}", "user_id": person, "properties": properties(chance)}
        events.append(json.dumps(event))
        size += len(events[-1])
        if size - sent >= BODY_BYTES or len(events) == 1_000 or number == count - 1:
            post(client, f"[{','.join(events)}]".encode())
            sent, events = size, []
    return size // count


def post(client: Client, body: bytes) -> None:
    while (reply := client.post(body)).status != 202:
        if reply.status not in (429, 503):
            sys.exit(f"bench: {reply.status} {reply.body[:300]!r}")
        time.sleep(0.2)


def stored(stack: Stack) -> int:
    """Rows in the lake."""
    sql = "SELECT coalesce(sum(rows), 0) FROM events_segment WHERE retired_at IS NULL"
    return int(stack.ask(sql)[0][0])


def made(stack: Stack) -> int:
    return int(stack.ask("SELECT count(*) FROM events_segment WHERE level > 0")[0][0])


if __name__ == "__main__":
    sys.exit(main())
