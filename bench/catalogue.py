"""How fast the catalogue answers, of a month's names: part of `make bench-insights`."""

import http.client
import sys
import time
from statistics import median
from typing import Final

import duckdb

from bench.asked import NAME
from bench.tables import table

LIMIT_MS: Final = 50.0
ROUNDS: Final = 20


def learn_month(project_id: int) -> None:
    """Of a lake that was written without seals, which is when names are learned. Needs Django set up."""
    from events.catalogue.learn import learn
    from events.lake.snapshot import snapshot

    with duckdb.connect(config={"threads": 1}) as reader:
        reader.execute("SET TimeZone = 'UTC'")
        for file in snapshot(project_id, since=None, until=None).files:
            learn(reader, file.path)


def measure(web: http.client.HTTPConnection, project_id: int, key: str) -> bool:
    """Prints how long all names take, and the properties of one; returns whether both are within the limit."""
    rows, is_quick = [], True
    for title, path in (("all names", ""), ("one name and its properties", f"{NAME}/")):
        seconds = []
        for number in range(ROUNDS + 1):
            begin = time.perf_counter()
            web.request(
                "GET",
                f"/api/projects/{project_id}/catalogue/{path}",
                headers={"Authorization": f"Bearer {key}"},
            )
            response = web.getresponse()
            answer = response.read()
            if number:  # the first one warms up
                seconds.append(time.perf_counter() - begin)
        if response.status != 200 or NAME.encode() not in answer:
            sys.exit(f"bench: catalogue: {response.status} {answer[:300]!r}")
        milliseconds = median(seconds) * 1000
        is_quick = is_quick and milliseconds <= LIMIT_MS
        rows.append([title, f"{milliseconds:,.0f}", f"{max(seconds) * 1000:,.0f}", f"{len(answer):,}"])
    print(table(["catalogue", "median, ms", f"longest of {ROUNDS}, ms", "bytes"], rows))
    print(f"(at most {LIMIT_MS:.0f} ms wanted)\n", flush=True)
    return is_quick
