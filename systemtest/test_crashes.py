"""Crashes: each fault of the torture once, shortened; PostgreSQL away for a stretch; clients far faster than the drain.

`make torture` is the same at length and in random series.
"""

import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from systemtest.stack import Stack, stack_in_clean_folder, wait
from torture.crowd import Crowd, projects_of, refuse_poison
from torture.faults import FAULTS, SHORT, Stage, end, part_pid
from torture.verdict import judge
from torture.watch import recovery

pytestmark = pytest.mark.slow

SEED = 20
RECOVERY_SECONDS = 15.0  # 10 are promised; the suite shares its machine with other tests
# The longer command freezes everything there is; here what hangs in a way of its own.
LEFT_TO_TORTURE = {
    f"SIGSTOP {victim}" for victim in ("web", "default worker", "drain worker's child", "a backend")
}

# A slow stack: 200 events a second, and a queue of five seconds.
SLOTS, RATE, BATCH, BOUND = 2, 4, 50, 1_000
OUTAGE_SECONDS = 8
FLOOD_SECONDS = 15
MARGIN_MB = 12.0  # what a process may grow: buffers of connections and of Python's allocator, reached once


# --- each fault once ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with stack_in_clean_folder() as stack:
        stack.start()
        refuse_poison(stack)
        crowd = Crowd(stack.credentials["url"], projects_of(stack, 3), SEED)
        with crowd.sending():
            yield Stage(stack, crowd, random.Random(SEED), SHORT)


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in LEFT_TO_TORTURE])
def test_events_are_stored_again_soon_after(stage: Stage, name: str) -> None:
    before = len(stage.crowd.acknowledged)
    wait(lambda: len(stage.crowd.acknowledged) > before + 50, 20, "load")
    stage.crowd.place += 1
    FAULTS[name](stage)
    took = recovery(stage.stack, time.time())
    print(f"\n{name}: stored again after {took.resumed:.1f} s, caught up after {took.caught_up:.1f} s")
    assert took.resumed < RECOVERY_SECONDS


def test_after_all_of_it_nothing_is_lost_or_doubled_and_the_ledger_balances(stage: Stage) -> None:
    with stage.crowd.quiet():
        verdict = judge(stage.stack, stage.crowd.acknowledged)
    print(f"\n{len(stage.crowd.acknowledged):,} events acknowledged; {verdict.told()}")
    assert verdict.is_good, verdict
    assert stage.crowd.wrong == []
    assert len(stage.crowd.acknowledged) > 1_000
    assert verdict.dead >= sum(event.is_poison for event in stage.crowd.acknowledged) > 0


# --- what does not pile up ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow_stack() -> Iterator[Stack]:
    settings = {"EVENTS_DRAIN_RATE": RATE, "EVENTS_BATCH_SIZE": BATCH, "EVENTS_DRAIN_SLOTS": SLOTS}
    settings |= {
        "EVENTS_QUEUE_MAX_EVENTS": BOUND,
        "EVENTS_RETRY_BASE_SECONDS": 1,
        "EVENTS_RETRY_CAP_SECONDS": 1,
    }
    with stack_in_clean_folder(**settings) as stack:
        yield stack.start()


def crowd_of(stack: Stack, **how: int | float | bool) -> Crowd:
    return Crowd(stack.credentials["url"], projects_of(stack, 1), SEED, with_poison=False, **how)  # type: ignore[arg-type]


def batches(stack: Stack) -> tuple[int, int]:
    """How many there were so far, and how many events were stored in them."""
    ((count, stored),) = stack.ask("SELECT count(*), coalesce(sum(stored), 0)::bigint FROM events_batch")
    return int(count), int(stored)


def depth(stack: Stack) -> int:
    return int(stack.valkey.hget("es:depth", "e") or 0)


