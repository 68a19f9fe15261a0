"""Filters: both engines choose what plain Python chooses."""

import json
import random
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from django.db import connection

from events.insights import client, filters, question
from events.insights.errors import BadQuestion
from events.insights.filters import PostgresDialect, compile_filter
from events.insights.question import Filter
from events.insights.scan import Scan
from events.lake.snapshot import snapshot
from events.tests.insights import reference
from events.tests.insights.seeded import Seeded

ZONE = ZoneInfo("Europe/Berlin")
EVENTS = reference.events()
pytestmark = pytest.mark.usefixtures("seeded_questions")
ODD = "qu\"o'te $.x[*]/~"


class Asked(question.Question):
    pass


def read(asked: dict[str, Any]) -> Filter:
    found = question.read(Asked, {"where": asked}).where
    assert found is not None
    return found


@pytest.fixture
def by_lake(seeded: Seeded) -> Callable[[dict[str, Any]], set[int]]:
    taken = snapshot(seeded.project.pk, since=None, until=None)

    def by_lake(asked: dict[str, Any]) -> set[int]:
        scan = Scan(taken)
        where = compile_filter(read(asked), scan.dialect, ZONE)
        rows = client.run(
            client.Query(f"SELECT id FROM {scan.sql()} WHERE {where}", scan.parameters, 10_000, 10)
        ).rows
        return {row[0] for row in rows}

    return by_lake


@pytest.fixture
def by_postgres(seeded: Seeded) -> Callable[[dict[str, Any]], set[int]]:
    rows = [
        [event.id, str(event.event_id), event.name, event.user_id, event.anonymous_id, event.session_id,
         event.occurred_at.isoformat(), event.properties]
        for event in seeded.events
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE seed ON COMMIT DROP AS SELECT (r->>0)::bigint id, (r->>1)::uuid event_id, r->>2 AS name,"
            " r->>3 user_id, r->>4 anonymous_id, r->>5 session_id, (r->>6)::timestamptz occurred_at, r->7 properties"
            " FROM jsonb_array_elements(%s::jsonb) r",
            [json.dumps(rows)],
        )

    def by_postgres(asked: dict[str, Any]) -> set[int]:
        dialect = PostgresDialect()
        where = compile_filter(read(asked), dialect, ZONE)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT id FROM seed WHERE {where}", dialect.parameters)
            return {row[0] for row in cursor.fetchall()}

    return by_postgres


