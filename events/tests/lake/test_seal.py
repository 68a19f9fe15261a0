"""A stored row comes to lie in exactly one live file, as it is."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg2
import pytest
import redis
from django.db import connection, connections, transaction

from events import partitions
from events.drain import drain
from events.lake import publish
from events.lake import seal as seal_stage
from events.lake.layout import lake_dir
from events.lake.seal import seal
from events.models import Batch, Event, Segment
from events.persons import person_hash
from events.tests.conftest import queue
from events.tests.lake.pond import in_lake, in_table, odd_rows, put

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

SealAll = Callable[[], int]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_texts_hold_they_come_out_the_same(seed: int, seal_all: SealAll) -> None:
    for n in range(3):
        put(odd_rows(400, seed=seed * 10 + n))
    assert seal_all() == 1_200
    assert in_lake() == in_table()


def test_rows_of_megabytes_come_out_the_same(seal_all: SealAll) -> None:
    long = "\x7f\n\"é'" * 300_000
    put([{"name": "\n", "properties": {"long": long}}, {"raw": "0a" * 4_000_000, "user_id": "\r\n"}] * 2)
    put([{"name": "short"}] * 100)
    assert seal_all() == 104
    assert in_lake() == in_table()


def test_what_the_pipeline_stored_is_sealed_with_its_batch(valkey: redis.Redis, seal_all: SealAll) -> None:
    queue(valkey, [{"name": "a", "user_id": "ü"}, {"name": "b", "anonymous_id": "x"}, {"name": "c"}])
    drain(valkey, 0)
    batch = Batch.objects.get()
    ids = list(Event.objects.order_by("id").values_list("id", flat=True))
    assert (batch.first_id, batch.last_id, batch.bytes > 300) == (ids[0], ids[-1], True)
    assert seal_all() == 3
    segment = Segment.objects.get()
    assert Batch.objects.get().seal == segment.pk
    assert (segment.level, segment.rows, segment.project_rows) == (0, 3, {"1": 3})
    assert in_lake() == in_table()
    assert [row[0] for row in in_lake("person_h")] == [person_hash("ü"), person_hash("x"), None]


def test_a_batch_without_rows_is_done_with(seal_all: SealAll) -> None:
    put([])
    put([{}])
    assert seal_all() == 1
    assert list(Batch.objects.order_by("id").values_list("seal", flat=True)) == [0, Segment.objects.get().pk]


def test_a_batch_that_commits_late_is_sealed_then(seal_all: SealAll) -> None:
    """Its id and its rows' are lower than those of what is sealed already."""
    waiting, go_on = threading.Event(), threading.Event()

    def commit_late() -> None:
        with transaction.atomic():
            put([{"name": "late"}])
            waiting.set()
            assert go_on.wait(10)
        connections.close_all()

    thread = threading.Thread(target=commit_late)
    thread.start()
    assert waiting.wait(10)
    put([{"name": "early"}])
    assert seal_all() == 1
    go_on.set()
    thread.join()
    assert seal_all() == 1
    assert in_lake() == in_table()


def test_batches_of_before_know_no_range_of_ids(seal_all: SealAll) -> None:
    put([{}] * 3)
    Batch.objects.update(first_id=None, last_id=None)
    put([{}] * 2)
    assert seal_all() == 5
    assert in_lake() == in_table()


def test_rows_of_others_between_them_are_left_to_those(seal_all: SealAll) -> None:
    for name in ("a", "b", "c"):
        batch = put([{"name": name}] * 3)
        Batch.objects.filter(pk=batch.pk, seal=None).update(seal=0 if name == "b" else None)
    assert seal_all() == 6
    assert {row[0] for row in in_lake("name")} == {"a", "c"}


def test_much_is_sealed_in_several_files(seal_all: SealAll, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal_stage, "MAX_ROWS", 10)
    for rows in (4, 6, 1, 25):
        put([{}] * rows)
    assert seal_all() == 36
    assert list(Segment.objects.order_by("id").values_list("rows", flat=True)) == [10, 1, 25]


