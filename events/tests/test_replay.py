"""Replay: sent again under the same id, at a pace, from where it was; each letter says where it went."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from events import buffer, ledger, mending, rehearsal, replay
from events.deadletter import Wanted, discard
from events.drain import drain
from events.models import AuditEntry, DeadLetter, Event, Ledger, LetterState, Replay, ReplayState
from events.settle import settle
from events.tests.conftest import queue
from events.tests.letters import buried, finish, refusing
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]
TO_NUMBER = mending.read({"path": "properties.amount", "do": "to_number"})


@pytest.fixture
def shop(make_project: Callable[..., Any]) -> Project:
    return make_project().project


def everything(**fields: Any) -> Wanted:
    return Wanted(**fields)


def balanced(client: redis.Redis) -> bool:
    ledger.copy(client)
    return ledger.lines(client, since=datetime.now(UTC) - timedelta(hours=3), unbalanced=True) == []


def totals() -> tuple[int, ...]:
    names = ("accepted", "stored", "duplicate", "dead", "replayed")
    rows = list(Ledger.objects.all())
    return tuple(sum(getattr(row, name) for row in rows) for name in names)


def test_a_replay_stores_the_event_under_its_id_and_says_so(valkey: redis.Redis, shop: Project) -> None:
    (letter,) = buried(valkey, shop, "12.50")
    started = finish(valkey, replay.start(everything(project_id=shop.pk), by="ada"))
    assert replay.progress(started) == {
        "sent": 1, "on_its_way": 0, "stored": 1, "duplicate": 0, "buried": 0, "skipped": 0,
    }  # fmt: skip
    letter.refresh_from_db()
    event = Event.objects.get()
    sent = json.loads(bytes(letter.payload))
    assert (event.event_id, event.client_event_id, event.properties) == (
        letter.event_id,
        "o-0",
        {"amount": "12.50"},
    )
    assert event.occurred_at == datetime.fromisoformat(sent["occurred_at"])
    assert event.received_at == letter.replayed_at > letter.received_at
    assert (letter.state, letter.outcome, letter.ended_by) == ("replayed", "stored", "ada")
    assert balanced(valkey)
    assert totals() == (2, 1, 0, 1, 1)


def test_replaying_twice_stores_once(valkey: redis.Redis, shop: Project) -> None:
    buried(valkey, shop, "1")
    finish(valkey, replay.start(everything(), by="ada"))
    DeadLetter.objects.update(state=LetterState.WAITING, outcome="", replay=None)
    started = finish(valkey, replay.start(everything(), by="ada"))
    assert (Event.objects.count(), replay.progress(started)["duplicate"]) == (1, 1)
    assert buffer.accepted_counts(valkey) == {
        (shop.pk, buffer.hour_of(int(datetime.now(UTC).timestamp() * 1000))): 2
    }
    assert balanced(valkey)


def test_an_event_stored_long_before_the_dedup_window_is_not_sent_again(
    valkey: redis.Redis, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "1")
    long_ago = timezone.now() - timedelta(days=20)
    Event.objects.create(
        project=shop, event_id=letter.event_id, name="order_paid", properties={}, context={}, batch_id=1,
        occurred_at=long_ago, received_at=long_ago, stored_at=long_ago,
    )  # fmt: skip
    finish(valkey, replay.start(everything(), by="ada"))
    letter.refresh_from_db()
    assert (letter.outcome, letter.replayed_at, Event.objects.count()) == ("duplicate", None, 1)
    assert totals()[4] == 0


def test_what_is_buried_again_leads_to_its_new_letter_and_the_story_goes_on(
    valkey: redis.Redis, shop: Project
) -> None:
    (first,) = buried(valkey, shop, "1")
    with refusing():
        started = finish(valkey, replay.start(everything(), by="ada"))
    first.refresh_from_db()
    second = DeadLetter.objects.exclude(pk=first.pk).get()
    assert replay.progress(started)["buried"] == 1
    assert (first.state, first.outcome, first.successor_id) == ("replayed", "buried", second.pk)
    assert (second.state, second.attempts, second.first_failed_at) == ("waiting", 2, first.first_failed_at)
    assert second.last_failed_at > first.last_failed_at
    assert second.fingerprint == first.fingerprint
    assert balanced(valkey)
    assert totals() == (2, 0, 0, 2, 1)


def test_a_letter_of_which_the_event_came_meanwhile_is_a_duplicate(
    valkey: redis.Redis, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "1")
    started = replay.start(everything(), by="ada")
    queue(valkey, {"name": "order_paid", "id": "o-0"}, project_id=shop.pk)  # in the queue before it
    replay.run(valkey, started.pk)
    drain(valkey, 0)
    finish(valkey, started)
    letter.refresh_from_db()
    assert (letter.outcome, Event.objects.count()) == ("duplicate", 1)
    assert balanced(valkey)
    assert totals() == (3, 1, 1, 1, 1)


def test_only_what_matches_and_waits_is_sent(valkey: redis.Redis, shop: Project) -> None:
    first, second, third, fourth = buried(valkey, shop, "1", "2", "3", "4")
    discard(everything(ids=[fourth.pk]), reason="a test order", by="ada")
    DeadLetter.objects.filter(pk=third.pk).update(fingerprint="other")
    finish(valkey, replay.start(everything(fingerprint=first.fingerprint), by="ada"))
    assert {event.client_event_id for event in Event.objects.all()} == {"o-0", "o-1"}
    assert set(DeadLetter.objects.values_list("id", "state")) == {
        (first.pk, "replayed"), (second.pk, "replayed"), (third.pk, "waiting"), (fourth.pk, "discarded"),
    }  # fmt: skip


def test_its_pace_holds_however_often_it_is_run(valkey: redis.Redis, shop: Project) -> None:
    buried(valkey, shop, *map(str, range(12)))
    started = replay.start(everything(), by="ada", rate=5)
    assert replay.run(valkey, started.pk).again_seconds == 1.0
    for _ in range(5):
        assert replay.run(valkey, started.pk).again_seconds is None
    assert replay.progress(started)["sent"] == 5
    Replay.objects.update(last_run_at=timezone.now() - timedelta(seconds=30))
    replay.run(valkey, started.pk)
    assert replay.progress(started)["sent"] == 10


def test_a_stopped_replay_sends_no_more_until_it_is_resumed(valkey: redis.Redis, shop: Project) -> None:
    buried(valkey, shop, *map(str, range(6)))
    started = replay.start(everything(), by="ada", rate=2)
    replay.run(valkey, started.pk)
    assert replay.stop(started, by="bob")
    assert not replay.stop(started, by="bob")
    assert replay.run(valkey, started.pk).again_seconds is None
    drain(valkey, 0)
    settle(valkey)
    assert (Event.objects.count(), replay.progress(started)["stored"]) == (2, 2)
    assert replay.resume(started, by="bob")
    finish(valkey, started)
    assert Event.objects.count() == 6
    assert list(AuditEntry.objects.values_list("action", "by_name", "letters").order_by("id")) == [
        ("replay", "ada", 6), ("stop", "bob", 2), ("resume", "bob", 2),
    ]  # fmt: skip


def test_a_replay_that_nobody_runs_is_found_and_goes_on_where_it_was(
    valkey: redis.Redis, shop: Project
) -> None:
    buried(valkey, shop, *map(str, range(4)))
    started = replay.start(everything(), by="ada", rate=2)
    replay.run(valkey, started.pk)
    assert replay.stale() == []
    Replay.objects.update(last_run_at=timezone.now() - timedelta(seconds=20))
    assert replay.stale() == [started.pk]
    finish(valkey, started)
    assert (Event.objects.count(), replay.stale()) == (4, [])


def test_a_crash_between_mark_and_push_costs_a_minute_and_no_letter(
    valkey: redis.Redis, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "1")
    started = replay.start(everything(), by="ada")
    marked_at = timezone.now() - timedelta(seconds=90)
    DeadLetter.objects.update(state=LetterState.REPLAYING, replay=started, replayed_at=marked_at)
    Replay.objects.update(cursor=letter.pk, state=ReplayState.SETTLING, last_run_at=marked_at)
    finish(valkey, started)
    letter.refresh_from_db()
    assert (letter.outcome, Event.objects.count(), started.state) == ("stored", 1, "done")


def test_what_is_still_queued_is_not_taken_for_lost(valkey: redis.Redis, shop: Project) -> None:
    buried(valkey, shop, "1")
    started = replay.start(everything(), by="ada")
    replay.run(valkey, started.pk)
    assert settle(valkey) == 0
    assert replay.progress(started)["on_its_way"] == 1


def test_it_waits_while_the_queue_is_full(valkey: redis.Redis, shop: Project, settings: Any) -> None:
    (letter, *_) = buried(valkey, shop, "1", "2")
    settings.EVENTS_QUEUE_MAX_EVENTS = 1
    started = replay.start(everything(), by="ada")
    ran = replay.run(valkey, started.pk)
    started.refresh_from_db()
    letter.refresh_from_db()
    assert 1 <= (ran.again_seconds or 0) <= 10
    assert started.note.startswith("queue_full")
    assert (letter.state, letter.replay_id, buffer.depth(valkey).events) == ("waiting", None, 0)
    settings.EVENTS_QUEUE_MAX_EVENTS = 600_000
    finish(valkey, started)
    assert Event.objects.count() == 2


def test_it_waits_for_the_projects_quota(valkey: redis.Redis, shop: Project, settings: Any) -> None:
    buried(valkey, shop, "1", "2")
    settings.EVENTS_QUOTA_PER_DAY = 3
    started = replay.start(everything(), by="ada")
    replay.run(valkey, started.pk)
    started.refresh_from_db()
    assert started.note.startswith("quota_exceeded")


def test_it_waits_while_the_queue_is_away(valkey: redis.Redis, shop: Project, services: Any) -> None:
    (letter,) = buried(valkey, shop, "1")
    started = replay.start(everything(), by="ada")
    services.valkey.stop()
    assert replay.run(valkey, started.pk).again_seconds == 10
    started.refresh_from_db()
    letter.refresh_from_db()
    assert (started.note, letter.state) == ("the queue does not answer", "waiting")
    services.valkey.start()
    finish(valkey, started)
    assert Event.objects.count() == 1


def test_two_letters_of_one_event_store_it_once(valkey: redis.Redis, shop: Project) -> None:
    buried(valkey, shop, "1")
    buried(valkey, shop, "1")
    assert DeadLetter.objects.count() == 2
    finish(valkey, replay.start(everything(), by="ada"))
    assert sorted(DeadLetter.objects.values_list("outcome", flat=True)) == ["duplicate", "stored"]
    assert Event.objects.count() == 1
    assert balanced(valkey)


def test_a_payload_that_is_no_event_is_left_with_a_note_until_it_is_edited(
    valkey: redis.Redis, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "1")
    DeadLetter.objects.update(payload=b"\x00{bad\xff")
    started = finish(valkey, replay.start(everything(), by="ada"))
    letter.refresh_from_db()
    assert replay.progress(started)["skipped"] == 1
    assert (letter.state, "unreadable" in letter.note) == ("waiting", True)
    found, again = replay.send_edited(
        letter, b'{"name": "order_paid", "properties": {"amount": 1}}', by="ada"
    )
    assert found.would_store
    finish(valkey, again)
    letter.refresh_from_db()
    assert (Event.objects.get().event_id, bytes(letter.payload)) == (letter.event_id, b"\x00{bad\xff")


def test_a_deleted_projects_letters_stay_where_they_are(valkey: redis.Redis, shop: Project) -> None:
    (letter,) = buried(valkey, shop, "1")
    Project.objects.update(deleted_at=timezone.now())
    finish(valkey, replay.start(everything(), by="ada"))
    letter.refresh_from_db()
    assert (letter.state, letter.note) == ("waiting", "Its project is gone.")


def test_large_letters_go_in_chunks_of_bytes(valkey: redis.Redis, shop: Project, monkeypatch: Any) -> None:
    buried(valkey, shop, "1", "2", "3")
    monkeypatch.setattr(replay, "CHUNK_BYTES", 10)
    started = replay.start(everything(), by="ada")
    replay.run(valkey, started.pk)
    assert replay.progress(started)["sent"] == 1
    finish(valkey, started)
    assert Event.objects.count() == 3


# --- mended, edited ---------------------------------------------------------------------------------------------------


def test_a_rule_is_tried_over_a_group_and_then_replayed(valkey: redis.Redis, shop: Project) -> None:
    amounts = [f"{n}.50" for n in range(21)] + ["twelve", "a lot"]
    letters = buried(valkey, shop, *amounts)
    with refusing():
        tried = rehearsal.rehearse(everything(fingerprint=letters[0].fingerprint), TO_NUMBER, by="ada")
        assert (tried.examined, tried.would_store) == (23, 21)
        assert [(miss.code, miss.field, miss.detail) for miss in tried.misses] == [
            ("cannot_mend", "properties.amount", "'twelve' is not a number."),
            ("cannot_mend", "properties.amount", "'a lot' is not a number."),
        ]
        assert Event.objects.count() == 0
        started = finish(valkey, replay.start(everything(), by="ada", rule=TO_NUMBER))
    assert replay.progress(started) | {"skipped": 2, "stored": 21} == replay.progress(started)
    assert Event.objects.get(client_event_id="o-20").properties == {"amount": 20.5}
    letter = DeadLetter.objects.get(pk=letters[20].pk)
    assert (b'"20.50"' in bytes(letter.payload), b"20.50" in bytes(letter.sent)) == (True, True)
    assert DeadLetter.objects.get(pk=letters[21].pk).note.startswith("Not sent: cannot_mend")
    assert balanced(valkey)


def test_a_rehearsal_says_what_the_table_would_refuse(valkey: redis.Redis, shop: Project) -> None:
    buried(valkey, shop, "1")
    with refusing():
        tried = rehearsal.rehearse(everything(), by="ada")
    assert [(miss.outcome, miss.code, miss.field) for miss in tried.misses] == [
        ("dead", "data_error", "amount_is_number")
    ]


def test_an_edited_event_is_checked_then_sent_and_the_original_kept(
    valkey: redis.Redis, shop: Project
) -> None:
    (letter,) = buried(valkey, shop, "1")
    original = bytes(letter.payload)
    with refusing():
        found, started = replay.send_edited(letter, b'{"name": "x", "properties": {"amount": "2"}}', by="ada")
        assert (found.outcome, started) == ("dead", None)
        found, started = replay.send_edited(letter, b'{"name": "x", "properties": {"amount": 2}}', by="ada")
        finish(valkey, started)
    letter.refresh_from_db()
    event = Event.objects.get()
    assert (event.name, event.properties, event.event_id, event.client_event_id) == (
        "x", {"amount": 2}, letter.event_id, "o-0",
    )  # fmt: skip
    assert (bytes(letter.payload), letter.outcome) == (original, "stored")
    assert "edit" in AuditEntry.objects.values_list("action", flat=True)


# --- from a shell -------------------------------------------------------------------------------------------------------


def test_the_command_tries_and_replays(valkey: redis.Redis, shop: Project, capsys: Any) -> None:
    buried(valkey, shop, "1", "x")
    rule = '{"path": "properties.amount", "do": "to_number"}'
    call_command("replay", "--rule", rule, "--dry", "--project", str(shop.pk))
    assert "1 of 2 would be stored" in capsys.readouterr().out
    with pytest.raises(CommandError, match="no dead letter"):
        call_command("replay", "--id", "0190a7c8-1234-7abc-8def-0123456789ab")
    with pytest.raises(CommandError, match="--rule"):
        call_command("replay", "--rule", '{"path": "id", "do": "remove"}')


def test_the_plan_of_a_look_through_all_partitions_is_by_index() -> None:
    from events import verdict

    with connection.cursor() as cursor:
        cursor.execute(f"BEGIN; {verdict.BY_INDEX}")
        cursor.execute("EXPLAIN " + verdict.FIND, [[1], ["0190a7c8-1234-7abc-8def-0123456789ab"]])
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("ROLLBACK")
    assert "Seq Scan" not in plan
