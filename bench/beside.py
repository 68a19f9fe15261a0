"""What the lake costs ingestion: batches stored with its worker at work and frozen, in turns long enough for merges to fall
into them; then single events at half of their maximum with and without heavy questions. On one stack, a quarter of an hour:
`make bench BENCH=beside`.
"""

import argparse
import http.client
import itertools
import json
import os
import signal
import statistics
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from bench import load
from bench.ingest import start
from bench.steps import Figures, Step, measure
from bench.tables import table
from systemtest.live import project_of, token
from systemtest.stack import Stack, stack_in_clean_folder, wait

BATCHES: Final = Step("100 events, 50 connections", 50, events=100)
NESTED: Final = Step("100 events of 0.9 kB, 50 connections", 50, events=100, event=load.NESTED_EVENT)
SINGLE: Final = Step("one event, 200 connections", 200)
ASKERS: Final = 2
CATCH_UP_SECONDS: Final = 180.0
MERGE_SECONDS: Final = 10  # the worker looks every five for what is due
HEAVY: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("trends", {"interval": None, "breakdown": {"field": "name"}, "measure": {"kind": "persons"}}),
    ("trends", {"interval": "minute", "measure": {"kind": "p95", "property": "ms"}, "period": {"last": "10h"}}),
    ("trends", {"interval": None, "breakdown": {"property": "path", "limit": 50}, "measure": {"kind": "count"}}),
    ("sessions", {"interval": None}),
)  # fmt: skip
HEAD: Final = (
    "beside",
    "requests/s",
    "stored/s",
    "p50 ms",
    "p99 ms",
    "non-2xx",
    "merged rows",
    "behind after, s",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench BENCH=beside", description=__doc__)
    parser.add_argument("--seconds", type=int, default=8, help="length of a step with questions (default: 8)")
    parser.add_argument("--rounds", type=int, default=4, help="how often these take turns (default: 4)")
    parser.add_argument(
        "--lake-seconds", type=int, default=150, help="length of a step of the lake's (default: 150)"
    )
    parser.add_argument("--lake-rounds", type=int, default=2, help="how often these take turns (default: 2)")
    parser.add_argument(
        "--nested", action="store_true", help="the lake's turns with events of 0.9 kB, not of 0.1"
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--only-lake", action="store_true", help="without the questions")
    only.add_argument("--only-questions", action="store_true", help="without the lake's own turns")
    arguments = parser.parse_args()
    load.require_wrk()
    with stack_in_clean_folder(EVENTS_STALL_SECONDS=600) as stack:
        start(stack)
        measure(stack, BATCHES, seconds=30 if arguments.only_questions else 2)
        if not arguments.only_questions:
            ways = {"frozen": frozen_lake, "at work": nothing}
            batches = BATCHES if not arguments.nested else NESTED
            turns(stack, batches, ways, seconds=arguments.lake_seconds, rounds=arguments.lake_rounds)
        if arguments.only_lake:
            return 0
        most = statistics.median(
            measure(stack, SINGLE, seconds=arguments.seconds).answered.requests / arguments.seconds
            for _ in range(2)
        )
        half = replace(SINGLE, name="half of that", per_second=most / 2)
        ways = {"alone": nothing, "questions": heavy_questions}
        turns(stack, half, ways, seconds=arguments.seconds, rounds=arguments.rounds)
    return 0


def turns(
    stack: Stack, step: Step, ways: dict[str, Callable[[Stack], Any]], *, seconds: int, rounds: int
) -> None:
    """Prints what each way came to, and the ratios of the second to the first."""
    rows, found = [], {name: list[Figures]() for name in ways}
    for _ in range(rounds):
        for name, beside in ways.items():
            before = merged(stack)
            with beside(stack):
                figures = measure(stack, step, seconds=seconds)
            found[name].append(figures)
            merged_rows = merged(stack) - before
            answered = figures.answered
            rows.append(
                [
                    name,
                    f"{answered.requests / answered.seconds:,.0f}",
                    f"{figures.stored_per_second:,.0f}",
                    f"{answered.p50_ms:.1f}",
                    f"{answered.p99_ms:.1f}",
                    str(answered.non_2xx),
                    f"{merged_rows:,}",
                    f"{caught_up(stack):.1f}",
                ]
            )
    rate = f", {step.per_second:,.0f} requests a second" if step.per_second else ""
    print(f"\n{step.name}{rate}\n\n{table(HEAD, rows)}\n", flush=True)
    first, second = found.values()
    pairs = list(zip(first, second, strict=True))
    for what, ratios in (
        ("stored/s", [after.stored_per_second / before.stored_per_second for before, after in pairs]),
        ("p99", [after.answered.p99_ms / before.answered.p99_ms for before, after in pairs]),
    ):
        shown = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        print(
            f"{what}, {' to '.join(reversed(ways))}: {shown}; median {statistics.median(ratios):.3f}",
            flush=True,
        )


def caught_up(stack: Stack) -> float:
    """Waits until nothing is unsealed, returns how many seconds that took; and then until no merge is at work, which
    would be one of the turn before.
    """  # fmt: skip
    unsealed = "SELECT count(*) FROM events_batch WHERE seal IS NULL"
    took = wait(lambda: stack.ask(unsealed)[0][0] == 0, CATCH_UP_SECONDS, "the lake has every event")
    latest = "SELECT coalesce(max(created_at) < now() - %s * interval '1 second', true) FROM events_segment"
    wait(lambda: stack.ask(latest, MERGE_SECONDS)[0][0], CATCH_UP_SECONDS, "nothing is being merged")
    return took


def merged(stack: Stack) -> int:
    """Rows of all merges so far."""
    return int(stack.ask("SELECT coalesce(sum(rows), 0) FROM events_segment WHERE level > 0")[0][0])


@contextmanager
def nothing(_: Stack) -> Iterator[None]:
    yield


@contextmanager
def frozen_lake(stack: Stack) -> Iterator[None]:
    pid = stack.parts()["lake"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def heavy_questions(stack: Stack) -> Iterator[None]:
    login = token(stack.credentials)
    path = f"/api/projects/{project_of(stack.credentials, login)}/insights/"
    over, answered = threading.Event(), itertools.count()
    askers = [
        threading.Thread(target=_ask, args=(stack, login, path, over, answered, place))
        for place in range(ASKERS)
    ]
    for asker in askers:
        asker.start()
    try:
        yield
    finally:
        over.set()
        for asker in askers:
            asker.join()
        print(f"  {next(answered)} questions answered", flush=True)


def _ask(
    stack: Stack, login: str, path: str, over: threading.Event, answered: Iterator[int], place: int
) -> None:
    """One question after another, each a little different, so that none is answered from what was kept."""
    web = http.client.HTTPConnection(urlsplit(stack.credentials["url"]).netloc, timeout=120)
    for number in itertools.count(place, ASKERS):
        if over.is_set():
            return
        kind, asked = HEAVY[number % len(HEAVY)]
        where = {"property": "nobody has it", "op": "!=", "value": number}
        body = json.dumps({"period": {"last": "1d"}, "where": where, **asked})
        web.request(
            "POST",
            f"{path}{kind}/",
            body,
            {"Authorization": f"Token {login}", "Content-Type": "application/json"},
        )
        response = web.getresponse()
        said = response.read()
        if response.status == 200:
            next(answered)
        elif response.status != 503:
            sys.exit(f"bench: {kind}: {response.status} {said[:300]!r}")


if __name__ == "__main__":
    sys.exit(main())
