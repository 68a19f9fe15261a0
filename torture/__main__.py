"""`python -m torture --seed N --minutes 10`: a stack of its own, every fault once, then in random series; prints a table.

The seed decides which faults come in which order, whom they hit and for how long, and what is sent; not the scheduler's
moods. A failure prints the command that does the same again.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from systemtest.stack import Stack, stack_in_clean_folder, wait
from torture.crowd import Crowd, projects_of, refuse_poison
from torture.faults import FAULTS, SHORT, Inflict, Severity, Stage, fill_disk, small_disk
from torture.report import Tally
from torture.verdict import Verdict, judge
from torture.watch import recovery

FULL_DISK = "disk full under PostgreSQL"
RECOVERY_SECONDS = 10.0
ROUND = 6  # faults between two counts
PROJECTS = 4
WARM_EVENTS = 300
NO_ANSWER = "none"


@dataclass
class Torture:
    """One run: what it is to do, and what came of it so far."""

    seed: int
    appendfsync: str
    severity: Severity
    tally: Tally = field(default_factory=Tally)
    acknowledged: int = 0
    wrong: list[str] = field(default_factory=list)
    place: int = 0

    def series(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Rounds without end: every fault once in a random order, then whatever comes."""
        rng, once = random.Random(self.seed), list(names)
        rng.shuffle(once)
        for start in range(0, len(once), ROUND):
            yield once[start : start + ROUND]
        while True:
            yield [rng.choice(once) for _ in range(ROUND)]

    def on_one_stack(self, names: Sequence[str], seconds: float) -> None:
        """At least every fault once, however long it takes; then until the time is over."""
        begin, left = time.monotonic(), set(names)
        with self.stack() as stack:
            stack.start()
            refuse_poison(stack)
            crowd = Crowd(stack.credentials["url"], projects_of(stack, PROJECTS), self.seed)
            with crowd.sending():
                wait(lambda: len(crowd.acknowledged) > WARM_EVENTS, 30, "the first events")
                for number, faults in enumerate(self.series(names), 1):
                    for name in faults:
                        self.suffer(stack, crowd, name, FAULTS[name])
                        left.discard(name)
                        if not left and time.monotonic() - begin > seconds:
                            break
                    self.count(stack, crowd, f"round {number}")
                    if not left and time.monotonic() - begin > seconds:
                        break
            self.tell_of_failures(stack)

    def on_a_full_disk(self) -> None:
        with self.stack() as stack, small_disk(stack) as disk:
            if disk is None:
                self.tally.skipped[FULL_DISK] = "mounting a tmpfs is not allowed here"
                return
            stack.start()
            refuse_poison(stack)
            crowd = Crowd(stack.credentials["url"], projects_of(stack, PROJECTS), self.seed + 1)
            with crowd.sending():
                wait(lambda: len(crowd.acknowledged) > WARM_EVENTS, 30, "the first events")
                for _ in range(2):
                    self.suffer(stack, crowd, FULL_DISK, lambda stage: fill_disk(disk, stage))
                self.count(stack, crowd, FULL_DISK)

    def stack(self) -> AbstractContextManager[Stack]:
        return stack_in_clean_folder(VALKEY_APPENDFSYNC=self.appendfsync)

    def suffer(self, stack: Stack, crowd: Crowd, name: str, inflict: Inflict) -> None:
        """One fault, and the wait until it is recovered from."""
        self.place += 1
        crowd.place, before, begin = self.place, len(crowd.acknowledged), time.monotonic()
        line = self.tally.line(self.place, name)
        inflict(Stage(stack, crowd, random.Random(f"{self.seed} {self.place}"), self.severity))
        lasted, took = time.monotonic() - begin, recovery(stack, time.time())
        line.took(took, len(crowd.acknowledged) - before)
        after = f"stored again after {took.resumed:.1f} s, caught up after {took.caught_up:.1f} s"
        say(f"{self.place:3} {name}: {lasted:.1f} s, {after}")
        if took.resumed > RECOVERY_SECONDS:
            self.wrong.append(
                f"{name} (fault {self.place}): events were stored again only after {took.resumed:.1f} s"
            )

    def count(self, stack: Stack, crowd: Crowd, what: str) -> Verdict:
        """Nobody sends for a moment, and all is counted."""
        with crowd.quiet():
            verdict = judge(stack, crowd.acknowledged)
            self.tally.judged(verdict)
            self.acknowledged += len(crowd.acknowledged)
            say(f"--- {what}: {len(crowd.acknowledged):,} acknowledged; {verdict.told()}")
            say(
                f"    answers: {', '.join(f'{status or NO_ANSWER} {n:,}' for status, n in sorted(crowd.answers.items()))}"
            )
            crowd.acknowledged = []
            crowd.answers.clear()
        if not verdict.is_good:
            self.wrong.append(f"{what}: {verdict.told()}")
        self.wrong += crowd.wrong
        crowd.wrong = []
        return verdict

    def tell_of_failures(self, stack: Stack) -> None:
        rows = stack.ask("SELECT sqlstate, count(*) FROM events_drainfailure GROUP BY 1 ORDER BY 2 DESC")
        say("failed runs, all healed: " + (", ".join(f"{state} {count}" for state, count in rows) or "none"))


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    arguments = parse()
    names = [name for name in FAULTS if not arguments.only or any(part in name for part in arguments.only)]
    torture = Torture(arguments.seed, arguments.appendfsync, SHORT if arguments.short else Severity())
    command = f"python -m torture {' '.join(spelled(arguments))}"
    say(f"{command}\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    begin = time.monotonic()
    try:
        if names:
            torture.on_one_stack(names, arguments.minutes * 60)
        if not arguments.only or any(part in FULL_DISK for part in arguments.only):
            torture.on_a_full_disk()
    except AssertionError as error:
        torture.wrong.append(str(error))
    say(f"\n{torture.tally.table()}\n")
    for name, why in torture.tally.skipped.items():
        say(f"skipped: {name}: {why}")
    say(
        f"{torture.acknowledged:,} events acknowledged, {torture.place} faults in {(time.monotonic() - begin) / 60:.1f} min, "
        f"appendfsync {arguments.appendfsync}, seed {arguments.seed}"
    )
    for text in dict.fromkeys(torture.wrong):
        say(f"FAILED {text}")
    if torture.wrong:
        say(f"Do it again: {command}")
    return 1 if torture.wrong else 0


def spelled(arguments: argparse.Namespace) -> list[str]:
    words = [
        "--seed",
        str(arguments.seed),
        "--minutes",
        f"{arguments.minutes:g}",
        "--appendfsync",
        arguments.appendfsync,
    ]
    words += ["--short"] if arguments.short else []
    return words + [word for part in arguments.only for word in ("--only", f"'{part}'")]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m torture", description="Breaks a stack of its own, and counts."
    )
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1_000_000), help="repeats a run (default: a new one)"
    )
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="how long; every fault comes once in any case"
    )
    parser.add_argument("--appendfsync", choices=("everysec", "always"), default="everysec", help="Valkey's")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="only faults whose name holds this"
    )
    parser.add_argument("--short", action="store_true", help="faults that last a few seconds only")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