def test_large_rows_are_sealed_fewer_at_a_time_and_none_overtakes(
    seal_all: SealAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal_stage.duck, "LARGE_BYTES", 5_000)
    large = {"properties": {"long": "x" * 8_000}}
    put([large])
    put([large])
    put([{}] * 200)
    put([{}] * 3)
    assert seal_all() == 205
    assert list(Segment.objects.order_by("id").values_list("rows", flat=True)) == [1, 204]


def test_rows_that_were_deleted_since_are_not_missed(
    seal_all: SealAll, caplog: pytest.LogCaptureFixture
) -> None:
    put([{"project_id": 7}] * 3 + [{"project_id": 8}] * 2)
    Event.objects.filter(project_id=7).delete()
    with caplog.at_level(logging.WARNING):
        assert seal_all() == 2
    assert "2 rows were sealed of 5" in caplog.text


def test_who_comes_while_another_writes_does_nothing() -> None:
    put([{}])
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with publish.writing() as is_free:
            assert is_free
            held.set()
            assert go_on.wait(10)
        connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    assert seal().busy
    go_on.set()
    thread.join()
    assert seal().rows == 1


def test_two_sealers_at_once_seal_each_row_once() -> None:
    for _ in range(20):
        put([{}] * 5)

    def work() -> None:
        while (sealed := seal()).busy or sealed.batches:
            pass
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert in_lake() == in_table()


def test_rows_are_found_by_an_index_in_every_partition() -> None:
    put([{"received_at": datetime.now(UTC)}])
    batch = Batch.objects.get()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(
            "EXPLAIN SELECT * FROM events_event WHERE id BETWEEN %s AND %s AND batch_id = ANY(%s)",
            [batch.first_id, batch.last_id, [batch.pk]],
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert plan.count("Index Cond: ((id >=") == len(partitions.leaves())


# --- when something fails midway -------------------------------------------------------------------------------------


class Enough(Exception):
    pass


@pytest.mark.parametrize("step", ["spooled", "written", "marked"])
def test_what_fails_before_the_commit_changes_nothing(step: str, seal_all: SealAll) -> None:
    put([{}] * 3)

    def fail(reached: str) -> None:
        if reached == step:
            raise Enough

    with pytest.raises(Enough):
        seal(reached=fail)
    assert (Segment.objects.count(), Batch.objects.filter(seal=None).count()) == (0, 1)
    assert list((lake_dir() / "tmp").glob("*.csv")) == []
    assert seal_all() == 3
    assert in_lake() == in_table()


def test_postgresql_that_ends_the_connection_midway_costs_nothing(seal_all: SealAll) -> None:
    put([{}] * 3)

    def end(reached: str) -> None:
        if reached == "written":
            other = psycopg2.connect(**connection.get_connection_params() | {"cursor_factory": None})
            with other.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid]
                )
            other.close()

    with pytest.raises(Exception, match=r"terminat|closed|connection"):
        seal(reached=end)
    connection.close()
    assert Segment.objects.count() == 0
    assert seal_all() == 3
    assert in_lake() == in_table()


def test_a_sealer_that_froze_is_fenced(seal_all: SealAll, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes its file and stands still; its transaction is ended, another seals, and it cannot publish any more."""
    monkeypatch.setattr(publish, "WORK_SECONDS", 1)
    put([{}] * 3)
    frozen, others = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def freeze(reached: str) -> None:
        if reached == "written":
            frozen.set()
            assert others.wait(20)

    def work() -> None:
        try:
            seal(reached=freeze)
        except Exception as error:
            failed.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    assert frozen.wait(10)
    while seal().busy:
        pass
    others.set()
    thread.join()
    assert len(failed) == 1
    assert Segment.objects.count() == 1
    assert in_lake() == in_table()
