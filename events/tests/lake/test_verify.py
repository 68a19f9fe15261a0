"""The lake equals the table, or it is said where it does not."""

import os
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.forms import model_to_dict
from django.utils import timezone

from events.lake import verify as stage
from events.lake.layout import lake_dir, retired_path
from events.lake.verify import LakeChanged, verify
from events.models import Segment
from events.tests.lake.pond import odd_rows, put
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

SealAll = Callable[[], int]
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


@pytest.fixture
def projects(make_project: Callable[..., Any]) -> list[Project]:
    return [make_project(name=name).project for name in ("one", "two", "three")]


def put_days(project: Project, days: int = 3, rows: int = 4) -> None:
    """Some rows on each of the last days."""
    put(
        {
            "project_id": project.pk,
            "user_id": f"u{n}",
            "occurred_at": NOON - timedelta(days=n % days, seconds=n),
            "properties": {"n": n},
        }
        for n in range(days * rows)
    )


def spoil(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        assert cursor.rowcount


@pytest.mark.parametrize("seed", range(2))
def test_two_engines_agree_on_rows_of_any_text(seed: int, projects: list[Project], seal_all: SealAll) -> None:
    for project, row in zip(projects * 200, rows := odd_rows(600, seed=seed), strict=False):
        row["project_id"] = project.pk
    put(rows)
    seal_all()
    verified = verify()
    assert (verified.is_equal, verified.rows, verified.files) == (True, 600, 1)
    assert verified.days > 3


@pytest.mark.parametrize(
    "change",
    [
        "user_id = 'x'",
        "user_id = NULL",
        "user_id = ''",
        "occurred_at = occurred_at + interval '1 microsecond'",
        "received_at = received_at + interval '1 microsecond'",
        "stored_at = stored_at + interval '1 microsecond'",
        "properties = '{\"n\": 1.0}'",
        "context = '{\"a\": null}'",
        "raw = ''",
        "session_id = 'u1'",
        "event_id = gen_random_uuid()",
        "client_event_id = 'u1'",
        "name = 'b'",
        "anonymous_id = user_id, user_id = NULL",
    ],
)
def test_a_row_that_is_another_shows(change: str, projects: list[Project], seal_all: SealAll) -> None:
    put([{"project_id": projects[0].pk, "user_id": "u1", "properties": {"n": 1}, "occurred_at": NOON}])
    seal_all()
    spoil(f"UPDATE events_event SET {change}")
    (different,) = verify().different
    assert (different.project_id, different.day) == (projects[0].pk, NOON.date())


def test_missing_and_double_rows_show_by_day(projects: list[Project], seal_all: SealAll) -> None:
    for project in projects[:2]:
        put_days(project)
    seal_all()
    first, second = (project.pk for project in projects[:2])
    today, before = NOON.date(), NOON.date() - timedelta(days=1)
    spoil("DELETE FROM events_event WHERE project_id = %s AND occurred_at >= %s", first, today)
    put([{"project_id": second, "occurred_at": NOON - timedelta(days=1)}])
    spoil("UPDATE events_batch SET seal = 1 WHERE seal IS NULL")
    found = [(one.project_id, one.day, one.table_rows, one.lake_rows) for one in verify().different]
    assert found == [(first, today, 0, 4), (second, before, 5, 4)]
    assert [one.day for one in verify(project_id=first).different] == [today]
    assert [one.project_id for one in verify(day=before).different] == [second]
    assert verify(project_id=first, day=before).is_equal


def test_what_is_not_sealed_is_not_compared_and_neither_are_deleted_projects(
    projects: list[Project], seal_all: SealAll
) -> None:
    put_days(projects[0])
    put_days(projects[1])
    seal_all()
    put_days(projects[0])
    spoil("DELETE FROM events_event WHERE project_id = %s", projects[1].pk)
    Project.objects.filter(pk=projects[1].pk).update(deleted_at=timezone.now())
    verified = verify()
    assert (verified.is_equal, verified.rows) == (True, 12)


def test_rows_older_than_the_oldest_partition_are_the_lakes_own(
    projects: list[Project], seal_all: SealAll
) -> None:
    put_days(projects[0])
    put([{"project_id": projects[0].pk, "received_at": NOON - timedelta(days=50)}])
    seal_all()
    spoil("DELETE FROM events_event WHERE received_at < %s", NOON - timedelta(days=49))
    assert verify().is_equal


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("rows = rows + 1", "has 12 rows instead of 13"),
        ("""project_rows = '{"1": 12}'""", "has other rows of a project than listed"),
        ("first_day = first_day - 1", "has rows from"),
        ("last_day = last_day + 1", "has rows from"),
        ("path = 'fresh/nothing.parquet'", "is missing"),
    ],
)
def test_a_file_that_is_not_what_its_row_says_shows(
    change: str, what: str, projects: list[Project], seal_all: SealAll
) -> None:
    put_days(projects[2])
    seal_all()
    spoil(f"UPDATE events_segment SET {change}")
    (broken,) = verify().broken
    assert what in str(broken)


