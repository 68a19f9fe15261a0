"""What operators do: drain without Celery, pause, resume, purge, on the command line and in the admin."""

import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import LazySettings, settings
from django.core.management import CommandError, call_command
from django.db import connection

from events import buffer, ledger, purge, store
from events.buffer.keys import work_key
from events.drain import drain
from events.models import Event, Ledger
from events.tests.conftest import queue
from events.tick import tick
from eventsite.pytest_services import Services

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


def run(*command: Any, **options: Any) -> tuple[int, str]:
    """Returns a command's exit code, and what it said on both streams."""
    said, code = io.StringIO(), 0
    try:
        call_command(*map(str, command), stdout=said, stderr=said, **options)
    except SystemExit as end:
        code = int(end.code or 0)
    except CommandError as error:
        code = error.returncode
        said.write(str(error))
    return code, said.getvalue()


def balance(client: redis.Redis) -> list[tuple[int, int, int, int, int]]:
    """Returns each hour's accepted, stored, discarded, queued and difference."""
    tick(client)
    lines = ledger.lines(client, since=datetime.now(UTC) - timedelta(hours=3))
    return [(line.accepted, line.stored, line.discarded, line.queued, line.difference) for line in lines]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def full(valkey: redis.Redis) -> Iterator[redis.Redis]:
    """Valkey at its memory limit, once a test has put into it what it wants."""
    yield valkey
    valkey.config_set("maxmemory", 0)


def fill(client: redis.Redis) -> None:
    client.config_set("maxmemory", 1_000_000)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.set("es:one-more", "1")


# --- drain -----------------------------------------------------------------------------------------------------------


def test_drain_empties_the_queue_and_says_what_it_did(valkey: redis.Redis, settings: LazySettings) -> None:
    settings.EVENTS_BATCH_SIZE = 2
    for _ in range(5):
        queue(valkey, [{"name": "a"}, {"name": "b", "id": "always the same"}])
    code, said = run("drain", "--until-empty")
    assert code == 0
    assert said.splitlines()[-1] == "10 claimed, 6 stored, 4 duplicate, 0 dead; 0 wait"
    assert (Event.objects.count(), balance(valkey)) == (6, [(10, 6, 0, 0, 0)])


def test_once_is_one_batch_of_each_slot(valkey: redis.Redis, settings: LazySettings) -> None:
    settings.EVENTS_BATCH_SIZE = 1
    for _ in range(5):
        queue(valkey, [{"name": "a"}])
    assert run("drain", "--once")[1] == "2 claimed, 2 stored, 0 duplicate, 0 dead; 3 wait\n"
    assert run("drain", "--once", "--slots", 1)[1] == "1 claimed, 1 stored, 0 duplicate, 0 dead; 2 wait\n"


def test_it_drains_where_there_is_no_memory_left(full: redis.Redis) -> None:
    for _ in range(20):
        queue(full, [{"name": "a"}] * 100)
    fill(full)
    code, said = run("drain", "--until-empty")
    assert (code, said.splitlines()[-1]) == (0, "2,000 claimed, 2,000 stored, 0 duplicate, 0 dead; 0 wait")


def test_it_respects_a_pause_and_explains_it(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}])
    buffer.pause(valkey, "500 of the last 1000 events failed as data, in 2 projects")
    code, said = run("drain", "--until-empty")
    assert code == 3
    for text in ("500 of the last 1000", "dead letters", "pipeline resume"):
        assert text in said
    assert Event.objects.count() == 0


def test_it_takes_up_what_waits_for_the_database_and_what_a_lost_slot_held(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}])
    valkey.xgroup_create(buffer.STREAM, buffer.GROUP, "0")
    valkey.xreadgroup(buffer.GROUP, "slot-31", {buffer.STREAM: ">"})
    buffer.hold(valkey, 0, seconds=None)
    assert run("drain", "--until-empty")[0] == 0
    assert Event.objects.count() == 1


@pytest.mark.parametrize("server", ["postgres", "valkey"])
def test_a_server_that_is_away_is_said_and_ends_a_single_round(
    valkey: redis.Redis, services: Services, server: str
) -> None:
    queue(valkey, [{"name": "a"}])
    connection.close()
    getattr(services, server).stop()
    code, said = run("drain", "--once")
    getattr(services, server).start()
    connection.close()
    assert code == 1
    assert "Nothing can be drained at the moment" in said
    assert run("drain", "--until-empty")[0] == 0
    assert Event.objects.count() == 1


