"""A project's manifest names its live files; the sweep takes away what no manifest and no question needs."""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from django.db.models.functions import Now

from events.lake import manifest
from events.lake.layout import lake_dir, manifest_path, number_column, retired_path, text_column
from events.lake.sweep import ORPHAN_SECONDS, Swept, sweep
from events.models import Event, Segment
from events.tests.lake.pond import put

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

SealAll, MergeAll = Callable[[], int], Callable[..., list[str]]


@pytest.fixture
def projects(make_project: Callable[..., Any]) -> list[int]:
    return [make_project(name=f"P{n}").project.pk for n in range(2)]


def read(project_id: int) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((lake_dir() / manifest_path(project_id)).read_text())
    return content


def ids_by_manifest(project_id: int) -> list[int]:
    """As a reader would ask that knows nothing but the manifest."""
    ids: list[int] = []
    for file in read(project_id)["files"]:
        where = f" WHERE project_id = {project_id}" if file["shared"] else ""
        found = duckdb.sql(f"SELECT id FROM '{lake_dir() / file['path']}'{where}").fetchall()
        assert len(found) == file["rows"]
        ids += [row[0] for row in found]
    return sorted(ids)


def ids_in_table(project_id: int) -> list[int]:
    return list(Event.objects.filter(project_id=project_id).order_by("id").values_list("id", flat=True))


def fill(projects: list[int], seal_all: SealAll) -> None:
    days_ago = datetime.now(UTC) - timedelta(days=3)
    for at in (days_ago, datetime.now(UTC)):
        put(
            {"project_id": key, "occurred_at": at, "properties": {"plan": "pro", "n": n, "o": {"a": 1}}}
            for key in projects
            for n in range(20)
        )
        seal_all()


def test_it_leads_to_the_projects_rows_and_no_others(
    projects: list[int], seal_all: SealAll, merge_all: MergeAll
) -> None:
    fill(projects, seal_all)
    assert manifest.write(projects) == 2
    assert [file["shared"] for file in read(projects[0])["files"]] == [True, True]
    for key in projects:
        assert ids_by_manifest(key) == ids_in_table(key)
    merge_all(datetime.now(UTC) + timedelta(hours=2))
    manifest.write(projects)
    for key in projects:
        assert ids_by_manifest(key) == ids_in_table(key)
    own = next(file for file in read(projects[0])["files"] if not file["shared"])
    assert own["complete"]
    assert own["columns"]["plan"] == {"s": text_column("plan"), "n": None}
    assert own["columns"]["n"] == {"s": text_column("n"), "n": number_column("n")}


def test_it_says_how_far_it_reaches(projects: list[int], seal_all: SealAll) -> None:
    fill(projects, seal_all)
    waiting = put([{"project_id": projects[0]}])
    waiting.refresh_from_db()
    manifest.write(projects)
    assert datetime.fromisoformat(read(projects[0])["as_of"]) == waiting.stored_at


def test_rounds_are_no_denser_than_a_second(projects: list[int], seal_all: SealAll) -> None:
    fill(projects, seal_all)
    dirty = manifest.Dirty()
    dirty.add(projects)
    assert dirty.write_if_due() == 2
    dirty.add(projects[:1])
    assert dirty.write_if_due() == 0
    dirty.next_at = time.monotonic()
    assert dirty.write_if_due() == 1


def test_a_start_mends_what_a_crash_left_old(projects: list[int], seal_all: SealAll) -> None:
    fill(projects, seal_all)
    manifest.write(projects)
    Segment.objects.update(retired_at=Now())
    assert manifest.write_all() == 2
    assert read(projects[0])["files"] == []


def age(path: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(lake_dir() / path, (then, then))


def test_a_retired_file_is_moved_and_then_deleted(projects: list[int], seal_all: SealAll) -> None:
    fill(projects, seal_all)
    path = Segment.objects.order_by("id")[0].path
    retired = Segment.objects.filter(path=path)
    retired.update(retired_at=Now() - timedelta(seconds=50))
    assert sweep() == Swept()
    retired.update(retired_at=Now() - timedelta(seconds=61))
    assert sweep() == Swept(moved=1)
    age(retired_path(path), 3_600)
    assert sweep() == Swept()
    retired.update(retired_at=Now() - timedelta(minutes=16))
    assert sweep() == Swept(deleted=1)
    assert (retired.exists(), (lake_dir() / retired_path(path)).exists()) == (False, False)


def test_orphans_go_when_no_writer_can_be_at_them_any_more(projects: list[int], seal_all: SealAll) -> None:
    fill(projects, seal_all)
    manifest.write(projects)
    names = ["fresh/x.parquet", "tmp/x.csv", "lake/project=1/day=2026-01-01/x.parquet"]
    for name in names:
        (lake_dir() / name).parent.mkdir(parents=True, exist_ok=True)
        (lake_dir() / name).touch()
    assert sweep() == Swept()
    for file in lake_dir().rglob("*.*"):
        age(str(file), ORPHAN_SECONDS + 1)
    assert sweep() == Swept(orphans=3)
    assert not (lake_dir() / "lake/project=1/day=2026-01-01").exists()
    for key in projects:
        assert ids_by_manifest(key) == ids_in_table(key)
