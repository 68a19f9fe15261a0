"""What was sealed is in the catalogue: compared with counting it by hand; bounded; in the seal's transaction."""

import json
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from events.catalogue import learn, observe, places, tell
from events.deletion import delete_some
from events.lake.erase import erase_person
from events.lake.seal import seal
from events.models import CatalogueName, CatalogueProject, CatalogueProperty
from events.tests.lake.pond import odd_rows, put
from projects import services
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]
NOW = datetime.now(UTC)
SealAll = Callable[[], int]


@pytest.fixture
def project(make_project: Callable[..., Any]) -> Project:
    made: Project = make_project().project
    return made


@pytest.fixture(autouse=True)
def all_is_learned(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    if "cannot_be_learned" not in request.node.name:
        assert "the catalogue does not know" not in caplog.text


def rows(project: Project, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
    return [{"project_id": project.pk, **fields} for _ in range(count)]


def names(project: Project) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in tell.names(project.pk, now=datetime.now(UTC)).rows}


def properties(project: Project, name: str = "a", *, now: datetime = NOW) -> dict[str, dict[str, Any]]:
    found = tell.name(project.pk, name, now=now)
    assert found is not None
    return {row["property"]: row for row in found[1].rows}


def kind_of(value: Any) -> str:
    kinds = {bool: "boolean", str: "string", int: "number", float: "number", dict: "object", list: "array"}
    return kinds[type(value)]


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def test_what_is_told_is_what_counting_tells(project: Project, seal_all: SealAll) -> None:
    chance = random.Random(5)
    sent = []
    for _ in range(12):
        part = [row | {"project_id": project.pk} for row in odd_rows(60, seed=chance.randrange(10**6))]
        for row in part:
            row["name"] = chance.choice(["a", "b c", "Z\n'ü"])
            row["properties"] |= {"plan": chance.choice(["pro", 1, 2.50, True, None, {"x": 1}, ["ä"]])}
        sent += part
        put(part)
        seal_all()
    told = names(project)
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sent:
        by_name[row["name"]].append(row)
    assert told.keys() == by_name.keys()
    for name, events in by_name.items():
        moments = [row["occurred_at"] for row in events]
        days = Counter(moment.date() for moment in moments)
        assert told[name]["events"] == len(events)
        assert told[name]["first_seen"] == f"{min(moments):%Y-%m-%dT%H:%M:%S.%fZ}"
        assert told[name]["last_seen"] == f"{max(moments):%Y-%m-%dT%H:%M:%S.%fZ}"
        today = datetime.now(UTC).date()
        assert told[name]["days"] == [days[today - timedelta(days=n)] for n in range(29, -1, -1)]
        found = properties(project, name)
        values: dict[str, list[Any]] = defaultdict(list)
        for row in events:
            for key, value in row["properties"].items():
                values[key] += [] if value is None else [value]
        assert {key: row["events"] for key, row in found.items()} == {
            key: len(some) for key, some in values.items() if some
        }
        for key, row in found.items():
            assert row["types"] == Counter(map(kind_of, values[key]))
            assert row["share"] == pytest.approx(len(values[key]) / len(events))
            texts = Counter(text_of(value)[:100] for value in values[key])
            assert row["example"] in texts
            if not any(len(text) > 99 for text in texts):
                assert row["different_values"] == len(texts)
                assert {one["value"]: one["events"] for one in row["values"]} == dict(texts)


def test_of_many_rows_all_are_counted_and_some_are_looked_into(project: Project, seal_all: SealAll) -> None:
    put(rows(project, 5_000, properties={"x": 1}) + rows(project, 30, name="rare", properties={"y": "z"}))
    assert seal_all() == 5_030
    assert {name: row["events"] for name, row in names(project).items()} == {"a": 5_000, "rare": 30}
    assert properties(project)["x"]["events"] == observe.SAMPLE_OF_NAME
    assert (properties(project)["x"]["share"], properties(project, "rare")["y"]["events"]) == (1, 30)


@pytest.mark.parametrize("theirs", [7, 300])
def test_one_name_of_two_projects_is_two_names(
    make_project: Callable[..., Any], seal_all: SealAll, theirs: int
) -> None:
    one, two = (make_project(name=name).project for name in ("one", "two"))
    put(rows(one, 5, properties={"x": 1}) + rows(two, theirs, properties={"y": 1}))
    put(rows(one, 3, name="b", properties={"z": 1}))
    seal_all()
    looked = min(theirs, observe.SAMPLE_OF_NAME)
    assert {key: row["events"] for key, row in properties(one).items()} == {"x": 5}
    assert {key: row["events"] for key, row in properties(two).items()} == {"y": looked}
    assert [names(project)["a"]["events"] for project in (one, two)] == [5, theirs]


def test_a_seal_of_known_names_reads_and_writes_only_them(project: Project, seal_all: SealAll) -> None:
    put(rows(project, 300) + rows(project, 300, name="b"))
    seal_all()
    CatalogueName.objects.update(sampled=learn.KNOWN)
    put(rows(project) + rows(project, name="b"))
    with CaptureQueriesContext(connection) as asked:
        assert seal_all() == 2
    told = [query["sql"].split()[0] for query in asked if "catalogue" in query["sql"]]
    assert told == ["SELECT", "INSERT"]


def test_a_flood_of_names_and_keys_and_values_stays_within_bounds(
    project: Project, seal_all: SealAll
) -> None:
    put(rows(project, 3, name="known", properties={"plan": "pro"}))
    seal_all()
    for part in range(2):
        flood = [
            {f"k{part}-{row}-{n}": "v" * 300 + str(n) for n in range(30)} | {"plan": row % 70 * (row % 2)}
            for row in range(50)
        ]
        put([row for sent in flood for row in rows(project, name="known", properties=sent)])
        put(
            [row for n in range(700) for row in rows(project, name=f"n{part}-{n}", properties={"a" * 300: 1})]
        )
        seal_all()
    listed = tell.names(project.pk, now=datetime.now(UTC))
    assert (len(listed.rows), listed.more_events) == (500, 901)
    assert listed.more == pytest.approx(901, rel=0.14)
    known, found = tell.name(project.pk, "known", now=datetime.now(UTC)) or ({}, tell.Listed([], 0, 0))
    assert (known["events"], len(found.rows), found.more_events) == (103, 200, 3_000 - 199)
    assert found.more == pytest.approx(3_000 - 199, rel=0.14)
    plan = properties(project, "known")["plan"]
    assert (plan["events"], plan["different_values"], len(plan["values"])) == (103, 27, 20)
    assert plan["values"][0] == {"value": "0", "events": 50}
    assert not plan["has_all_values"]
    size = "SELECT max(length(values::text)) FROM events_catalogueproperty"
    with connection.cursor() as cursor:
        cursor.execute(size)
        assert cursor.fetchone()[0] < 40 * 120


def test_what_came_long_ago_gives_its_place(
    project: Project, seal_all: SealAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MAX_NAMES", 2)
    monkeypatch.setattr(places, "MAX_PROPERTIES", 2)
    put(rows(project, name="old") + rows(project, name="kept", properties={"old": 1, "kept": 1}))
    seal_all()
    long_ago = NOW - timedelta(days=31)
    CatalogueName.objects.filter(name="old").update(last_received_at=long_ago)
    CatalogueProperty.objects.filter(key="old").update(last_received_at=long_ago)
    put(
        rows(project, name="new", properties={"x": 1})
        + rows(project, name="kept", properties={"new": 1, "old": 2})
    )
    put(rows(project, name="newer"))
    seal_all()
    assert sorted(names(project)) == ["kept", "new"]
    assert tell.names(project.pk, now=NOW).more_events == 1
    # One that comes again is no stale one.
    assert sorted(properties(project, "kept")) == ["kept", "old"]


@pytest.mark.parametrize("step", ["marked", "written"])
def test_a_seal_that_fails_has_taught_nothing_and_the_next_one_all(
    project: Project, seal_all: SealAll, step: str
) -> None:
    put(rows(project, 3, properties={"x": 1}))

    class Enough(Exception):
        pass

    def fail(reached: str) -> None:
        if reached == step:
            raise Enough

    for _ in range(2):
        with pytest.raises(Enough):
            seal(reached=fail)
    assert names(project) == {}
    seal_all()
    assert (names(project)["a"]["events"], properties(project)["x"]["events"]) == (3, 3)


def test_two_sealers_at_once_count_each_event_once(project: Project) -> None:
    for _ in range(20):
        put(rows(project, 5, properties={"x": 1}))

    def work() -> None:
        while (sealed := seal()).busy or sealed.batches:
            pass
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (names(project)["a"]["events"], properties(project)["x"]["share"]) == (100, 1)


def test_small_seals_look_at_what_is_known_only_now_and_then(project: Project, seal_all: SealAll) -> None:
    put(rows(project, 2, properties={"x": 1}))
    seal_all()
    sampled = []
    for known, seconds_ago in ((True, 1), (True, 11), (False, 1)):
        looked_at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        CatalogueName.objects.update(sampled=learn.KNOWN if known else 0, looked_at=looked_at)
        put(rows(project, 2, properties={"x": 1}))
        seal_all()
        sampled.append(CatalogueName.objects.get().sampled)
    assert sampled == [learn.KNOWN, learn.KNOWN + 2, 2]
    assert names(project)["a"]["events"] == 8


def test_in_a_flood_of_names_those_known_have_their_turn(
    project: Project, seal_all: SealAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "LOOK_AGAIN", timedelta())
    for _ in range(4):
        put([row for n in range(20) for row in rows(project, name=f"n{n}")])
        seal_all()
    assert CatalogueName.objects.filter(looked_at=None).count() == 0
    assert {row["events"] for row in names(project).values()} == {4}


def test_what_cannot_be_learned_costs_the_seal_nothing(
    project: Project, seal_all: SealAll, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(observe, "_COUNTS", "SELECT no_such_column FROM read_parquet(?)")
    put(rows(project, 2))
    assert seal_all() == 2
    assert "the catalogue does not know" in caplog.text
    assert names(project) == {}


def marks(row: dict[str, Any]) -> list[str]:
    return [mark["mark"] for mark in row["marks"]]


def test_what_is_new_gone_or_of_another_type_is_marked(project: Project, seal_all: SealAll) -> None:
    def put_at(days_ago: float, count: int, **fields: Any) -> None:
        at = NOW - timedelta(days=days_ago)
        put(rows(project, count, received_at=at, occurred_at=at, **fields))
        seal_all()

    put_at(40, 50, properties={"plan": 1, "gone": 1, "rare": 1})
    put_at(40, 1, name="silent")
    put_at(20, 50, properties={"plan": 1})
    put_at(3, 10, properties={"plan": "pro", "new": 1})
    put_at(2, 1, name="new")
    told = names(project)
    assert {name: marks(row) for name, row in told.items()} == {
        "a": [],
        "silent": ["vanished"],
        "new": ["new"],
    }
    assert told["new"]["marks"][0]["at"] == f"{NOW - timedelta(days=2):%Y-%m-%dT%H:%M:%S.%fZ}"
    found = properties(project)
    assert {key: marks(row) for key, row in found.items()} == {
        "plan": ["type_changed"], "gone": ["vanished"], "rare": ["vanished"], "new": ["new"],
    }  # fmt: skip
    changed = found["plan"]["marks"][0]
    assert (changed["from"], changed["to"]) == (["number"], "string")
    assert changed["at"] == f"{NOW - timedelta(days=3):%Y-%m-%dT%H:%M:%S.%fZ}"
    later = properties(project, now=NOW + timedelta(days=30))
    assert [marks(later[key]) for key in ("plan", "new")] == [[], []]


def test_a_rare_property_has_not_vanished_before_it_would_have_come(
    project: Project, seal_all: SealAll
) -> None:
    at = NOW - timedelta(days=1)
    put(rows(project, 49, received_at=at) + rows(project, 1, received_at=at, properties={"rare": 1}))
    seal_all()
    put(rows(project, 50))
    seal_all()
    assert marks(properties(project)["rare"]) == []


def test_erasing_a_person_erases_the_values_known(project: Project, seal_all: SealAll) -> None:
    put(rows(project, 2, user_id="ada", properties={"mail": "ada@example.org"}))
    put(rows(project, 1, user_id="bob", properties={"mail": "bob@example.org"}))
    seal_all()
    erase_person(project.pk, "ada")
    mail = properties(project)["mail"]
    assert (mail["values"], mail["example"], mail["events"]) == ([], "", 3)
    put(rows(project, 1, properties={"mail": "eve@example.org"}))
    seal_all()
    assert properties(project)["mail"]["example"] == "eve@example.org"


def test_a_deleted_project_is_not_learned_of_and_leaves_nothing(
    project: Project, seal_all: SealAll, valkey: redis.Redis
) -> None:
    put(rows(project, 2, properties={"x": 1}))
    seal_all()
    services.delete_project(project)
    put(rows(project, 2, name="late"))
    seal_all()
    assert not CatalogueName.objects.filter(name="late").exists()
    delete_some(valkey)
    assert not any(model.objects.exists() for model in (CatalogueProperty, CatalogueName, CatalogueProject))
