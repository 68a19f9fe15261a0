"""How fast questions are answered, against good SQL of the PostgreSQL table and against DuckDB by hand over ideal files.

Starts a stack of its own, loads a month of events (bench/month.py), waits until the lake has them, then asks each
question of all three in turns: of us over HTTP, each time a little different, so that nothing comes from the cache of
answers. `make bench-insights ARGS='--events 1000000'`.
"""

import argparse
import http.client
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any, Final
from urllib.parse import urlsplit

import duckdb
import psycopg2

from bench import catalogue
from bench.asked import JUDGED, QUESTIONS, Question
from bench.asked_persons import FOLLOWED
from bench.month import Month, load, load_lake
from bench.tables import table
from systemtest.stack import Stack, stack_in_clean_folder, wait

SETTLE_SECONDS: Final = 3_600.0
QUIET_SECONDS: Final = 75  # so long no segment may change before the lake counts as settled
FASTER_THAN_POSTGRES: Final = 15.0
SLOWER_THAN_IDEAL: Final = 1.3
SLOWER_BY_SECONDS: Final = 0.015
HEAD: Final = (
    "question", "ours, ms", "PostgreSQL, ms", "ideal DuckDB, ms", "PostgreSQL / ours", "ours / ideal", "as good as asked",
)  # fmt: skip
# What a person would add to a table that is asked such questions: the name's index answers without the rows.
INDEX: Final = "CREATE INDEX IF NOT EXISTS bench_covering ON events_event (project_id, name, occurred_at) INCLUDE (user_id)"


