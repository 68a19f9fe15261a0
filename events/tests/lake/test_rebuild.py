"""What differs is written anew from the table; what only the lake had stays, or is said to be lost."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from events.lake import rebuild as stage
from events.lake.layout import lake_dir
from events.lake.rebuild import rebuild
from events.lake.verify import verify
from events.models import Segment
from events.tests.lake.pond import in_lake, in_table, odd_rows, put
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


@pytest.fixture
def lake(make_project: Callable[..., Any], seal_all: Callable[[], int]) -> list[Project]:
    """Three projects' rows of ten days in three shared files."""
    projects = [make_project(name=name).project for name in ("one", "two", "three")]
    for seed in range(3):
        rows = odd_rows(60, seed=seed)
        for n, row in enumerate(rows):
            row |= {
                "project_id": projects[n % 3].pk,
                "occurred_at": NOON - timedelta(days=n % 10, seconds=n),
            }
        put(rows)
        seal_all()
    return projects


def run(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        assert cursor.rowcount


def retired() -> int:
    return Segment.objects.exclude(retired_at=None).count()


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE events_event SET user_id = 'other' WHERE id % 7 = 0",
        "DELETE FROM events_event WHERE id % 5 = 0",
        "UPDATE events_event SET occurred_at = occurred_at - interval '3 days' WHERE id % 9 = 0",
        "UPDATE events_segment SET rows = rows + 1, first_day = first_day - 1",
        "UPDATE events_segment SET project_rows = '{\"1\": 5}'",
        "DELETE FROM events_segment WHERE id = (SELECT min(id) FROM events_segment)",
        # Twice in the lake.
        "INSERT INTO events_segment (path, level, first_day, last_day, first_at, last_at, first_received_at, rows, project_rows,"
        " bytes) SELECT replace(path, 'fresh', 'fresh/.'), level, first_day, last_day, first_at, last_at, first_received_at,"
        " rows, project_rows, bytes FROM events_segment LIMIT 1",
    ],
)
def test_after_it_the_lake_is_equal_again(harm: str, lake: list[Project]) -> None:
    run(harm)
    assert not verify().is_equal
    rebuilt = rebuild()
    assert not rebuilt.lost
    assert verify().is_equal
    assert in_lake() == in_table()


def test_only_what_differs_is_written_and_only_what_is_asked_for(lake: list[Project]) -> None:
    first, second = lake[0].pk, lake[1].pk
    assert (rebuild().days, retired()) == (0, 0)
    run("UPDATE events_event SET name = 'other' WHERE project_id = ANY(%s)", [first, second])
    assert rebuild(project_id=first, day=NOON.date()).days == 1
    assert len(verify(project_id=first).different) == len({n % 10 for n in range(0, 60, 3)}) - 1
    rebuild(project_id=first)
    assert {one.project_id for one in verify().different} == {second}


def test_a_lost_lake_comes_back_as_far_as_the_table_goes(
    lake: list[Project], seal_all: Callable[[], int]
) -> None:
    older = {"project_id": lake[2].pk, "received_at": NOON - timedelta(days=60)}
    put([older, older])
    seal_all()
    run("DELETE FROM events_event WHERE received_at < %s", NOON - timedelta(days=50))
    shutil.rmtree(lake_dir())
    rebuilt = rebuild()
    assert (len(rebuilt.given_up), rebuilt.rows, rebuilt.lost) == (4, 180, {lake[2].pk: 2})
    assert verify().is_equal
    assert in_lake() == in_table()


def test_a_file_that_cannot_be_read_is_given_up_whosever_it_was(lake: list[Project]) -> None:
    broken = lake_dir() / Segment.objects.latest("id").path
    broken.chmod(0o600)
    broken.write_bytes(broken.read_bytes()[:100])
    rebuilt = rebuild(project_id=lake[0].pk, day=NOON.date())
    assert [str(one.segment.path) for one in rebuilt.given_up] == [f"fresh/{broken.name}"]
    assert not rebuilt.lost
    assert verify().is_equal
    assert in_lake() == in_table()


def test_all_is_written_anew_in_pieces_and_older_rows_stay(
    lake: list[Project], seal_all: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    put([{"project_id": lake[2].pk, "received_at": NOON - timedelta(days=60), "occurred_at": NOON}])
    seal_all()
    run("DELETE FROM events_event WHERE received_at < %s", NOON - timedelta(days=50))
    monkeypatch.setattr(stage, "CHUNK_ROWS", 4)
    before = in_lake()
    rebuilt = rebuild(everything=True, day=NOON.date())
    assert (rebuilt.days, rebuilt.rows, rebuilt.lost) == (3, 18, {})
    assert verify().is_equal
    assert in_lake() == before


def test_a_crash_midway_leaves_less_to_do(lake: list[Project], monkeypatch: pytest.MonkeyPatch) -> None:
    run("UPDATE events_event SET name = 'other'")
    monkeypatch.setattr(stage, "CHUNK_ROWS", 50)
    todo, copy, calls = len(verify().different), stage.copy_rows, iter(range(3))

    def ends(*args: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            raise OSError("no space left on device")
        return copy(*args, **options)

    monkeypatch.setattr(stage, "copy_rows", ends)
    with pytest.raises(OSError, match="no space"):
        rebuild()
    assert 0 < len(verify().different) < todo
    monkeypatch.setattr(stage, "copy_rows", copy)
    rebuild()
    assert verify().is_equal
    assert in_lake() == in_table()
