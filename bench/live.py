"""What readers of live events cost ingestion: the same load with and without them, in turns.

`make bench BENCH=live`. First at full speed, which also gives the maximum; then at half of it. Readers and load are on
the same machine, so what the readers themselves take is in the figures too.
"""

import argparse
import selectors
import socket
import statistics
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bench import load
from bench.ingest import start
from bench.steps import Figures, Step, measure
from systemtest.live import project_of, token
from systemtest.stack import Stack, stack_in_clean_folder

FULL = Step("one event, full speed", 200)


class Readers:
    """Open streams whose bytes are read and forgotten."""

    def __init__(self, stack: Stack, count: int) -> None:
        self._sockets: list[socket.socket] = []
        login = token(stack.credentials)
        path = f"/api/projects/{project_of(stack.credentials, login)}/live/"
        address = urllib.parse.urlsplit(stack.credentials["url"])
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Token {login}\r\n\r\n".encode()
        )
        self._watch = selectors.DefaultSelector()
        for _ in range(count):
            one = socket.create_connection((str(address.hostname), int(address.port or 80)), timeout=10)
            one.sendall(request)
            if b" 200 " not in one.recv(4096).split(b"\r\n", 1)[0]:
                sys.exit("bench: a reader was refused")
            self._watch.register(one, selectors.EVENT_READ)
            self._sockets.append(one)
        self.bytes = self.frames = self.ended = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._over.is_set():
            for key, _ in self._watch.select(0.2):
                data = key.fileobj.recv(1 << 18)  # type: ignore[union-attr]
                self.bytes += len(data)
                self.frames += data.count(b"event: events\n")
                if not data:
                    self.ended += 1
                    self._watch.unregister(key.fileobj)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        for one in self._sockets:
            one.close()


@contextmanager
def readers(stack: Stack, count: int) -> Iterator[Readers]:
    opened = Readers(stack, count)
    try:
        yield opened
    finally:
        opened.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench BENCH=live", description=__doc__)
    parser.add_argument("--seconds", type=int, default=8, help="length of one step (default: 8)")
    parser.add_argument("--rounds", type=int, default=4, help="how often they take turns (default: 4)")
    parser.add_argument("--readers", type=int, default=200)
    arguments = parser.parse_args()
    load.require_wrk()
    with stack_in_clean_folder() as stack:
        start(stack)
        measure(stack, FULL, seconds=2)
        full = compare(stack, FULL, arguments)
        most = statistics.median(one.answered.requests / one.answered.seconds for one in full)
        compare(stack, replace(FULL, name="one event, half speed", per_second=most / 2), arguments)
    return 0


def compare(stack: Stack, step: Step, arguments: argparse.Namespace) -> list[Figures]:
    """Prints the figures of both and their ratio; returns those without readers."""
    without: list[Figures] = []
    beside: list[Figures] = []
    print(
        f"\n{step.name}" + (f", {step.per_second:,.0f} requests a second" if step.per_second else ""),
        flush=True,
    )
    print(
        "| readers | requests/s | stored/s | p50 ms | p99 ms | non-2xx | CPU µs an event: web, drain, all | PSS MB |"
        " frames/s a reader |"
    )
    print("| ---: |" + " ---: |" * 8)
    for _ in range(arguments.rounds):
        without.append(measure(stack, step, seconds=arguments.seconds))
        show(without[-1], 0, 0.0)
        with readers(stack, arguments.readers) as opened:
            beside.append(measure(stack, step, seconds=arguments.seconds))
        spent = beside[-1].answered.seconds + beside[-1].drain_seconds
        show(beside[-1], arguments.readers, opened.frames / arguments.readers / spent)
        if opened.ended:
            print(f"{opened.ended} readers were ended")
    pairs = list(zip(without, beside, strict=True))
    say("stored/s", [after.stored_per_second / before.stored_per_second for before, after in pairs])
    say("CPU an event", [cpu_us(after) / cpu_us(before) for before, after in pairs])
    return without


def say(what: str, ratios: list[float]) -> None:
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(
        f"{what} with readers to without, by round: {shown}; median {statistics.median(ratios):.2f}",
        flush=True,
    )


def cpu_us(figures: Figures, *parts: str) -> float:
    """What an event cost in these parts of the stack, or in all of them. Says more than rates where other work is done."""
    spent = {part: seconds for part, seconds in figures.cpu_seconds.items() if part != "wrk"}
    return 1e6 * sum(seconds for part, seconds in spent.items() if part in (parts or spent)) / figures.total


def show(figures: Figures, count: int, frames: float) -> None:
    answered = figures.answered
    print(
        f"| {count} | {answered.requests / answered.seconds:,.0f} | {figures.stored_per_second:,.0f} | "
        f"{answered.p50_ms:.0f} | {answered.p99_ms:.0f} | {answered.non_2xx} | {cpu_us(figures, 'web'):.0f}, "
        f"{cpu_us(figures, 'drain'):.0f}, {cpu_us(figures):.0f} | {figures.pss_mb:.0f} | {frames:.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
