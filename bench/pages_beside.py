"""What is measured beside the pages: an overview while others open theirs, paging far back, an export of everything, sessions.

Needs Django's settings.
"""

import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from statistics import median
from threading import Event, Thread
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import psutil
from django.urls import reverse

from bench.opened import FRESH, Asked, Browser, fragments
from bench.pages_filled import Filled
from bench.tables import row, table
from events.insights.errors import Busy
from events.views.asking import failure
from systemtest.stack import Stack

PEOPLE: Final = (1, 2, 4)
PAGES_BACK: Final = 20
MEMORY_SECONDS: Final = 0.2
BUSY: Final = failure(Busy()).title.encode()


class Refused(Exception):
    """It was not answered; the text says why."""


def report(stack: Stack, browser: Browser, filled: Filled) -> list[str]:
    """Prints a table; returns what is broken: what was not answered, and an export that is cut short."""
    broken: list[str] = []
    print(table(("beside", "figure"), ()), flush=True)

    def add(what: str, measure: Callable[[], str]) -> None:
        try:
            told = measure()
        except Refused as refused:
            told = f"refused: {refused}"
            broken.append(f"{what}: {refused}")
        print(row((what, told)), flush=True)

    for people in PEOPLE:
        add(f"all parts of the overview, 30 d, {people} at once", partial(overviews, browser, filled, people))
    for what, query in (("", ""), (", of one path in 500", "&f=path:eq:/page/499")):
        add(
            f"events of 30 d{what}, pages 2 to {PAGES_BACK}",
            partial(deep, browser, filled, f"period=30d{query}"),
        )
    add(f"a person's timeline, pages 2 to {PAGES_BACK}", partial(timeline, browser, filled))
    add("sessions of 30 d, day by day", partial(sessions, browser, filled))
    add("export of everything as NDJSON", partial(export, stack, browser, filled))
    print()
    return broken


def overviews(browser: Browser, filled: Filled, people: int) -> str:
    """Opens the overview and then its parts, all at once as a browser does. Nobody alone may be told to come again."""

    def one(asked: Asked) -> bytes:
        return browser.another().open(asked)[1]

    def overview(_: int) -> list[bytes]:
        path = (
            f"/projects/{filled.project.pk}/overview?period=30d&latency=ms&by=path&f={FRESH}{time.time_ns()}"
        )
        parts = [part for part in fragments(one(Asked(path))) if "/overview/" in part.path]
        with ThreadPoolExecutor(len(parts)) as pool:
            return list(pool.map(one, parts))

    begin = time.perf_counter()
    with ThreadPoolExecutor(people) as pool:
        bodies = [body for found in pool.map(overview, range(people)) for body in found]
    seconds, busy = time.perf_counter() - begin, sum(BUSY in body for body in bodies)
    told = f"{seconds:.1f} s, {busy} of {len(bodies)} parts told to come again"
    if busy and people == 1:
        raise Refused(told)
    return told


def deep(browser: Browser, filled: Filled, query: str) -> str:
    """Follows "More"."""
    address = f"{reverse('events-part', args=[filled.project.pk, 'rows'])}?{query}"
    part: Asked | None = Asked(address, "part-rows")
    times: list[float] = []
    while part is not None and len(times) < PAGES_BACK:
        status, body, seconds = browser.open(part)
        if status != 200:
            raise Refused(f"status {status}")
        times.append(seconds)
        found = (each for each in fragments(body) if "/part/rows" in each.path and "after=" in each.path)
        part = next(found, None)
    return _milliseconds(times[1:])


def timeline(browser: Browser, filled: Filled) -> str:
    path = f"/api/projects/{filled.project.pk}/insights/timeline/"
    return _milliseconds(list(_asked(browser, path, {"person": filled.frequent, "limit": 100}))[1:])


def sessions(browser: Browser, filled: Filled) -> str:
    path = f"/api/projects/{filled.project.pk}/insights/sessions/"
    times: list[float] = []
    for number in range(3):
        where = {"field": "name", "op": "!=", "value": f"nobody {number}"}
        asked = {"period": {"last": "30d"}, "interval": "day", "where": where, "top": 10 + number}
        times += _asked(browser, path, asked)
    return _milliseconds(times)


def _asked(browser: Browser, path: str, question: dict[str, Any]) -> Iterator[float]:
    """Asks the API page after page, yields the seconds of each."""
    after = None
    for _ in range(PAGES_BACK):
        whole = {**question, **({"after": after} if after else {})}
        status, body, seconds = browser.open(Asked(path, question=whole))
        answer = msgspec.json.decode(body)
        if status != 200:
            raise Refused(answer["message"])
        yield seconds
        if (after := answer.get("next")) is None:
            return


def export(stack: Stack, browser: Browser, filled: Filled) -> str:
    address = urlsplit(stack.credentials["url"])
    web = http.client.HTTPConnection(address.netloc, timeout=120)
    size = lines = 0
    with _memory(stack) as highest:
        begin = time.perf_counter()
        path = reverse("api-events-export", args=[filled.project.pk])
        web.request("GET", f"{path}?format=ndjson", headers={"Cookie": browser.cookie})
        answer = web.getresponse()
        first = time.perf_counter() - begin
        while block := answer.read(1 << 20):
            size += len(block)
            lines += block.count(b"\n")
        seconds = time.perf_counter() - begin
    memory = ", ".join(f"{name} at most {most / 1e6:,.0f} MB" for name, most in sorted(highest.items()))
    told = (
        f"{lines:,} lines, {size / 1e6:,.0f} MB in {seconds:.0f} s: {size / 1e6 / seconds:.0f} MB/s, first byte after"
        f" {first * 1000:.0f} ms; {memory}"
    )
    if lines < filled.events:
        raise Refused(f"cut short: {told}")
    return told


@contextmanager
def _memory(stack: Stack) -> Iterator[dict[str, int]]:
    """The highest resident bytes of the web process and of whoever answers questions, while the block runs."""
    highest: dict[str, int] = {}
    ended = Event()

    def sample() -> None:
        while not ended.wait(MEMORY_SECONDS):
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    if name := _part(stack, process):
                        highest[name] = max(highest.get(name, 0), process.memory_info().rss)

    thread = Thread(target=sample)
    thread.start()
    try:
        yield highest
    finally:
        ended.set()
        thread.join()


def _part(stack: Stack, process: psutil.Process) -> str:
    """What a process of this stack is, "" for the others. One that answers questions has no environment to know it by."""
    line = " ".join(process.cmdline())
    if "events.insights.child" in line:
        return "a question's process" if str(stack.var) in line else ""
    is_web = "granian eventsite.asgi" in line and process.environ().get("EVENTSITE_VAR") == str(stack.var)
    return "web" if is_web else ""


def _milliseconds(times: list[float]) -> str:
    return (
        f"median {median(times) * 1000:,.0f} ms, worst {max(times) * 1000:,.0f} ms"
        if times
        else "one page only"
    )