LEAVES: list[dict[str, Any]] = [
    {"field": "name", "op": "=", "value": "page_view"},
    {"field": "name", "op": "!=", "value": "page_view"},
    {"field": "name", "op": "in", "value": ["signup", "Zürich 'q\" %", "x"]},
    {"field": "name", "op": "contains", "value": "_"},
    {"field": "name", "op": "contains", "value": "%"},
    {"field": "name", "op": "contains", "value": ""},
    {"field": "name", "op": "starts_with", "value": "Zü"},
    {"field": "name", "op": ">", "value": "page_view"},
    {"field": "name", "op": "<=", "value": "page_view"},
    {"field": "person", "op": "=", "value": "u7"},
    {"field": "person", "op": "in", "value": ["u7", "a3", "nobody"]},
    {"field": "person", "op": "!=", "value": "u7"},
    {"field": "person", "op": "exists"},
    {"field": "person", "op": "starts_with", "value": "a1"},
    {"field": "user_id", "op": "exists", "value": False},
    {"field": "session_id", "op": "<", "value": "s15"},
    {"field": "event_id", "op": "=", "value": str(EVENTS[5].event_id).upper()},
    {"field": "event_id", "op": "in", "value": [str(event.event_id) for event in EVENTS[:7]]},
    {"field": "event_id", "op": "!=", "value": str(EVENTS[5].event_id)},
    {"field": "occurred_at", "op": ">=", "value": "2026-10-25T02:30:00"},
    {"field": "occurred_at", "op": "<", "value": "2026-10-25T00:00:00Z"},
    {"field": "occurred_at", "op": "=", "value": EVENTS[9].occurred_at.isoformat()},
    {"property": "plan", "op": "=", "value": "1"},
    {"property": "plan", "op": "=", "value": 1},
    {"property": "plan", "op": "=", "value": True},
    {"property": "plan", "op": "!=", "value": "free"},
    {"property": "plan", "op": "in", "value": ["pro", 1, True, 2.5]},
    {"property": "plan", "op": "in", "value": []},
    {"property": "plan", "op": "=", "value": "2.5"},
    {"property": "plan", "op": "exists"},
    {"property": "plan", "op": "exists", "value": False},
    {"property": "plan", "op": ">", "value": "g"},
    {"property": "Plan", "op": "exists"},
    {"property": "amount", "op": ">", "value": 100},
    {"property": "amount", "op": "<=", "value": -3},
    {"property": "amount", "op": "!=", "value": 2},
    {"property": "amount", "op": "=", "value": "12"},
    {"property": "amount", "op": "<", "value": "2"},
    {"property": "a.b", "op": "=", "value": "'; DROP TABLE events; --"},
    {"property": "a.b", "op": "=", "value": ""},
    {"property": "a.b", "op": "starts_with", "value": " "},
    {"property": ODD, "op": "=", "value": "x"},
    {"property": ODD, "op": ">=", "value": 5},
    {"property": "", "op": "=", "value": "empty"},
    {"property": "", "op": "=", "value": 3},
    {"property": "имя", "op": "in", "value": ["Ω"]},
    {"property": ["address", "city"], "op": "=", "value": "Köln"},
    {"property": ["address", "city"], "op": "exists", "value": False},
    {"property": ["address", "geo", "lat"], "op": "<", "value": 50},
    {"property": ["address", "1", "q"], "op": "=", "value": 4},
    {"property": ["nobody", "has it"], "op": "!=", "value": "x"},
    {"property": "nobody has it", "op": "exists"},
    {"not": {"property": "amount", "op": ">", "value": 100}},
    {"and": []},
    {"or": []},
]  # fmt: skip


def combined(chance: random.Random, depth: int) -> dict[str, Any]:
    if depth == 0 or chance.random() < 0.2:
        return chance.choice(LEAVES)
    word = chance.choice(["and", "or", "not"])
    if word == "not":
        return {"not": combined(chance, depth - 1)}
    return {word: [combined(chance, depth - 1) for _ in range(chance.randrange(1, 4))]}


def test_every_comparison_and_many_together(
    by_lake: Callable[..., set[int]], by_postgres: Callable[..., set[int]]
) -> None:
    chance = random.Random(11)
    chosen = 0
    for asked in [*LEAVES, *(combined(chance, 4) for _ in range(60))]:
        expected = {event.id for event in EVENTS if reference.holds(event, asked, ZONE)}
        assert by_lake(asked) == expected, asked
        assert by_postgres(asked) == expected, asked
        chosen += 0 < len(expected) < len(EVENTS)
    assert chosen > 80


@pytest.mark.parametrize(
    ("stored", "asked", "is_met"),
    [
        ("1e400", {"op": ">", "value": 0}, False),  # no double: no number
        ("-1e400", {"op": "exists"}, True),
        ("1e-400", {"op": "=", "value": 0}, True),
        ("123456789012345678901234567890", {"op": ">", "value": 1e29}, True),
        ("1.50", {"op": "=", "value": "1.5"}, True),
        ("1.0", {"op": "=", "value": 1}, True),
        ("-0.0", {"op": "=", "value": 0}, True),
        ('"1e400"', {"op": ">", "value": 0}, False),
        ("null", {"op": "exists"}, False),
        ("false", {"op": "=", "value": False}, True),
    ],
)
@pytest.mark.django_db
def test_numbers_at_the_edge_are_alike_in_both(stored: str, asked: dict[str, Any], is_met: bool) -> None:
    wanted = read({"property": "x", **asked})
    dialect = PostgresDialect()
    where = compile_filter(wanted, dialect, ZONE)
    json_text = f'{{"x": {stored}}}'
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT properties::text, ({where}) IS TRUE FROM (SELECT %(json)s::jsonb AS properties)",
            dialect.parameters | {"json": json_text},
        )
        kept, found = cursor.fetchone()
    assert found == is_met
    scan = Scan(snapshot(0, since=None, until=None))
    where = compile_filter(wanted, scan.dialect, ZONE)
    forms = [(alias, scan._from_json(*key)) for key, alias in scan._aliases.items()]
    columns = ", ".join(f"{sql} AS {alias}" for alias, sql in forms)
    sql = f"SELECT ({where}) IS TRUE FROM (SELECT {columns} FROM (SELECT $json AS properties))"
    assert duckdb.execute(sql, scan.parameters | {"json": kept}).fetchall() == [(is_met,)]