def test_ctrl_c_lets_the_batch_end_and_tells_by_the_code_whether_it_was_done(valkey: redis.Redis) -> None:
    before = signal.getsignal(signal.SIGINT)
    buffer.hold(valkey, 0, seconds=60)
    buffer.hold(valkey, 1, seconds=60)  # retries under way elsewhere: nothing to take
    queue(valkey, [{"name": "a"}])
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
    assert run("drain", "--until-empty") == (130, "0 claimed, 0 stored, 0 duplicate, 0 dead; 1 wait\n")
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGTERM]).start()
    assert run("drain")[0] == 0
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("slots", [0, settings.EVENTS_DRAIN_SLOTS + 1])
def test_slots_that_are_none_are_refused(valkey: redis.Redis, slots: int) -> None:
    assert run("drain", "--slots", slots)[0] == 2


# --- pipeline --------------------------------------------------------------------------------------------------------


def test_status_tells_how_it_stands(valkey: redis.Redis) -> None:
    queue(valkey, [{"name": "a"}] * 3)
    buffer.hold(valkey, 1, seconds=None)
    buffer.record_failure(valkey, 1, attempts=4, sqlstate="53100", error="disk full")
    buffer.set_alarm(valkey, "partitions", "the default partition held 2 rows")
    buffer.pause(valkey, "600 of the last 1000 events failed as data, in 2 projects")
    code, said = run("pipeline", "status")
    assert code == 0
    for text in (
        "3 events", "600,000 events", "slot 0 idle, slot 1 on hold", "PAUSED: 600 of", "dead letters", "53100: disk full",
        "partitions: the default partition held 2 rows",
        "3 accepted = 0 stored + 0 duplicate + 0 dead + 0 discarded + 3 queued: balanced",
    ):  # fmt: skip
        assert text in said


def test_status_tells_what_it_can_while_the_database_is_away(valkey: redis.Redis, services: Services) -> None:
    connection.close()
    services.postgres.stop()
    code, said = run("pipeline", "status")
    services.postgres.start()
    assert (code, "nothing waits" in said, "the database does not answer" in said) == (0, True, True)


def test_nothing_can_be_ordered_of_a_queue_that_is_away(valkey: redis.Redis, services: Services) -> None:
    services.valkey.stop()
    code, said = run("pipeline", "pause", "a reason")
    assert code == 1
    assert "The queue does not answer" in said


def test_pause_and_resume(full: redis.Redis) -> None:
    queue(full, [{"name": "a"}] * 100)
    fill(full)  # both work on the worst day
    assert run("pipeline", "pause", "a new disk")[0] == 0
    assert (buffer.paused(full), drain(full, 0).outcome) == ("a new disk", "paused")
    assert run("pipeline", "resume") == (0, "Resumed.\n")
    assert drain(full, 0).stored == 100
    assert run("pipeline", "resume") == (0, "It was not paused.\n")


def test_resume_may_leave_the_breaker_off_for_a_while(valkey: redis.Redis) -> None:
    run("pipeline", "resume", "--bury")
    assert buffer.begin(valkey, 0).may_bury_all


# --- purge -----------------------------------------------------------------------------------------------------------


def test_a_purge_writes_every_event_before_it_goes_and_counts_it(valkey: redis.Redis, tmp_path: Path) -> None:
    events = [{"name": "a", "id": f"{n}", "properties": {"text": "two\nlines", "n": n}} for n in range(300)]
    queue(valkey, json.dumps(events, indent=2).encode())
    file = tmp_path / "purged" / "out.ndjson"
    code, said = run("pipeline", "purge", "--to", file, "--yes")
    assert (code, "300 events are in" in said) == (0, True)
    assert [line["properties"] for line in lines_of(file)] == [event["properties"] for event in events]
    assert (file.stat().st_mode & 0o777, buffer.paused(valkey)) == (0o600, None)
    assert valkey.xlen(buffer.STREAM) == 0
    assert (buffer.depth(valkey).events, buffer.depth(valkey).bytes, buffer.queued_counts(valkey)) == (
        0,
        0,
        {},
    )
    assert balance(valkey) == [(300, 0, 300, 0, 0)]


def test_a_purge_of_one_project_leaves_the_others(valkey: redis.Redis, tmp_path: Path) -> None:
    for project_id in (1, 2, 1):
        queue(valkey, [{"name": "a"}] * 2, project_id=project_id)
    run("pipeline", "purge", "--project", 1, "--to", tmp_path / "out", "--yes")
    assert {line["project_id"] for line in lines_of(tmp_path / "out")} == {1}
    assert (buffer.depth(valkey).events, drain(valkey, 0).stored) == (2, 2)
    assert {row.project_id: row.discarded for row in Ledger.objects.all()} == {1: 4, 2: 0}
    assert balance(valkey) == [(4, 0, 4, 0, 0), (2, 2, 0, 0, 0)]


