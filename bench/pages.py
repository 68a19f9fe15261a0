"""What pages cost on ten million events: bytes, queries and time of every page, and of every part that it asks for by itself.

Starts a stack of its own, fills it and removes it: `make bench BENCH=pages` (`ARGS='--events 1000000'`, `--with-rows`). Exit code
1 where a bound is broken. A slow page is measured twice, and the better taken: other things run on this machine.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from bench.store import use
from bench.tables import row, table
from systemtest.stack import stack_in_clean_folder

if TYPE_CHECKING:
    from bench.opened import Browser, Opened
    from bench.pages_filled import Filled

PAGE_SECONDS: Final = 0.3
LAKE_SECONDS: Final = 1.0  # of a part that asks the lake
WHOLE_SECONDS: Final = (
    4.0  # of a page with all of its parts at once, for who has no JavaScript: the sum of them
)
MAX_QUERIES: Final = 20
MAX_GZIPPED: Final = 100_000
ROUNDS: Final = 5
DEPTH: Final = 2  # a page's part may have parts
HEAD: Final = ("page", "bytes", "gzipped", "queries", "of the lake", "median, ms", "worst, ms", "bound, ms")
GUESSES: Final = "latency=ms&by=path&error=ok:eq:false"
_numbers: Final = count(int(time.time()))  # another run has other ones


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench BENCH=pages", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="over 30 days (default: 10 million)")
    parser.add_argument(
        "--with-rows", action="store_true", help="PostgreSQL holds the month too: some minutes, 7 GB"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eventsite-bench-") as folder, stack_in_clean_folder() as stack:
        stack.start()
        use(stack)
        from bench import pages_beside, pages_filled  # need the settings
        from bench.opened import Browser

        filled = pages_filled.fill(stack, arguments.events, Path(folder), with_rows=arguments.with_rows)
        print(
            f"{arguments.events:,} events made in {filled.seconds:.0f} s, {os.cpu_count()} cores\n",
            flush=True,
        )
        browser = Browser(stack.credentials["url"], filled.owner)
        broken = report(browser, filled)
        broken += pages_beside.report(stack, browser, filled)
    for line in broken:
        print(f"broken: {line}")
    return 1 if broken else 0


def pages(filled: "Filled") -> Iterator[str]:
    """Addresses of everything that has one. `{n}` is another number each time, `{fresh}` a filter that changes nothing."""
    own = f"/projects/{filled.project.pk}"
    yield "/projects"
    yield "/projects/new"
    for period in ("24h", "7d", "30d"):
        yield f"{own}/overview?period={period}&{{fresh}}"
    for more in (
        GUESSES,
        f"{GUESSES}&measure=latency",
        "measure=persons",
        f"{GUESSES}&measure=errors",
        "f=plan:eq:pro",
    ):
        yield f"{own}/overview?period=30d&{more}&{{fresh}}"
    yield f"{own}/overview?period=30d&{GUESSES}&whole=1&{{fresh}}"
    for more in (
        "period=24h",
        "period=30d",
        "period=30d&f=plan:eq:pro",
        "period=30d&f=path:eq:/page/499",
        "period=30d&whole=1",
    ):
        yield f"{own}/events?{more}&{{fresh}}"
    yield f"{own}/events?live=1"
    yield f"{own}/events/suggestions?what=path&period=30d&{{fresh}}"
    yield f"{own}/events/person"
    yield f"{own}/events/person?who={filled.frequent[:-1]}{{n}}"
    yield f"{own}/events/person?who={filled.rare[:-1]}{{n}}"
    for event in (filled.old, filled.recent):
        yield f"{own}/events/{event}"
        yield f"{own}/events/trace?id={event}"
    yield f"{own}/failures"
    yield f"{own}/failures/letters"
    yield f"{own}/failures/letters?fingerprint={filled.fingerprint}"
    yield f"{own}/failures/{filled.letter}"
    yield f"{own}/failures/{filled.letter}/edit"
    yield f"{own}/pipeline"
    yield f"{own}/pipeline?scope=project&period=24h"
    yield f"{own}/pipeline/now"
    yield f"{own}/start"
    for tab in (
        "",
        "/keys",
        "/keys/new",
        "/limits",
        "/plan",
        "/plan/name?name=order_1",
        "/plan/name?name=event_00&draft=1",
        "/audit",
    ):
        yield f"{own}/settings{tab}"


def report(browser: "Browser", filled: "Filled") -> list[str]:
    """Prints the table; returns what is broken."""
    known: dict[str, Opened] = {}
    print(table(HEAD, ()), flush=True)
    for page in pages(filled):
        for name, one in measured(browser, page, known).items():
            known[name] = one
            print(row(_row(name, one)), flush=True)
    print(f"\n{len(known)} pages and parts; {_assets(browser, filled)}\n", flush=True)
    return [line for name, one in known.items() for line in faults(name, one)]


def measured(browser: "Browser", page: str, known: dict[str, "Opened"]) -> dict[str, "Opened"]:
    """Opens a page and what it asks for; again where that was too slow. What is known already is left out."""
    found = _rounds(browser, page, known)
    if any(faults(name, one) for name, one in found.items()):
        for name, one in _rounds(browser, page, known).items():
            if name in found and median(one.seconds) < median(found[name].seconds):
                found[name].seconds = one.seconds
    return found


def _rounds(browser: "Browser", page: str, known: dict[str, "Opened"]) -> dict[str, "Opened"]:
    from bench.opened import FRESH, Asked, Opened, fragments, label, weigh

    found: dict[str, Opened] = {}

    def open_one(asked: Asked, seen: set[str], depth: int, *, is_warm: bool) -> None:
        name = label(asked, page)
        if name in seen or name in known:
            return
        seen.add(name)
        status, body, seconds = browser.open(asked)
        if not is_warm:
            found[name] = Opened(status, len(body), weigh(body))
            found[name].queries, found[name].questions = browser.count(asked)
        else:
            found.setdefault(name, Opened(status, len(body), weigh(body))).seconds.append(seconds)
        for part in fragments(body) if depth else ():
            open_one(part, seen, depth - 1, is_warm=is_warm)

    for number in range(ROUNDS + 1):
        once = next(_numbers)
        open_one(Asked(page.format(n=once % 10, fresh=f"f={FRESH}{once}")), set(), DEPTH, is_warm=number > 0)
    return {name: one for name, one in found.items() if one.seconds}


def bound(name: str, opened: "Opened") -> float:
    if "whole=1" in name:
        return WHOLE_SECONDS
    return LAKE_SECONDS if opened.questions and name.endswith("(part)") else PAGE_SECONDS


def faults(name: str, opened: "Opened") -> list[str]:
    said = []
    if opened.status not in (200, 286):
        said.append(f"{name}: status {opened.status}")
    if median(opened.seconds) > bound(name, opened):
        said.append(f"{name}: {median(opened.seconds) * 1000:.0f} ms")
    if opened.queries > MAX_QUERIES * (3 if "whole=1" in name else 1):
        said.append(f"{name}: {opened.queries} queries")
    if opened.gzipped > MAX_GZIPPED:
        said.append(f"{name}: {opened.gzipped:,} bytes gzipped")
    return said


def _row(name: str, one: "Opened") -> list[str]:
    times = (median(one.seconds), max(one.seconds), bound(name, one))
    counts = (one.bytes, one.gzipped, one.queries, one.questions)
    return [f"`{name}`", *(f"{each:,}" for each in counts), *(f"{each * 1000:,.0f}" for each in times)]


def _assets(browser: "Browser", filled: "Filled") -> str:
    """The styles and scripts of all pages, each once."""
    from bench.opened import Asked, weigh

    paths: dict[str, int] = {}
    for below in ("overview", "events?live=1", "failures", "pipeline", "settings/plan/name?name=order_1"):
        _, body, _ = browser.open(Asked(f"/projects/{filled.project.pk}/{below}"))
        for path in re.findall(r'(?:src|href)="(/static/[^"]+\.(?:js|css)[^"]*)"', body.decode()):
            _, asset, _ = browser.open(Asked(path))
            paths[path] = (len(asset) << 32) + weigh(asset)
    size, gzipped = (
        sum(each >> 32 for each in paths.values()),
        sum(each & 0xFFFFFFFF for each in paths.values()),
    )
    return f"styles and scripts of all pages: {len(paths)} files, {size / 1000:.0f} kB, {gzipped / 1000:.0f} kB gzipped"


if __name__ == "__main__":
    sys.exit(main())
