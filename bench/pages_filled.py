"""What `make bench BENCH=pages` looks at: a project with a month of events in the lake, today's in PostgreSQL, and failures.

Needs Django's settings.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
from django.contrib.auth.models import User

from bench import many, month
from bench.insights import settle
from events import partitions, plan_change
from events.models import DeadLetter, Event
from projects import services
from projects.models import Project
from systemtest.client import post_all
from systemtest.stack import Stack, wait

RECENT: Final = 20_000
LETTERS: Final = 4_000
CAUSES: Final = 20
REQUEST_EVENTS: Final = 500
OTHER_PROJECTS: Final = 20
PLAN_SECONDS: Final = 5.0  # within which every process knows a tracking plan
STORED_SECONDS: Final = 120.0
SCHEMA: Final = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}


@dataclass(frozen=True, slots=True)
class Filled:
    """`frequent` and `rare`: persons; `old` and `recent`: ids of an event that only the lake has, and of one of today."""

    project: Project
    owner: User
    events: int
    frequent: str
    rare: str
    old: str
    recent: str
    letter: int
    fingerprint: str
    seconds: float


def fill(stack: Stack, events: int, folder: Path, *, with_rows: bool) -> Filled:
    """Takes a running stack and how many events; `with_rows`: PostgreSQL holds all of them too, as by default it would."""
    begin = time.monotonic()
    owner = User.objects.earliest("id")
    created = services.create_project(name="Month", owner=owner)
    project = Project.objects.get(pk=created.project.pk)
    for number in range(OTHER_PROJECTS):
        services.create_project(name=f"Shop {number}", owner=owner)
    for cause in range(CAUSES):
        plan_change.change(project, f"order_{cause}", by=owner.username, mode="bury", schema=SCHEMA)
    planned = time.monotonic()
    if with_rows:
        made = month.load(
            stack.credentials["database_url"], project_id=project.pk, events=events, folder=folder,
            make_partition=partitions.ensure,
        )  # fmt: skip
    else:
        made = month.load_lake(project_id=project.pk, events=events, folder=folder)
        # Ids of rows go on behind those of the lake, as they would.
        stack.ask("SELECT setval(pg_get_serial_sequence('events_event', 'id'), %s)", events + 1)
    time.sleep(max(0.0, planned + PLAN_SECONDS - time.monotonic()))
    key = {**stack.credentials, "write_key": created.write_key}
    post_all(key, [(body, "plain") for body in _recent()], threads=2)
    wait(lambda: DeadLetter.objects.filter(project=project).count() >= LETTERS, STORED_SECONDS, "failures")
    wait(
        lambda: Event.objects.filter(project=project, stored_at__gte=_hour_ago()).count() >= RECENT,
        STORED_SECONDS,
        "events",
    )
    many.fill(many.AUDIT, [project.pk], 1_000)
    settle(stack, quiet_seconds=75 if with_rows else 5)
    letter = DeadLetter.objects.filter(project=project).order_by("-id")[10]
    (old,) = _row(f"SELECT event_id::varchar FROM read_parquet('{made.ideal[0]}') LIMIT 1")
    recent = str(Event.objects.filter(project=project).order_by("-id")[0].event_id)
    return Filled(
        project, owner, events, frequent="user_0", rare=f"user_{month.PERSONS - 1_000}", old=old, recent=recent,
        letter=letter.pk, fingerprint=letter.fingerprint, seconds=time.monotonic() - begin,
    )  # fmt: skip


def _recent() -> Iterator[bytes]:
    """Events of the last quarter of an hour, like those of the month; among them such as break the tracking plan."""
    chance = random.Random(1)  # noqa: S311  chance comes from a seed on purpose
    now = datetime.now(UTC)
    events: list[dict[str, Any]] = [_event(chance, now) for _ in range(RECENT)]
    broken = [
        _event(chance, now) | {"name": f"order_{n % CAUSES}", "properties": {"amount": "12.50", "n": n}}
        for n in range(LETTERS)
    ]
    events += broken
    for start in range(0, len(events), REQUEST_EVENTS):
        yield msgspec.json.encode(events[start : start + REQUEST_EVENTS])


def _event(chance: random.Random, now: datetime) -> dict[str, Any]:
    ms = chance.randrange(1_000)
    return {
        "name": f"event_{int(month.NAMES * chance.random() ** 3):02d}",
        "user_id": f"user_{int(month.PERSONS * chance.random() ** 2)}",
        "occurred_at": now - timedelta(seconds=chance.random() * 900),
        "properties": {
            "ms": ms, "plan": chance.choice(["pro", "free", "team"]), "path": f"/page/{int(500 * chance.random() ** 2)}",
            "browser": chance.choice(["chrome", "firefox", "safari", "edge"]), "amount": round(chance.random() * 500, 2),
            "ref": "google", "country": chance.choice(["DE", "FR", "US", "GB"]), "version": f"1.2.{chance.randrange(9)}",
            "ok": ms < 950, "step": ms % 7,
        },
    }  # fmt: skip


def _hour_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


def _row(sql: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] = duckdb.connect().execute(sql).fetchall()[0]
    return row