def test_what_was_stored_already_is_neither_written_nor_counted(valkey: redis.Redis, tmp_path: Path) -> None:
    queue(valkey, [{"name": "a"}])
    kept = valkey.xrange(buffer.STREAM)
    drain(valkey, 0)
    valkey.delete(buffer.STREAM)
    valkey.xadd(buffer.STREAM, kept[0][1], id=kept[0][0])  # as where a worker died between commit and ack
    buffer.heal_counters(valkey)
    queue(valkey, [{"name": "b"}])
    said = run("pipeline", "purge", "--to", tmp_path / "out", "--yes")[1]
    assert "1 further ones had been stored already" in said
    assert [line["name"] for line in lines_of(tmp_path / "out")] == ["b"]
    assert balance(valkey) == [(2, 1, 1, 0, 0)]


def test_a_purged_entry_that_comes_back_is_not_stored(valkey: redis.Redis, tmp_path: Path) -> None:
    queue(valkey, [{"name": "a"}])
    kept = valkey.xrange(buffer.STREAM)
    run("pipeline", "purge", "--to", tmp_path / "out", "--yes")
    valkey.delete(buffer.STREAM)
    valkey.xadd(
        buffer.STREAM, kept[0][1], id=kept[0][0]
    )  # as after a crash between the count and the deletion
    buffer.heal_counters(valkey)
    drain(valkey, 0)
    assert (Event.objects.count(), balance(valkey)) == (0, [(1, 0, 1, 0, 0)])


def test_a_purge_works_where_there_is_no_memory_left(full: redis.Redis, tmp_path: Path) -> None:
    for _ in range(20):
        queue(full, [{"name": "a"}] * 100)
    fill(full)
    assert run("pipeline", "purge", "--to", tmp_path / "out", "--yes")[0] == 0
    assert (len(lines_of(tmp_path / "out")), full.xlen(buffer.STREAM)) == (2_000, 0)


def test_it_is_left_paused_where_it_was(valkey: redis.Redis, tmp_path: Path) -> None:
    buffer.pause(valkey, "before")
    assert "stays paused: before" in run("pipeline", "purge", "--to", tmp_path / "out", "--yes")[1]
    assert buffer.paused(valkey) == "before"


@pytest.mark.parametrize(("answer", "left"), [("n", 1), ("", 1), ("y", 0)])
def test_it_asks_first(
    valkey: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, left: int
) -> None:
    queue(valkey, [{"name": "a"}])
    monkeypatch.setattr("builtins.input", lambda _: answer)
    run("pipeline", "purge", "--to", tmp_path / "out")
    assert buffer.depth(valkey).events == left


def test_a_file_that_is_there_is_not_overwritten(valkey: redis.Redis, tmp_path: Path) -> None:
    queue(valkey, [{"name": "a"}])
    (tmp_path / "out").write_text("precious")
    code, said = run("pipeline", "purge", "--to", tmp_path / "out", "--yes")
    assert (code, (tmp_path / "out").read_text()) == (1, "precious")
    assert "Nothing was deleted" in said
    assert (buffer.depth(valkey).events, buffer.paused(valkey)) == (1, None)


def test_without_the_database_nothing_is_deleted_unless_forced(
    valkey: redis.Redis, tmp_path: Path, services: Services
) -> None:
    queue(valkey, [{"name": "a"}] * 3)
    connection.close()
    services.postgres.stop()
    code, said = run("pipeline", "purge", "--to", tmp_path / "one", "--yes")
    left = buffer.depth(valkey).events
    forced = run("pipeline", "purge", "--to", tmp_path / "two", "--yes", "--force")
    services.postgres.start()
    connection.close()
    assert (code, "The database does not answer" in said, left) == (1, True, 3)
    assert (forced[0], "off by +3" in forced[1]) == (0, True)
    assert (len(lines_of(tmp_path / "two")), buffer.depth(valkey).events) == (3, 0)
    assert balance(valkey) == [(3, 0, 0, 0, 3)]


def test_it_waits_for_a_run_at_work_and_knows_a_dead_ones_mark(valkey: redis.Redis, tmp_path: Path) -> None:
    queue(valkey, [{"name": "a"}])
    valkey.set(work_key(0), "1-1")
    threading.Timer(0.3, valkey.delete, [work_key(0)]).start()  # the run ends
    assert purge.purge(valkey, to=tmp_path / "one").events == 1
    queue(valkey, [{"name": "a"}])
    valkey.set(work_key(0), "1-1")  # and this one died
    assert purge.purge(valkey, to=tmp_path / "two", wait_seconds=0.2).events == 1


def test_a_run_that_does_not_end_is_left_alone(valkey: redis.Redis, tmp_path: Path) -> None:
    queue(valkey, [{"name": "a"}])
    valkey.set(work_key(1), "1-1")
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, 1)", [store.SLOT_LOCK])
    with pytest.raises(purge.PurgeRefused, match="still at work"):
        purge.purge(valkey, to=tmp_path / "out", wait_seconds=0.1)
    other.close()
    assert (buffer.depth(valkey).events, buffer.paused(valkey)) == (1, None)