def pss_mb(pid: int) -> float:
    """Memory of a process and its descendants, shared pages divided among those that share them."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    rollups = [Path(f"/proc/{process.pid}/smaps_rollup").read_text() for process in family]
    return sum(int(rollup.split("\nPss:")[1].split()[0]) for rollup in rollups) * 1024 / 1e6


@dataclass(frozen=True)
class Piled:
    """What could grow while batches wait."""

    messages: int
    unacked: int
    holds: int
    worker_mb: float

    @classmethod
    def up_in(cls, stack: Stack, worker: int) -> "Piled":
        valkey = stack.valkey
        return cls(
            valkey.llen("drain"), valkey.hlen("unacked"), len(valkey.keys("es:hold:*")), pss_mb(worker)
        )


def test_nothing_piles_up_while_postgresql_is_away_and_all_is_stored_when_it_is_back(
    slow_stack: Stack,
) -> None:
    stack = slow_stack
    worker, postmaster, web = (part_pid(stack, name) for name in ("drain", "postgres", "web"))
    crowd, samples = crowd_of(stack, threads=2, largest_batch=3, pace_seconds=0.05), []
    with crowd.sending():
        wait(lambda: len(crowd.acknowledged) > 50, 20, "load")
        with stack.unattended():  # else PostgreSQL was back at once
            end(postmaster, signal.SIGKILL)
            for second in range(OUTAGE_SECONDS):
                if second == OUTAGE_SECONDS // 2:  # a web process that never saw the database
                    end(psutil.Process(web).children()[0].pid, signal.SIGKILL)
                before = len(crowd.acknowledged)
                wait(lambda: len(crowd.acknowledged) > before, 10, "202 while PostgreSQL is away")  # noqa: B023
                samples.append(Piled.up_in(stack, worker))
                time.sleep(1)
            assert set(crowd.answers) <= {202, 0}, "only the killed web process broke connections"
            with crowd_of(stack, patient=False, pace_seconds=0.0).sending() as flood:
                wait(lambda: flood.answers[429] + flood.answers[503] > 20, 20, "the bound")
            assert BOUND * 0.8 < depth(stack) <= BOUND
    print("\n" + "\n".join(map(str, samples)))
    assert max(piled.messages for piled in samples) <= SLOTS
    assert max(piled.holds for piled in samples) <= SLOTS
    assert (
        max(piled.unacked for piled in samples) <= 2 * SLOTS + 2
    )  # a retry a slot, one that runs; the tick's two
    assert samples[-1].worker_mb - samples[2].worker_mb < MARGIN_MB
    verdict = judge(stack, [*crowd.acknowledged, *flood.acknowledged])
    assert verdict.is_good, verdict
    assert verdict.dead == 0
    assert flood.wrong == []


def test_memory_stays_flat_under_ten_times_what_is_drained(slow_stack: Stack) -> None:
    stack = slow_stack
    parts = {name: part_pid(stack, name) for name in ("web", "drain", "valkey")}
    with crowd_of(stack, patient=False, threads=4, pace_seconds=0.005).sending() as flood:
        wait(lambda: flood.answers[429] + flood.answers[503] > 50, 20, "the bound")
        early = {name: pss_mb(pid) for name, pid in parts.items()}
        begin, before, (drained_before, stored_before) = time.monotonic(), flood.offered, batches(stack)
        wait(lambda: time.monotonic() - begin > FLOOD_SECONDS, FLOOD_SECONDS + 1, "the flood")
        drained, stored = (
            now - then for now, then in zip(batches(stack), (drained_before, stored_before), strict=True)
        )
        offered = flood.offered - before
        late = {name: pss_mb(pid) for name, pid in parts.items()}
        assert depth(stack) <= BOUND
    print(f"\noffered {offered:,}, stored {stored:,} in {drained} batches, answers {dict(flood.answers)}")
    print({name: f"{early[name]:.0f} -> {late[name]:.0f} MB" for name in parts})
    assert offered > 8 * stored
    assert 0.7 * RATE * FLOOD_SECONDS < drained <= RATE * FLOOD_SECONDS + RATE, "the rate is kept, and used"
    assert flood.answers[429] > flood.answers[202]
    assert flood.wrong == []  # each refusal with Retry-After from 1 to 60
    for name in parts:
        assert late[name] - early[name] < MARGIN_MB, name
    assert {name: part_pid(stack, name) for name in parts} == parts, "none was started again"
    verdict = judge(stack, flood.acknowledged)
    assert verdict.is_good, verdict