class Refused(Exception):
    """A question of so many events is too large for us: its code."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-insights", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="over 30 days (default: 10 million)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each question (default: 5)")
    parser.add_argument(
        "--lake-only", action="store_true", help="without rows in PostgreSQL, to see how answers grow"
    )
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="eventsite-bench-") as folder,
        stack_in_clean_folder(EVENTS_ROWS_DAYS=60, EVENTS_QUESTION_SECONDS=60) as stack,
    ):
        stack.start()
        month, key = prepare(stack, arguments, Path(folder))
        report(stack, month)
        asked = []
        for question in (*QUESTIONS, *FOLLOWED):
            try:
                asked.append(compare(stack, month, key, question, arguments))
            except Refused as refused:
                print(f"  {question.name}: {refused}", flush=True)
                continue
            print(
                f"  {question.name}: {', '.join(f'{each * 1000:,.0f}' for each in asked[-1][1])} ms",
                flush=True,
            )
        web = http.client.HTTPConnection(urlsplit(stack.credentials["url"]).netloc, timeout=120)
        is_quick = catalogue.measure(web, month.project_id, key)
    return judge(asked, has_rows=not arguments.lake_only) or int(not is_quick)


def prepare(stack: Stack, arguments: argparse.Namespace, folder: Path) -> tuple[Month, str]:
    """Loads the month; returns it and a read key of its project."""
    os.environ.update(
        EVENTSITE_VAR=str(stack.var),
        DATABASE_URL=stack.credentials["database_url"],
        REDIS_URL=stack.credentials["redis_url"],
        EVENTS_ROWS_DAYS="60",
        DJANGO_SETTINGS_MODULE="eventsite.settings",
    )
    import django

    django.setup()
    from django.contrib.auth.models import User

    from events import partitions
    from projects import services

    created = services.create_project(name="Month", owner=User.objects.earliest("id"))
    read = services.create_key(project=created.project, kind="read")
    print(f"loading {arguments.events:,} events ...", flush=True)
    if arguments.lake_only:
        month = load_lake(project_id=created.project.pk, events=arguments.events, folder=folder)
        catalogue.learn_month(month.project_id)
        print(f"written in {month.seconds:.0f} s", flush=True)
        return month, read.secret
    month = load(
        stack.credentials["database_url"],
        project_id=created.project.pk,
        events=arguments.events,
        folder=folder,
        make_partition=partitions.ensure,
    )
    print(f"loaded in {month.seconds:.0f} s; waiting for the lake ...", flush=True)
    print(f"sealed and merged after another {settle(stack):.0f} s", flush=True)
    with psycopg2.connect(stack.credentials["database_url"]) as postgres, postgres.cursor() as cursor:
        cursor.execute(INDEX)
    postgres.autocommit = True
    postgres.cursor().execute("VACUUM ANALYZE events_event")
    postgres.close()
    return month, read.secret


def settle(stack: Stack, *, quiet_seconds: float = QUIET_SECONDS) -> float:
    """Waits until nothing is unsealed and no segment has changed for a while; returns the seconds until that began."""
    begin = time.monotonic()
    seen: list[Any] = []

    def unchanged() -> bool:
        now = stack.ask(
            "SELECT (SELECT count(*) FROM events_batch WHERE seal IS NULL),"
            " (SELECT coalesce(max(id), 0) FROM events_segment)"
        )
        if not seen or seen[0] != now:
            seen[:] = [now, time.monotonic()]
        return bool(now[0][0] == 0 and time.monotonic() - seen[1] > quiet_seconds)

    wait(unchanged, SETTLE_SECONDS, "the lake has every event")
    return float(seen[1] - begin)


def report(stack: Stack, month: Month) -> None:
    (files, rows, size) = stack.ask(
        "SELECT count(*), sum(rows), sum(bytes) FROM events_segment WHERE retired_at IS NULL AND project_id = %s",
        month.project_id,
    )[0]
    (table_size,) = stack.ask(
        "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'events_event'::regclass"
    )[0]
    print(
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; {rows or 0:,} rows in {files} files of their own,"
        f" {float(size or 0) / 1e6:,.0f} MB; ideal files {sum(path.stat().st_size for path in month.ideal) / 1e6:,.0f} MB;"
        f" PostgreSQL {float(table_size) / 1e6:,.0f} MB\n",
        flush=True,
    )


def compare(
    stack: Stack, month: Month, key: str, question: Question, arguments: argparse.Namespace
) -> tuple[Question, list[float]]:
    """Asks all three in turns, after one round to warm up; returns the median seconds of ours, PostgreSQL and the ideal."""
    duck = duckdb.connect(config={"threads": 2, "memory_limit": "512MB"})
    duck.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
    postgres = psycopg2.connect(stack.credentials["database_url"])
    postgres.autocommit = True
    host = urlsplit(stack.credentials["url"]).netloc
    web = http.client.HTTPConnection(host, timeout=120)
    since, until = month.until - timedelta(days=question.days), month.until
    ways: list[Callable[[int], Any]] = [
        lambda number: _over_http(web, month.project_id, key, question, since, until, number),
        lambda _: _of_postgres(postgres, question, month.project_id, since, until),
        lambda _: _by_hand(duck, question, month.ideal[-question.days :]),
    ]
    seconds: list[list[float]] = [[], [], []]
    found: list[Any] = [None, None, None]
    places = (0, 2) if arguments.lake_only else (0, 1, 2)
    # PostgreSQL takes up to a minute for those that are not judged.
    rounds = arguments.rounds if question in JUDGED else 1
    for number in range(rounds + 1):
        for place in places if number % 2 else places[::-1]:
            begin = time.perf_counter()
            found[place] = ways[place](number)
            if number:
                seconds[place].append(time.perf_counter() - begin)
    found[0] = question.of_answer(found[0])
    answers = [question.shape(found[place]) for place in places]
    if any(answer != answers[0] for answer in answers):
        sys.exit(
            "\n".join([f"bench: {question.name}: the answers differ", *(str(each)[:300] for each in answers)])
        )
    return question, [median(each) if each else math.nan for each in seconds]


def _over_http(
    web: http.client.HTTPConnection, project_id: int, key: str, question: Question, since: Any, until: Any, number: int
) -> Any:  # fmt: skip
    # Each time another question, so that none is answered from what was kept: without the events of a name that nobody has;
    # or, where events before the period count, without those of some microseconds before it.
    where: dict[str, Any] = {"field": "name", "op": "!=", "value": f"nobody {number}"}
    if question.kind != "trends":
        before = (since - timedelta(microseconds=number)).isoformat()
        where = {"field": "occurred_at", "op": ">=", "value": before}
    asked: dict[str, Any] = {"time_zone": "UTC", "where": where, **question.asked}
    asked["period"] = {"from": since.isoformat(), "until": until.isoformat()}
    body = json.dumps(asked)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    web.request("POST", f"/api/projects/{project_id}/insights/{question.kind}/", body, headers)
    response = web.getresponse()
    answer = response.read()
    if response.status == 400 and question not in JUDGED:
        raise Refused(json.loads(answer)["code"])
    if response.status != 200:
        sys.exit(f"bench: {question.name}: {response.status} {answer[:500]!r}")
    return json.loads(answer)


def _of_postgres(postgres: Any, question: Question, project_id: int, since: Any, until: Any) -> Any:
    with postgres.cursor() as cursor:
        cursor.execute(question.postgres, {"project": project_id, "since": since, "until": until})
        return cursor.fetchall()


def _by_hand(duck: duckdb.DuckDBPyConnection, question: Question, files: list[Path]) -> Any:
    return duck.execute(question.duckdb, {"files": [str(path) for path in files]}).fetchall()


def judge(asked: list[tuple[Question, list[float]]], *, has_rows: bool) -> int:
    """Prints the table; returns 0 where both limits are kept."""
    rows, good = [], True
    for question, (ours, postgres, ideal) in asked:
        near = ours <= SLOWER_THAN_IDEAL * ideal + SLOWER_BY_SECONDS
        good = good and (near or question not in JUDGED)
        rows.append(
            [
                question.name,
                *(f"{seconds * 1000:,.0f}" for seconds in (ours, postgres, ideal)),
                f"{postgres / ours:,.1f}",
                f"{ours / ideal:.2f}",
                "yes" if near else "no",
            ]
        )
    print(table(HEAD, rows))
    if not has_rows:
        return 0 if good else 1
    mean = geometric_mean([postgres / ours for question, (ours, postgres, _) in asked if question in JUDGED])
    print(
        f"\nPostgreSQL takes {mean:.1f} times as long (geometric mean of the first {len(JUDGED)};"
        f" at least {FASTER_THAN_POSTGRES:.0f} wanted)"
    )
    return 0 if good and mean >= FASTER_THAN_POSTGRES else 1


if __name__ == "__main__":
    sys.exit(main())
