"""Single events and the export: what was sent comes back equal, in three formats; parts never look whole; who may ask."""

import base64
import csv
import http.client
import io
import itertools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
import redis
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from events import buffer, times
from events.accept import accept
from events.drain import drain
from events.envelope import encode
from events.insights import errors
from events.insights.ask import ask
from events.insights.export import Closed, Export, pieces
from events.insights.listing import FIRST, KIND, _cursor
from events.insights.question import read
from events.insights.which import EventsWanted, which
from events.lake import duck
from events.lake.layout import COLUMNS, lake_dir
from events.lake.publish import publish, write, writing
from events.limits import Limits
from events.models import DeadLetter, Event, Segment
from events.protocols import native
from events.tests import input_cases
from events.tests.conftest import as_bytes, queue, web_server
from events.tests.test_properties import events as any_event
from events.tests.test_properties import finite, kept, same, slow
from projects import keyring, services
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables", "questions")]
Get = Callable[..., Any]
DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def shop(make_project: Callable[..., Any], make_user: Callable[..., Any], valkey: redis.Redis) -> Project:
    made: Project = make_project(make_user("ada"), members=(make_user("bob"),)).project
    return made


@pytest.fixture
def get(shop: Project, login: Callable[..., APIClient]) -> Get:
    client = login(shop.memberships.get(role="owner").user)
    return lambda path, **query: client.get(f"/api/projects/{shop.pk}/events/{path}", query)


def body(response: Any) -> bytes:
    assert response.status_code == 200, response.content
    return b"".join(response.streaming_content)


def lines(response: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body(response).splitlines()]


def listed(project: Project, **question: Any) -> list[dict[str, Any]]:
    """All events by the API, from PostgreSQL and from the lake, which agree; the oldest first."""
    found = []
    for start in ({}, {"after": _cursor(FIRST, of_lake=True)}):
        page = ask(project, KIND, {"limit": 1_000, **question, **start})
        assert page["next"] is None
        found.append([json.loads(msgspec.json.encode(event)) for event in page["events"]][::-1])
    assert found[0] == found[1]
    return found[0]


def test_whatever_is_accepted_comes_back_equal(
    shop: Project, valkey: redis.Redis, get: Get, seal_all: Callable[[], int]
) -> None:
    sent = {}
    for param in input_cases.all_cases(lambda case: case.is_event and not case.code):
        text = as_bytes(param.values[1])
        for envelope in queue(valkey, text, project_id=shop.pk).envelopes:
            sent.setdefault(envelope.event_id, envelope)  # the same id again is a duplicate
    drain(valkey, 0)
    assert len(sent) == seal_all() == Event.objects.count() > 50
    exported = lines(get("export"))
    assert exported == listed(shop)
    assert {event["id"] for event in exported} == sent.keys()
    for event in exported:
        envelope = sent[event["id"]]
        for name in (
            "client_event_id",
            "name",
            "user_id",
            "anonymous_id",
            "session_id",
            "occurred_at",
            "received_at",
        ):
            assert event[name] == getattr(envelope, name)
        assert event.get("raw_base64") == envelope.raw
        for name in ("properties", "context"):
            assert same(event[name], json.loads(bytes(getattr(envelope, name))))
        assert get(event["id"]).json() == event


@settings(slow, max_examples=5)
@given(st.lists(any_event.filter(finite), min_size=1, max_size=20))
def test_generated_events_come_back_equal(
    shop: Project, valkey: redis.Redis, seal_all: Callable[[], int], sent: list[dict[str, Any]]
) -> None:
    decision = accept(native.split(as_bytes(sent)), project_id=shop.pk, limits=Limits.from_settings())
    rows = [encode(envelope) for envelope in decision.envelopes]
    buffer.push(valkey, [buffer.unit(shop.pk, rows, decision.received_ms)])
    drain(valkey, 0)
    seal_all()
    assert DeadLetter.objects.count() == 0
    shown = {event["id"]: event for event in map(json.loads, whole(exported(shop)).splitlines())}
    refused = {error.index for error in decision.errors}
    taken = [event for index, event in enumerate(sent) if index not in refused]
    for event, envelope in zip(taken, decision.envelopes, strict=True):
        found = shown[envelope.event_id]
        assert found["name"] == kept(event["name"])
        assert same(found["properties"], kept(event.get("properties", {})))
        if "raw_base64" in found:
            assert same(json.loads(base64.b64decode(found["raw_base64"])), json.loads(as_bytes(event)))


