"""`manage.py drain`: drains without Celery, for the worst day. Beside running workers too: each slot is one's at a time.

Exit codes: 0 done, 1 the database or the queue is away, 3 draining is paused, 130 interrupted before it was done.
"""

import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Final

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from events import buffer, operate
from events.drain import Drained, drain
from events.retry import Transient
from eventsite import metrics
from eventsite.valkey import sync_client

AWAY, PAUSED, INTERRUPTED = 1, 3, 130
REPORT_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 0.2


class Command(BaseCommand):
    help = "Drains the queue without Celery until Ctrl-C, which lets the batch in hand end; again: at once."
    requires_system_checks = []  # noqa: RUF012  on the worst day nothing else need be right

    def run_from_argv(self, argv: list[str]) -> None:
        metrics.share()  # a process of its own, as here only, counts for /metrics
        super().run_from_argv(argv)

    def add_arguments(self, parser: CommandParser) -> None:
        slots = settings.EVENTS_DRAIN_SLOTS
        parser.add_argument("--slots", type=int, default=slots, help=f"drain slots 0 to N-1, at most {slots}")
        ends = parser.add_mutually_exclusive_group()
        ends.add_argument("--until-empty", action="store_true", help="end when nothing waits")
        ends.add_argument("--once", action="store_true", help="end after one batch of each slot")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["slots"] <= settings.EVENTS_DRAIN_SLOTS:
            raise CommandError(
                f"--slots must be 1 to {settings.EVENTS_DRAIN_SLOTS} (EVENTS_DRAIN_SLOTS).", returncode=2
            )
        self.client = sync_client()
        self.stop = threading.Event()
        self.sums = dict.fromkeys(("claimed", "stored", "duplicate", "dead"), 0)
        self.reported_at = time.monotonic()
        with _Interrupts(self.stop):
            code = self._rounds(
                range(options["slots"]), once=options["once"], until_empty=options["until_empty"]
            )
        self._report()
        if code:
            sys.exit(code)

    def _rounds(self, slots: range, *, once: bool, until_empty: bool) -> int:
        """Returns the exit code."""
        failures = 0
        while not self.stop.is_set():
            try:
                if (reason := buffer.paused(self.client)) is not None:
                    return self._explain_pause(reason)
                progressed = self._round(slots)
                failures = 0
                if once or (until_empty and not buffer.depth(self.client).entries):
                    return 0
                if not progressed:
                    self.stop.wait(IDLE_SECONDS)
            except (Transient, redis.RedisError) as error:
                self.stderr.write(f"Nothing can be drained at the moment: {error}")
                if once:
                    return AWAY
                failures += 1
                self.stop.wait(
                    min(settings.EVENTS_RETRY_CAP_SECONDS, settings.EVENTS_RETRY_BASE_SECONDS * failures)
                )
        return INTERRUPTED if until_empty or once else 0

    def _round(self, slots: range) -> bool:
        """One batch of each slot, holds that wait for the database lifted first, as the tick does."""
        buffer.adopt_orphans(self.client)
        progressed = False
        for slot in slots:
            if self.stop.is_set():
                break
            buffer.release(self.client, slot, waiting_only=True)
            drained = drain(self.client, slot)
            progressed = progressed or drained.outcome == "stored"
            self._add(drained)
        return progressed

    def _add(self, drained: Drained) -> None:
        for name in self.sums:
            self.sums[name] += getattr(drained, name)
        if time.monotonic() - self.reported_at >= REPORT_SECONDS:
            self._report()

    def _report(self) -> None:
        self.reported_at = time.monotonic()
        told = ", ".join(f"{count:,} {name}" for name, count in self.sums.items())
        try:
            left = f"{buffer.depth(self.client).events:,} wait"
        except redis.RedisError:
            left = "the queue does not answer"
        self.stdout.write(f"{told}; {left}")
        self.stdout.flush()

    def _explain_pause(self, reason: str) -> int:
        self.stderr.write(f"Draining is paused: {reason}")
        self.stderr.write(operate.how_to_go_on(buffer.standing(self.client)))
        self.stderr.write("Resume with: manage.py pipeline resume")
        return PAUSED


class _Interrupts:
    """The first SIGINT or SIGTERM asks to stop, the second stops."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def __enter__(self) -> None:
        self._before = {
            number: signal.signal(number, self._asked) for number in (signal.SIGINT, signal.SIGTERM)
        }

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._stop.set()
