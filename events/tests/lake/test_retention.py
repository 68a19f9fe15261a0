"""Old days leave the table once the lake has them whole, and the lake when it is told to."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
import redis
from django.db import connection, connections

from events import buffer, partitions
from events.lake.layout import lake_dir
from events.lake.retention import BUSY, drop_old
from events.lake.verify import verify
from events.models import Batch, Event, Segment
from events.tests.lake.pond import in_lake, put
from eventsite.valkey import sync_client
from projects.models import Project
from tasks.maintenance import drop_old_rows

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


def today() -> date:
    return datetime.now(UTC).date()


def old() -> date:
    return today() - timedelta(days=31)


def at_bound() -> date:
    return today() - timedelta(days=30)


@pytest.fixture
def project(make_project: Callable[..., Any]) -> Project:
    return make_project().project


@pytest.fixture(autouse=True)
def old_days(tables: None) -> Any:
    """Two days that had their partitions, one older than rows are kept."""
    partitions.ensure(old() + timedelta(days=1))
    yield
    with connection.cursor() as cursor:
        for day in partitions.days():
            if day < today() - timedelta(days=1):
                cursor.execute(f"DROP TABLE {partitions.name(day)}")


def put_on(day: date, project: Project, rows: int = 3) -> Batch:
    at = datetime.combine(day, time(23, 59, 59), UTC)
    return put([{"project_id": project.pk, "received_at": at, "occurred_at": at}] * rows)


def test_a_day_that_the_lake_has_whole_is_dropped_and_no_younger_one(
    project: Project, seal_all: Callable[[], int]
) -> None:
    for day in (old(), at_bound(), today()):
        put_on(day, project)
    seal_all()
    before = in_lake()
    dropped = drop_old()
    assert (dropped.days[-1], dropped.kept) == (old(), {})
    assert min(partitions.days()) == at_bound()
    assert Event.objects.count() == 6
    assert verify().is_equal
    assert in_lake() == before
    assert drop_old().days == []
    put_on(old(), project)  # late, by a queue that stood still: into the default partition, and home
    assert partitions.ensure().in_default == 3
    assert drop_old().days == []
    seal_all()
    assert drop_old().days == [old()]


def test_a_day_with_rows_of_an_unsealed_batch_stays(project: Project, seal_all: Callable[[], int]) -> None:
    put_on(old(), project)
    seal_all()
    put_on(old(), project, rows=1)
    dropped = drop_old()
    assert old() in dropped.kept
    assert Event.objects.count() == 4
    Batch.objects.update(seal=1)  # it says so, and the lake has them not
    assert "lacks 1 of its rows" in drop_old().kept[old()]
    assert Event.objects.count() == 4
    Batch.objects.filter(stored=1).update(seal=None)
    seal_all()
    assert old() in drop_old().days


def test_a_day_stays_while_a_file_of_the_lake_is_gone(project: Project, seal_all: Callable[[], int]) -> None:
    put_on(old(), project)
    seal_all()
    (lake_dir() / Segment.objects.get().path).unlink()
    assert "cannot be read" in drop_old().kept[old()]
    assert Event.objects.count() == 3


def test_a_transaction_that_is_writing_into_the_day_keeps_it(
    project: Project, seal_all: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it stores is not sealed, and not to be seen yet: its lock on the table is."""
    monkeypatch.setattr(partitions, "DROP_LOCK_SECONDS", 0.1)
    put_on(old(), project)
    seal_all()
    other = connections.create_connection("default")
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("INSERT INTO events_event SELECT * FROM events_event WHERE false")
            cursor.execute(f"LOCK TABLE {partitions.name(old())} IN ROW EXCLUSIVE MODE")
        assert drop_old().kept[old()] == BUSY
        other.rollback()
    finally:
        other.close()
    assert old() in drop_old().days


def test_the_default_partition_stays_whatever_it_holds(project: Project, seal_all: Callable[[], int]) -> None:
    put_on(old() - timedelta(days=300), project)
    seal_all()
    drop_old()
    assert partitions.DEFAULT in partitions.leaves()
    assert Event.objects.count() == 3


def test_the_lakes_days_are_kept_unless_it_is_told_otherwise(
    project: Project, seal_all: Callable[[], int], merge_all: Callable[..., list[str]], settings: Any
) -> None:
    far = today() - timedelta(days=100)
    put_on(far, project)
    put_on(today(), project)
    seal_all()
    merge_all()
    assert drop_old().segments == 0
    settings.EVENTS_LAKE_DAYS = 100
    assert drop_old().segments == 0
    settings.EVENTS_LAKE_DAYS = 99
    dropped = drop_old()
    assert (dropped.segments, dropped.lake_rows) == (1, 3)
    assert len(in_lake()) == 3
    assert verify().is_equal  # though the table has them yet, by their receipt
    merge_all(datetime.now(UTC) + timedelta(days=9))
    settings.EVENTS_LAKE_DAYS = 0
    put_on(far, project)
    seal_all()
    merge_all(datetime.now(UTC) + timedelta(days=9))
    own = Segment.objects.get(retired_at=None, first_day=far)
    assert own.project_id == project.pk
    settings.EVENTS_LAKE_DAYS = 99
    assert (drop_old().segments, len(in_lake())) == (1, 3)


def test_sealed_batches_go_a_day_after_their_rows(project: Project, seal_all: Callable[[], int]) -> None:
    older, bound, unsealed = (put_on(today(), project, rows=1) for _ in range(3))
    seal_all()
    for batch, days in ((older, 32), (bound, 31), (unsealed, 90)):
        stored = datetime.combine(today() - timedelta(days=days), time(1), UTC)
        Batch.objects.filter(pk=batch.pk).update(stored_at=stored)
    Batch.objects.filter(pk=unsealed.pk).update(seal=None)
    assert drop_old().batches == 1
    assert set(Batch.objects.values_list("pk", flat=True)) == {bound.pk, unsealed.pk}


def test_the_task_drops_and_warns_of_what_it_cannot(
    project: Project, seal_all: Callable[[], int], valkey: redis.Redis
) -> None:
    put_on(old(), project)
    told = drop_old_rows()
    assert str(old()) in str(told["kept"])
    assert "not in the lake" in str(alarms()["retention"])
    seal_all()
    assert str(old()) in str(drop_old_rows()["days"])
    assert "retention" not in alarms()


def alarms() -> dict[str, str]:
    return buffer.standing(sync_client()).alarms
