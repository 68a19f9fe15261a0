"""`make loadtest`: 100 to 1,000 users with locust against a stack, then again with a slow drain and a small queue.

Starts stacks of its own. LOADTEST_VAR names the state directory of a running one instead (LOADTEST_URL: where it is
reached, if not as its credentials say); of that, only the first table is made. Ends with 1 when an acknowledged event is lost.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from systemtest.stack import ROOT, Stack, stack_in_clean_folder
from torture.crowd import Acknowledged
from torture.report import markdown
from torture.verdict import Verdict, judge

USERS = (100, 200, 300, 500, 1_000)
SECONDS = int(os.environ.get("LOADTEST_SECONDS", "15"))
EVERY_SECONDS = os.environ.get("LOADTEST_EVERY", "0.5")
# 200 events a second, and a queue of 25 s.
SLOW = {"EVENTS_DRAIN_RATE": 2, "EVENTS_BATCH_SIZE": 100, "EVENTS_QUEUE_MAX_EVENTS": 5_000}
HEAD = (
    "users",
    "requests/s",
    "accepted/s",
    "p50 ms",
    "p99 ms",
    "refused",
    "errors",
    "queue at the end",
    "stored/s",
)


@dataclass(frozen=True)
class Step:
    """What so many users saw from `begin` to `end` (epoch seconds), what was stored meanwhile, what then lay in the queue."""

    users: int
    requests: int
    begin: float
    end: float
    p50_ms: float
    p99_ms: float
    refused: int
    errors: int
    wrong_refusals: dict[str, int]
    acknowledged: list[str]
    queued: int
    stored: int

    @property
    def seconds(self) -> float:
        return max(0.001, self.end - self.begin)

    def row(self) -> list[str]:
        rates = [f"{count / self.seconds:,.0f}" for count in (self.requests, len(self.acknowledged))]
        times = [f"{self.p50_ms:,.0f}", f"{self.p99_ms:,.0f}"]
        counts = [f"{count:,}" for count in (self.refused, self.errors, self.queued)]
        return [f"{self.users:,}", *rates, *times, *counts, f"{self.stored / self.seconds:,.0f}"]


def main() -> int:
    raise_open_files()
    print(f"{os.cpu_count()} cores, load average before: {os.getloadavg()[0]:.1f}")
    print(
        f"each user sends an event every {EVERY_SECONDS} s, or as soon as the last is answered; {SECONDS} s a step",
        flush=True,
    )
    with chosen_stack() as stack:
        good = climb(stack)
    if "LOADTEST_VAR" not in os.environ:
        print(f"\nWith {', '.join(f'{name}={value}' for name, value in SLOW.items())}:", flush=True)
        with stack_in_clean_folder(**SLOW) as stack:
            good = climb(stack.start()) and good
    return 0 if good else 1


def climb(stack: Stack) -> bool:
    """All steps, one after another on the same stack; says whether all that was acknowledged is stored."""
    steps = [run(stack, users) for users in USERS]
    verdict = judge(stack, list(acknowledged(stack, steps)))
    print(f"\n{markdown(HEAD, [step.row() for step in steps])}\n")
    print(
        f"{sum(len(step.acknowledged) for step in steps):,} events acknowledged; in the end: {verdict.told()}",
        flush=True,
    )
    return is_good(verdict, steps)


def is_good(verdict: Verdict, steps: Sequence[Step]) -> bool:
    return verdict.is_good and not any(step.wrong_refusals for step in steps)


def acknowledged(stack: Stack, steps: Sequence[Step]) -> Iterator[Acknowledged]:
    project_id = int(stack.credentials["project_id"])
    for place, step in enumerate(steps):
        yield from (Acknowledged(project_id, event_id, place) for event_id in step.acknowledged)


def run(stack: Stack, users: int) -> Step:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "step.json"
        env = {**os.environ, "LOADTEST_KEY": stack.credentials["write_key"], "LOADTEST_OUTPUT": str(output)}
        env["LOADTEST_EVERY"] = EVERY_SECONDS
        command = [
            "-m",
            "locust",
            "-f",
            str(Path(__file__).parent / "locustfile.py"),
            "--headless",
            "--only-summary",
        ]
        command += ["--host", os.environ.get("LOADTEST_URL", stack.credentials["url"]).rstrip("/")]
        command += ["-u", str(users), "-r", str(users), "-t", f"{SECONDS}s", "--loglevel", "WARNING"]
        ended = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        queued = int(stack.valkey.hget("es:depth", "e") or 0)
        if not output.exists():
            sys.exit(f"locust ended with {ended.returncode}: {ended.stderr[-2000:]}")
        told = json.loads(output.read_text())
    step = Step(users=users, queued=queued, stored=stored(stack, told["begin"], told["end"]), **told)
    print(" | ".join(step.row()), flush=True)
    return step


def stored(stack: Stack, begin: float, end: float) -> int:
    """Events whose row was written between two moments."""
    between = "stored_at BETWEEN to_timestamp(%s) AND to_timestamp(%s)"
    return int(
        stack.ask(f"SELECT coalesce(sum(stored), 0) FROM events_batch WHERE {between}", begin, end)[0][0]
    )


@contextmanager
def chosen_stack() -> Iterator[Stack]:
    if var := os.environ.get("LOADTEST_VAR"):
        yield Stack(Path(var).resolve())
        return
    with stack_in_clean_folder() as stack:
        yield stack.start()


def raise_open_files() -> None:
    """A thousand users are a thousand connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