def test_a_file_that_lies_in_anothers_folder_or_cannot_be_read_shows(
    projects: list[Project], seal_all: SealAll
) -> None:
    put_days(projects[0], days=1)
    seal_all()
    segment = Segment.objects.get()
    own, other = projects[0].pk, projects[1].pk
    for path, what in (
        (f"lake/project={own}/day={NOON.date()}/a.parquet", None),
        (f"lake/project={other}/day={NOON.date()}/a.parquet", "has rows from"),
        (f"lake/project={own}/day=2026-01-01/a.parquet", "has rows from"),
        (f"lake/project={own}/month={NOON:%Y-%m}/a.parquet", None),
    ):
        (lake_dir() / path).parent.mkdir(parents=True)
        os.rename(lake_dir() / segment.path, lake_dir() / path)
        Segment.objects.update(project_id=own, path=path)
        segment.refresh_from_db()
        assert [what in str(broken) for broken in verify().broken] == ([True] if what else [])
    Segment.objects.update(project_id=other)
    assert "rows of other projects" in str(verify().broken[0])
    (lake_dir() / segment.path).chmod(0o600)
    (lake_dir() / segment.path).write_bytes(b"PAR1 no")
    assert "cannot be read" in str(verify().broken[0])


def replace_file(segment: Segment) -> None:
    """As an erasure does, on a connection of its own."""
    old, new = lake_dir() / segment.path, segment.path.replace(".parquet", "x.parquet")
    shutil.copy(old, lake_dir() / new)
    with transaction.atomic():
        Segment.objects.filter(pk=segment.pk).delete()
        Segment(**model_to_dict(segment, exclude=["id", "project"]) | {"path": new}).save()
    old.unlink()
    connection.close()


@pytest.mark.parametrize(("times", "ends"), [(1, True), (9, False)])
def test_files_that_are_replaced_and_deleted_meanwhile_cost_another_try(
    times: int, ends: bool, projects: list[Project], seal_all: SealAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_days(projects[0])
    seal_all()
    left, found = iter(range(times)), stage._found

    def late(segment: Segment) -> Path:
        if next(left, None) is not None:
            thread = threading.Thread(target=replace_file, args=(segment,))
            thread.start()
            thread.join()
        return found(segment)

    monkeypatch.setattr(stage, "_found", late)
    if ends:
        assert verify().is_equal
    else:
        with pytest.raises(LakeChanged):
            verify()


def test_a_file_that_was_moved_aside_meanwhile_is_found(projects: list[Project], seal_all: SealAll) -> None:
    put_days(projects[0])
    seal_all()
    segment = Segment.objects.get()
    target = lake_dir() / retired_path(segment.path)
    target.parent.mkdir()
    (lake_dir() / segment.path).rename(target)
    assert verify().is_equal