def exported(project: Project, format: Any = "ndjson", *, piece_rows: int = 1_000, **question: Any) -> Export:
    wanted = which(read(EventsWanted, question), time_zone="UTC", now=datetime.now(UTC))
    export = Export(project.pk, wanted, format, piece_rows=piece_rows)
    export.start()
    return export


def whole(export: Export) -> bytes:
    try:
        return b"".join(iter(export.read, b""))
    finally:
        export.close()


def left_behind() -> list[Path]:
    return list((lake_dir() / "tmp" / "exports").iterdir())


RAW = b'{"name":"raw","properties":{"a":"\\u0000"},"occurred_at":"2026-01-02T03:04:05.000006Z"}'


def test_the_formats_say_the_same_in_one_piece_or_many(
    shop: Project, valkey: redis.Redis, seal_all: Callable[[], int], merge_all: Callable[..., Any]
) -> None:
    """Shared files, a project's own ones with columns, and fresh ones again."""
    for part in range(3):
        events = [
            {
                "id": f"{part}-{number}", "name": "=1+1", "user_id": "a,b\n\"c\"", "properties": {"n": number, "t": "x\ny;\"z\""},
                "occurred_at": times.text(datetime.now(UTC) - timedelta(hours=number * 7)),
            }
            for number in range(40)
        ]  # fmt: skip
        queue(valkey, events, project_id=shop.pk)
        queue(valkey, RAW, project_id=shop.pk)
        queue(valkey, events, project_id=shop.pk + 1)
        drain(valkey, 0)
        seal_all()
        if part == 1:
            merge_all(datetime.now(UTC) + timedelta(days=3))
    wanted = listed(shop)
    assert len(wanted) == 123
    text = whole(exported(shop))
    assert list(map(json.loads, text.splitlines())) == wanted
    assert whole(exported(shop, piece_rows=50)) == text
    assert whole(exported(shop, piece_rows=50, name=["raw", "=1+1"])) == text
    table = whole(exported(shop, "csv", piece_rows=50)).decode()
    assert table == whole(exported(shop, "csv")).decode()
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [row | {name: json.loads(row[name]) for name in ("properties", "context")} for row in rows] == [
        {name: event.get(name) or ("" if name not in ("properties", "context") else {}) for name in rows[0]}
        for event in wanted
    ]
    path = lake_dir() / "tmp" / "export.parquet"
    path.write_bytes(whole(exported(shop, "parquet")))
    with duckdb.connect() as reader:
        found = reader.execute(
            "SELECT id::varchar, occurred_at, properties, raw FROM read_parquet(?) ORDER BY occurred_at, received_at, id",
            [str(path)],
        ).fetchall()
    assert Counter((row[0], json.dumps(json.loads(row[2]))) for row in found) == Counter(
        (event["id"], json.dumps(event["properties"])) for event in wanted
    )
    assert [row[3] for row in found if row[3]] == [
        base64.b64decode(e["raw_base64"]) for e in wanted if "raw_base64" in e
    ]
    assert left_behind() == []


def test_nothing_is_an_export_too(shop: Project, get: Get) -> None:
    assert body(get("export")) == b""
    assert body(get("export", format="csv")).startswith(b"id,client_event_id,name,")
    assert body(get("export", format="parquet")).startswith(b"PAR1")
    response = get("export", format="csv", period='{"last":"7d"}')
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == f'attachment; filename="events-{shop.pk}.csv"'
    assert datetime.fromisoformat(response["X-As-Of"]) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "xls"}, "format"),
        ({"period": "7d"}, "period"),
        ({"period": '{"from":"2026-02-01","until":"2026-01-01"}'}, "period"),
        ({"where": '{"property":"a","op":"~","value":1}'}, "where.op"),
        ({"where": '{"and":[{"property":"a","op":"="}]}'}, "where.and[0].value"),
        ({"time_zone": "Mars"}, "time_zone"),
        ({"colour": "red"}, "colour"),
        ({"person": '{"a":1}'}, "person"),
    ],
)
def test_a_bad_question_is_refused_with_its_field(get: Get, query: dict[str, str], field: str) -> None:
    response = get("export", **query)
    assert (response.status_code, list(response.json()["fields"])) == (400, [field])


