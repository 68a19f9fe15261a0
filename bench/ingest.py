"""How many events a second this machine accepts and stores, at what cost, and against what else.

`make bench` starts a stack of its own in a new folder and removes it. With `--var` (and `--url`) a running stack is
used instead, and its events stay. Everything runs on this machine: load, web, queue, workers, PostgreSQL.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import load, report
from bench.processes import Processes
from bench.steps import VIEW_THREADS, Figures, Step, measure, plain_baseline
from systemtest.stack import Stack, served_by_wsgi, stack_in_clean_folder, wait

SINGLE = Step("one event, 1,000 connections", 1_000)
SINGLE_FEW = Step("one event, 50 connections", 50)
# Accepts several times what is drained: in a whole step it would fill the queue up to its bound.
BATCHES = Step("100 events, 50 connections", 50, events=100, share=0.3)
OTHERS = {
    "view": Step("the DRF view under WSGI", 1_000),
    "baseline": Step("Django + DRF, one INSERT a request", 1_000),
}
SETTLE_SECONDS = 3  # workers finish their start after the addresses are printed


def main() -> int:
    arguments = parse()
    load.require_wrk()
    with chosen_stack(arguments) as stack:
        print(
            f"memory of the whole stack before the load: {Processes(stack.var).pss_mb():.0f} MB PSS",
            flush=True,
        )
        ours, others = compare(stack, rounds=arguments.rounds, seconds=arguments.seconds)
        print("fewer connections, and batches ...", flush=True)
        rest = [measure(stack, step, seconds=arguments.seconds) for step in (SINGLE_FEW, BATCHES)]
    steps = [*ours, *rest, *(figures for theirs in others.values() for figures in theirs)]
    print(f"\n{report.throughput(steps)}\n\n{report.cost([*ours, *rest])}\n")
    print(*report.ratios(ours, {OTHERS[name].name: theirs for name, theirs in others.items()}), sep="\n")
    lost = report.lost([*ours, *rest])
    print(f"accepted but not stored: {lost}")
    return 1 if lost or any(figures.answered.non_2xx for figures in [*ours, *rest]) else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measures ingestion end to end.")
    parser.add_argument("--seconds", type=int, default=10, help="length of one step (default: 10)")
    parser.add_argument(
        "--rounds", type=int, default=2, help="how often ours and the others take turns (default: 2)"
    )
    parser.add_argument("--var", type=Path, help="state directory of a running stack, instead of an own one")
    parser.add_argument(
        "--url", help="address of that stack, where it is not the one in its credentials.json"
    )
    return parser.parse_args()


@contextmanager
def chosen_stack(arguments: argparse.Namespace) -> Iterator[Stack]:
    if arguments.var is None:
        with stack_in_clean_folder() as stack:
            start(stack)
            yield stack
        return
    stack = Stack(arguments.var.resolve())
    if not stack.parts():
        sys.exit(f"bench: nothing runs on {stack.var}")
    if arguments.url:
        stack.credentials = {**stack.credentials, "url": arguments.url.rstrip("/")}
    yield stack


def start(stack: Stack) -> None:
    """Starts from nothing and says how long it took until a first event, sent by the printed line, was a row."""
    begin = time.monotonic()
    stack.start()
    ready = time.monotonic() - begin
    pasted = subprocess.run(["sh", "-c", stack.curl_line], capture_output=True, text=True, check=True)
    event_id = json.loads(pasted.stdout)["id"]
    wait(lambda: stack.ask("SELECT 1 FROM events_event WHERE event_id = %s", event_id), 30, "the first event")
    print(f"{os.cpu_count()} cores, load average before: {os.getloadavg()[0]:.1f}")
    print(
        f"from nothing to the first stored event: {time.monotonic() - begin:.1f} s (up after {ready:.1f} s)",
        flush=True,
    )
    time.sleep(SETTLE_SECONDS)


def compare(stack: Stack, *, rounds: int, seconds: int) -> tuple[list[Figures], dict[str, list[Figures]]]:
    """The same load on ours and on the others in turns: what else the machine does then hits all of them."""
    ours: list[Figures] = []
    others: dict[str, list[Figures]] = {name: [] for name in OTHERS}
    for number in range(rounds):
        print(f"ours and the others, round {number + 1} of {rounds} ...", flush=True)
        ours.append(measure(stack, SINGLE, seconds=seconds))
        with served_by_wsgi(stack, threads=VIEW_THREADS) as at:
            others["view"].append(measure(stack, OTHERS["view"], seconds=seconds, credentials=at))
        with plain_baseline(stack) as at:
            figures = measure(stack, OTHERS["baseline"], seconds=seconds, credentials=at, table="bench_event")
            others["baseline"].append(figures)
    return ours, others


if __name__ == "__main__":
    sys.exit(main())