def nested(depth: int) -> dict[str, Any]:
    return LEAVES[0] if depth == 1 else {"not": nested(depth - 1)}


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "where"),
    ({"and": [], "or": []}, "where"),
    ({"and": [LEAVES[0], {"or": [{"field": "name", "op": "="}]}]}, "where.and[1].or[0].value"),
    ({"and": [], "field": "name"}, "where"),
    ({"op": "=", "value": 1}, "where"),
    ({"field": "name", "property": "name", "op": "=", "value": "x"}, "where"),
    ({"field": "name", "op": "=", "value": 1}, "where.value"),
    ({"field": "name", "op": "=", "value": ["x"]}, "where.value"),
    ({"field": "name", "op": "in", "value": "x"}, "where.value"),
    ({"field": "name", "op": "matches", "value": "(a+)+$"}, "where.op"),
    ({"field": "name", "op": "exists", "value": "yes"}, "where.value"),
    ({"field": "secret", "op": "exists"}, "where.field"),
    ({"field": "event_id", "op": "=", "value": "x"}, "where.value"),
    ({"field": "event_id", "op": "contains", "value": "x"}, "where.op"),
    ({"field": "occurred_at", "op": ">", "value": "yesterday"}, "where.value"),
    ({"field": "occurred_at", "op": ">", "value": 5}, "where.value"),
    ({"field": "occurred_at", "op": "contains", "value": "5"}, "where.op"),
    ({"property": [], "op": "exists"}, "where.property"),
    ({"property": ["a"] * 9, "op": "exists"}, "where.property"),
    ({"property": "x" * 1_001, "op": "exists"}, "where.property"),
    ({"property": "x", "op": "=", "value": None}, "where.value"),
    ({"property": "x", "op": "=", "value": 10**400}, "where.value"),
    ({"property": "x", "op": "=", "value": float("nan")}, "where.value"),
    ({"property": "x", "op": "=", "value": "\0"}, "where.value"),
    ({"property": "\ud800", "op": "exists"}, "where.property"),
    ({"property": "x", "op": "contains", "value": 5}, "where.value"),
    ({"property": "x", "op": "in", "value": ["x"] * 1_001}, "where.value"),
    ({"or": [{"property": "x", "op": "in", "value": ["x"] * 600}] * 2}, "where.or[1].value"),
    ({"and": [{"or": [LEAVES[0]] * 51}] * 2}, "where.and[1].or[49]"),
    (nested(9), "where" + ".not" * 8),
    (nested(200), "where"),
    ({"property": "x", "op": "exists", "x'); DROP TABLE events; --": 1}, "where.x'); DROP TABLE events; --"),
]


@pytest.mark.parametrize(("asked", "field"), BAD)
def test_a_filter_that_is_not_right_names_its_field(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        filters.check(read(asked), ZONE)
    assert refused.value.field == field
    assert refused.value.message


def test_what_is_asked_for_never_becomes_sql() -> None:
    odd = 'x\'); SELECT "$p1" %s /* '
    asked = read(
        {
            "and": [
                {"property": odd, "op": "=", "value": odd},
                {"property": [odd, odd], "op": "in", "value": [odd, 1]},
            ]
        }
    )
    dialect = PostgresDialect()
    assert "SELECT" not in compile_filter(asked, dialect, ZONE)
    assert odd in dialect.parameters.values()
