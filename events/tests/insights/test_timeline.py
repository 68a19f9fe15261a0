"""A timeline where PostgreSQL has the latest days and the lake what is older; and by which indexes it is found there."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from events import partitions
from events.insights.ask import ask
from events.insights.filters import PostgresDialect
from events.insights.timeline import KIND
from events.tests.lake.pond import put
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables", "questions")]
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def old_days(tables: None) -> Iterator[None]:
    before = partitions.leaves()
    partitions.ensure((TODAY - timedelta(days=4)).date())
    yield
    for name in partitions.leaves() - before:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {name}")


def test_sessions_go_on_where_the_lake_does(
    make_project: Callable[..., Any], seal_all: Callable[[], int]
) -> None:
    project: Project = make_project().project
    starts = [
        TODAY - timedelta(days=days, minutes=minutes) for days in (4, 3, 2, 1) for minutes in (0, 10, 25, 70)
    ]
    who = [
        {"user_id": "ada"},
        {"anonymous_id": "ada"},
        {"user_id": "bob", "anonymous_id": "ada"},
        {"user_id": "ada"},
    ]
    rows = [
        {"project_id": project.pk, "occurred_at": at, "received_at": at, "client_event_id": f"{index}"}
        | who[index % 4]
        for index, at in enumerate(starts)
    ]
    put(rows)
    put([row | {"project_id": project.pk + 1} for row in rows])
    seal_all()
    # One that came late, of a day that only the lake has.
    put(
        [
            rows[0]
            | {
                "client_event_id": "late",
                "received_at": TODAY,
                "occurred_at": starts[0] - timedelta(minutes=5),
            }
        ]
    )
    seal_all()
    with connection.cursor() as cursor:
        for day in (4, 5):
            cursor.execute(f"DROP TABLE IF EXISTS {partitions.name((TODAY - timedelta(days=day)).date())}")
    told: list[list[str]] = []
    sources = set()
    after: dict[str, Any] = {}
    while True:
        page = ask(project, KIND, {"person": "ada", "limit": 2} | after)
        sources.add(page["source"])
        for session in page["sessions"]:
            if not session["continues_page_before"]:
                told.append([])
            told[-1] += [event["client_event_id"] for event in session["events"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    # A day's: at midnight and ten minutes before (25 min: bob's), a session; 70 before, another one.
    wanted = [[["12", "13"], ["15"]], [["8", "9"], ["11"]], [["4", "5"], ["7"]], [["0", "late", "1"], ["3"]]]
    assert told == [session for day in wanted for session in day]
    assert sources >= {"postgresql", "both"}


def test_a_person_is_found_by_both_indexes_in_every_partition(make_project: Callable[..., Any]) -> None:
    put([{"project_id": 1, "user_id": "ada"}, {"project_id": 1, "anonymous_id": "ada"}])
    dialect = PostgresDialect()
    where = dialect.equals_person("ada")
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f"EXPLAIN SELECT * FROM events_event WHERE {where}", dialect.parameters)
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
        cursor.execute(f"SELECT count(*) FROM events_event WHERE {where}", dialect.parameters)
        assert cursor.fetchone()[0] == 2
    assert plan.count("Index Cond: ((user_id)::text = 'ada'") == len(partitions.leaves())
    assert plan.count("Index Cond: ((anonymous_id)::text = 'ada'") == len(partitions.leaves())
