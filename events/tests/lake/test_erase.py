"""A person leaves the table and every file; so does a deleted project."""

import json
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
import redis
from django.db import connection
from django.utils import timezone

from events import deletion
from events.catalogue_models import CatalogueName, CatalogueProject, CatalogueProperty
from events.lake import erase as stage
from events.lake import publish
from events.lake.erase import erase_person, erase_projects
from events.lake.layout import lake_dir, manifest_path, number_column, retired_path, text_column
from events.lake.verify import verify
from events.models import Event, Segment
from events.tests.lake.pond import in_lake, in_table, put
from projects.models import Project
from tasks.maintenance import delete_project_data, erase_deleted_projects

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
PERSONS = [
    {"user_id": "ann"},
    {"anonymous_id": "ann"},
    {"user_id": "bob", "anonymous_id": "ann"},
    {"user_id": "ann", "anonymous_id": "browser"},
    {"user_id": "Ann"},
    {"user_id": "bob", "anonymous_id": "browser", "session_id": "ann", "properties": {"user_id": "ann"}},
    {},
    {"user_id": ""},
]
ARE_ANN = 4


@pytest.fixture
def projects(make_project: Callable[..., Any]) -> list[Project]:
    return [make_project(name=name).project for name in ("one", "two")]


def put_persons(*projects: Project, days: int = 3) -> None:
    put(
        {"project_id": project.pk, "occurred_at": NOON - timedelta(days=day)} | person
        for project in projects
        for day in range(days)
        for person in PERSONS
    )


def found_on_disk(project_id: int) -> int:
    """Ann's rows in all files there are, asked independently."""
    files = [str(path) for path in lake_dir().rglob("*.parquet")]
    if not files:
        return 0
    with duckdb.connect() as reader:
        return reader.execute(
            "SELECT count(*) FROM read_parquet(?, union_by_name = true, hive_partitioning = false)"
            " WHERE project_id = ? AND 'ann' IN (user_id, anonymous_id)",
            [files, project_id],
        ).fetchone()[0]


def listed(project: Project) -> list[str]:
    """What others are told to read."""
    told = json.loads((lake_dir() / manifest_path(project.pk)).read_text())
    return [file["path"] for file in told["files"]]


def merge_all_days(merge_all: Callable[..., list[str]]) -> None:
    merge_all(datetime.now(UTC) + timedelta(days=5))


def test_a_person_leaves_live_retired_and_forgotten_files_and_the_table(
    projects: list[Project], seal_all: Callable[[], int], merge_all: Callable[..., list[str]]
) -> None:
    ours, others = (project.pk for project in projects)
    put_persons(*projects)
    seal_all()
    seal_time = Segment.objects.get()
    forgotten = lake_dir() / "fresh" / "forgotten.parquet"
    shutil.copy(lake_dir() / seal_time.path, forgotten)
    merge_all_days(merge_all)
    put_persons(*projects)
    seal_all()
    put_persons(projects[0], days=1)  # these are not sealed yet
    (lake_dir() / "tmp").mkdir(exist_ok=True)
    (lake_dir() / "tmp" / "half.csv").write_text("ann")
    erased = erase_person(ours, "ann")
    assert (erased.rows, erased.lake_rows) == (ARE_ANN * 7, ARE_ANN * 6)
    assert (erased.proof.rows, found_on_disk(ours)) == (0, 0)
    assert erased.proof.files == 4  # the other project's own three cannot hold the person
    assert not forgotten.exists()
    assert all((lake_dir() / path).exists() for path in listed(projects[0]) + listed(projects[1]))
    assert list((lake_dir() / "tmp").glob("*.csv")) == []
    assert not Event.objects.filter(project_id=ours, user_id="ann").exists()
    seal_all()
    assert verify().is_equal
    assert in_lake() == in_table()
    assert len([row for row in in_table() if row[1] == ours]) == (len(PERSONS) - ARE_ANN) * 7
    assert len([row for row in in_table() if row[1] == others]) == len(PERSONS) * 6


def test_a_file_that_is_written_anew_keeps_its_columns_and_its_order(
    projects: list[Project], seal_all: Callable[[], int], merge_all: Callable[..., list[str]]
) -> None:
    put(
        {
            "project_id": projects[0].pk,
            "name": f"n{n % 3}",
            "user_id": "ann" if n % 4 else "bob",
            "occurred_at": NOON - timedelta(days=2, seconds=n * 7 % 50),
            "properties": {"plan": f"p{n % 2}", "amount": n},
        }
        for n in range(60)
    )
    seal_all()
    merge_all_days(merge_all)
    before = Segment.objects.get(retired_at=None)
    assert before.columns == {"plan": {"s": True, "n": False}, "amount": {"s": True, "n": True}}
    erase_person(projects[0].pk, "ann")
    after = Segment.objects.get()
    assert (after.columns, after.is_complete, after.rows) == (before.columns, True, 15)
    plan, amount = text_column("plan"), number_column("amount")
    found = in_lake(f"name, occurred_at, id, {plan}, {amount}, properties", segments=[after])
    assert all(json.loads(row[5]) == {"plan": row[3], "amount": row[4]} for row in found)
    with duckdb.connect() as reader:
        path = str(lake_dir() / after.path)
        rows = reader.execute(
            f"SELECT name, epoch_us(occurred_at), id FROM read_parquet('{path}')"
        ).fetchall()
    assert rows == sorted(rows)