def test_pieces_leave_nothing_out() -> None:
    weights = Counter(
        {(DAY + timedelta(days=day)).date(): day * 10 for day in range(9)} | {date(2026, 4, 1): 10**9}
    )
    for rows in (1, 7, 50, 10**10):
        found = list(pieces(weights, rows, DAY + timedelta(hours=5), DAY + timedelta(days=40)))
        assert found[0][0] == DAY + timedelta(hours=5)
        assert found[-1][1] == DAY + timedelta(days=40)
        assert all(until == since for (_, until), (since, _) in itertools.pairwise(found))
        assert all(since < until for since, until in found)
        assert len(found) > 1_440 if rows < 100 else len(found) == 1


@pytest.fixture
def many(shop: Project) -> None:
    """300,000 events, made by DuckDB, in one segment."""
    values = {
        "id": "i", "project_id": str(shop.pk), "event_id": "md5(i::varchar)::uuid", "name": "'a'",
        "occurred_at": f"TIMESTAMPTZ '{DAY}' + to_seconds(i)", "received_at": f"TIMESTAMPTZ '{DAY}'",
        "stored_at": f"TIMESTAMPTZ '{DAY}'", "properties": """'{"url": "' || sha256(i::varchar) || '"}'""", "context": "'{}'",
    }  # fmt: skip
    columns = ", ".join(f"({values.get(name, 'NULL')})::{kind} AS {name}" for name, kind in COLUMNS.items())
    with duck.connect(memory="400MB") as writer, writing() as free:
        draft = write(
            writer,
            f"SELECT {columns} FROM range(300000) r(i)",
            path="fresh/many.parquet",
            project_id=shop.pk,
            level=1,
        )
        assert free
        assert draft
        publish([draft])


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("format", ["ndjson", "parquet"])
def test_a_reader_that_leaves_ends_it_and_nothing_is_left(shop: Project, format: str) -> None:
    export = (
        exported(shop, format, piece_rows=10**9)
        if format == "parquet"
        else exported(shop, format, piece_rows=200_000)
    )
    if format == "ndjson":
        assert export.read()
    ended: list[BaseException] = []

    def read() -> None:
        try:
            whole(export)
        except (errors.Away, Closed) as error:
            ended.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: bool(left_behind()))
    export.close()
    reader.join(2)
    assert ended
    wait_until(lambda: not left_behind())


@pytest.fixture
def asking(
    shop: Project, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], http.client.HTTPConnection]]:
    """Sends a request to a web server of its own, over this test's database and lake."""
    key = services.create_key(project=shop, kind="read")
    keyring.rebuild(valkey)
    database = os.environ["DATABASE_URL"].replace("/eventsite?", f"/{connection.settings_dict['NAME']}?")
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("EVENTS_LAKE_DIR", str(lake_dir()))

    def asking(query: str) -> http.client.HTTPConnection:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
        path = f"/api/projects/{shop.pk}/events/export?{query}"
        client.request("GET", path, headers={"Authorization": f"Bearer {key.secret}"})
        return client

    with web_server() as port:
        yield asking


def wait_until(is_so: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_web_server_streams_stops_and_cuts(
    many: None, asking: Callable[[str], http.client.HTTPConnection]
) -> None:
    response = asking("name=a").getresponse()
    assert (response.status, response.headers["Content-Type"]) == (200, "application/x-ndjson")
    assert sum(1 for _ in response) == 300_000

    gone = asking("format=parquet")
    wait_until(lambda: bool(left_behind()))
    gone.close()
    wait_until(lambda: not left_behind(), 2)

    segment = Segment.objects.get()
    path = lake_dir() / segment.path
    path.chmod(0o600)
    with path.open("r+b") as file:  # of its last days
        file.seek(segment.bytes * 9 // 10)
        file.write(b"\0" * 10_000)
    cut = asking("name=a").getresponse()
    assert (cut.status, len(cut.read(1_000_000))) == (200, 1_000_000)
    with pytest.raises(http.client.IncompleteRead):
        cut.read()
    wait_until(lambda: not left_behind())


def test_where_the_question_process_is_away_it_is_a_503(get: Get, questions: Any) -> None:
    questions.kill()
    questions.wait()
    response = get("export")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