def test_nobodys_rows_go_for_someone_who_is_not_there(
    projects: list[Project], seal_all: Callable[[], int]
) -> None:
    put_persons(*projects)
    seal_all()
    before = list(Segment.objects.values_list("path", flat=True))
    erased = erase_person(projects[0].pk, "nobody")
    assert (erased.rows, erased.lake_rows, erased.files, erased.deleted) == (0, 0, 0, 0)
    assert list(Segment.objects.values_list("path", flat=True)) == before


@pytest.mark.parametrize("at", ["written", "listed", "committed", "moved"])
def test_a_crash_at_any_point_is_finished_by_the_next_call(
    at: str, projects: list[Project], seal_all: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        pass

    def crash(*_: Any, **__: Any) -> Any:
        raise Crash

    put_persons(*projects)
    seal_all()
    owner, name = {
        "written": (publish, "publish"),
        "listed": (stage.rewrite, "Rewritten"),
        "committed": (stage, "_delete_files"),
        "moved": (stage, "_delete_files"),
    }[at]
    with monkeypatch.context() as patched, pytest.raises(Crash):
        patched.setattr(owner, name, crash)
        erase_person(projects[0].pk, "ann")
    if at == "moved":  # as the sweep does
        old = Segment.objects.exclude(retired_at=None).get()
        target = lake_dir() / retired_path(old.path)
        target.parent.mkdir()
        (lake_dir() / old.path).rename(target)
    erased = erase_person(projects[0].pk, "ann")
    assert (erased.proof.rows, found_on_disk(projects[0].pk)) == (0, 0)
    assert verify().is_equal
    assert in_lake() == in_table()
    assert not Segment.objects.exclude(retired_at=None).exists()


def test_many_files_go_in_several_transactions(
    projects: list[Project], seal_all: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        put_persons(projects[0], days=1)
        seal_all()
    monkeypatch.setattr(stage, "FILES_AT_ONCE", 2)
    erased = erase_person(projects[0].pk, "ann")
    assert (erased.files, erased.deleted, erased.lake_rows) == (5, 5, ARE_ANN * 5)
    assert found_on_disk(projects[0].pk) == 0
    assert verify().is_equal


def test_events_that_are_stored_and_sealed_meanwhile_go_too(
    projects: list[Project], seal_all: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_persons(projects[0])
    seal_all()
    erase_some, times = stage._erase_some, iter(range(1))

    def arriving(*args: Any, **options: Any) -> Any:
        some = erase_some(*args, **options)
        if next(times, None) is not None:
            put_persons(projects[0])
            seal_all()
        return some

    monkeypatch.setattr(stage, "_erase_some", arriving)
    erased = erase_person(projects[0].pk, "ann")
    assert (erased.rows, erased.lake_rows, erased.proof.rows) == (ARE_ANN * 6, ARE_ANN * 6, 0)
    assert found_on_disk(projects[0].pk) == 0
    assert verify().is_equal


def test_a_merge_at_work_is_waited_for(projects: list[Project], seal_all: Callable[[], int]) -> None:
    """It writes without the lock that seals have: its files would come after the proof."""
    put_persons(projects[0])
    seal_all()
    order: list[str] = []

    def erase() -> None:
        erase_person(projects[0].pk, "ann")
        order.append("erased")
        connection.close()

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, 1)", [publish.LOCK])
        thread = threading.Thread(target=erase)
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while True:
            cursor.execute(waiting)
            if cursor.fetchone()[0]:
                break
        order.append("merged")
        cursor.execute("SELECT pg_advisory_unlock(%s, 1)", [publish.LOCK])
    thread.join()
    assert order == ["merged", "erased"]


def test_a_deleted_projects_files_go_before_the_project_does(
    projects: list[Project],
    seal_all: Callable[[], int],
    merge_all: Callable[..., list[str]],
    valkey: redis.Redis,
) -> None:
    gone, kept = projects
    put_persons(*projects)
    seal_all()
    merge_all_days(merge_all)
    put_persons(*projects)
    seal_all()
    Project.objects.filter(pk=gone.pk).update(deleted_at=timezone.now() - timedelta(minutes=2))
    assert deletion.left_in_lake() == []  # first the table
    catalogued = (CatalogueProject, CatalogueName, CatalogueProperty)
    known = sum(model.objects.filter(project=gone).count() for model in catalogued)
    assert deletion.delete_some(valkey) == len(PERSONS) * 6 + known
    assert not any(model.objects.filter(project=gone).exists() for model in catalogued)
    assert deletion.left_in_lake() == [gone.pk]
    delete_project_data()
    (message,) = valkey.lrange("lake", 0, -1)
    assert b"erase_deleted_projects" in message
    erase_deleted_projects([gone.pk])
    assert {row[1] for row in in_lake()} == {kept.pk}
    assert verify().is_equal
    assert deletion.left_in_lake() == []
    folder = (lake_dir() / manifest_path(gone.pk)).parent
    assert listed(gone) == []
    assert len(listed(kept)) == Segment.objects.filter(retired_at=None).count()
    deletion.delete_some(valkey)
    assert Project.objects.filter(pk=gone.pk).exists()  # for it is in retired files
    Segment.objects.exclude(retired_at=None).delete()  # as the sweep does
    assert erase_projects([gone.pk]) == {gone.pk}
    deletion.delete_some(valkey)
    assert list(Project.objects.all()) == [kept]
    assert not folder.exists()
