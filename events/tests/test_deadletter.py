"""Dead letters: what they keep, how they are grouped, marked, exported, discarded, expired; and the check."""

import json
import shlex
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.db import connection
from django.utils import timezone

from events import deadletter, deadletter_export, rehearsal, retry
from events.deadletter import Wanted
from events.drain import drain
from events.envelope import encode
from events.models import AuditEntry, DeadLetter, Event
from events.tests.conftest import queue
from events.tests.letters import buried, refusing
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


@pytest.fixture
def shop(make_project: Callable[..., Any]) -> Project:
    return make_project().project


# --- what they keep ---------------------------------------------------------------------------------------------------


def test_a_letter_keeps_cause_stage_and_times_and_waits(valkey: redis.Redis, shop: Project) -> None:
    (letter,) = buried(valkey, shop, "x")
    assert (letter.code, letter.sqlstate, letter.field, letter.stage, letter.attempts) == (
        "data_error", "23514", "amount_is_number", "store", 1,
    )  # fmt: skip
    assert (letter.state, letter.outcome, letter.sent) == ("waiting", "", None)
    assert letter.received_at <= letter.first_failed_at == letter.last_failed_at


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('value "99999" is out of range for type bigint', 'value "123" is out of range for type bigint'),
        ("row 5 fails DETAIL: Failing row contains (1)", "row 7 fails DETAIL: Failing row contains (2)"),
    ],
)
def test_a_fingerprint_is_of_the_cause_and_not_of_the_values(one: str, other: str) -> None:
    assert retry.fingerprint("data_error", "22003", "", one) == retry.fingerprint(
        "data_error", "22003", "", other
    )


def test_fingerprints_of_different_causes_differ() -> None:
    causes = [
        ("23514", "a", "x"),
        ("23514", "b", "x"),
        ("22003", "", "out of range"),
        ("22003", "", "no such day"),
    ]
    assert len({retry.fingerprint("data_error", *cause) for cause in causes}) == 4


def test_groups_count_by_cause_the_most_frequent_first(valkey: redis.Redis, shop: Project) -> None:
    letters = buried(valkey, shop, "1", "2", "3")
    with refusing("name <> 'odd'", "not_odd"):
        queue(valkey, {"name": "odd"}, project_id=shop.pk)
        drain(valkey, 0)
    found = deadletter.groups(Wanted(project_id=shop.pk))
    assert [(group.field, group.letters, group.example) for group in found.groups] == [
        ("amount_is_number", 3, letters[2].pk), ("not_odd", 1, letters[2].pk + 1),
    ]  # fmt: skip
    assert "violates check constraint" in found.groups[0].error
    assert not found.is_partial
    assert deadletter.groups(Wanted(project_id=shop.pk + 1)).groups == []


# --- which field it was -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "event", "paths"),
    [
        ("(properties ->> 'amount')::numeric < 5", {"properties": {"amount": "9"}}, ["properties.amount"]),
        ("name <> 'a' OR user_id IS NULL", {"user_id": "u"}, ["name", "user_id"]),
        ("(properties ->> 'day')::date IS NOT NULL", {"properties": {"x": {"day": 1}, "day": "soon"}}, ["properties.day"]),
    ],
)  # fmt: skip
def test_the_offending_field_is_found(
    valkey: redis.Redis, shop: Project, check: str, event: dict[str, Any], paths: list[str]
) -> None:
    with refusing(check, "a_check"):
        queue(valkey, {"name": "a"} | event, project_id=shop.pk)
        drain(valkey, 0)
        assert deadletter.offending(DeadLetter.objects.get()) == paths


# --- would it be stored? ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "outcome", "code", "field", "place"),
    [
        ('{"name": "x",\n "properties": {"amount": 1}}', "stored", "", "", (None, None)),
        (
            '{"name": "x",\n "properties": {"amount": "1"}}',
            "dead",
            "data_error",
            "amount_is_number",
            (None, None),
        ),
        ('{"name": "x",\n "properties": {"amount": }}', "refused", "invalid_json", "", (2, 27)),
        ('{"name": "x",\n "user_id": []}', "refused", "invalid_type", "user_id", (2, 2)),
        ('{\n "name": " "}', "refused", "blank", "name", (2, 2)),
        ('{"name": "x",\n "id": "o-1"}', "refused", "id_changed", "id", (2, 2)),
        ('[{"name": "x"}]', "refused", "invalid_body", "", (None, None)),
        ("", "refused", "empty_body", "", (None, None)),
    ],
)
def test_a_check_says_what_would_happen_and_where(
    valkey: redis.Redis, shop: Project, text: str, outcome: str, code: str, field: str, place: tuple[Any, Any]
) -> None:
    (letter,) = buried(valkey, shop, "x")
    with refusing():
        found = rehearsal.letter_verdict(letter, text.encode())
    assert (found.outcome, found.code, found.field) == (outcome, code, field)
    assert (found.line, found.column) == place
    assert Event.objects.count() == 0


def test_the_id_stays_whether_it_is_sent_or_left_out(valkey: redis.Redis, shop: Project) -> None:
    (letter,) = buried(valkey, shop, "x")
    for sent in ({"id": "o-0"}, {}, {"id": str(letter.event_id)}):
        found = rehearsal.letter_verdict(letter, json.dumps({"name": "x"} | sent).encode())
        assert (found.envelope.event_id, found.envelope.client_event_id) == (str(letter.event_id), "o-0")


def test_a_check_knows_what_is_stored_already(valkey: redis.Redis, shop: Project) -> None:
    (letter,) = buried(valkey, shop, "x")
    queue(valkey, {"name": "order_paid", "id": "o-0"}, project_id=shop.pk)
    drain(valkey, 0)
    assert rehearsal.mended_verdict(letter, None).outcome == "duplicate"


# --- the sender's form, curl, export --------------------------------------------------------------------------------------


def test_the_senders_form_is_accepted_as_the_same_event(valkey: redis.Redis, shop: Project) -> None:
    sent = {
        "name": "order_paid", "id": "o-0", "user_id": "u", "session_id": "s", "occurred_at": "2026-01-31T12:00:00.5Z",
        "properties": {"amount": "x", "n": 1, "deep": [{"ü": None}]}, "context": {"ip": "::1"}, "plan": "pro",
    }  # fmt: skip
    with refusing():
        queue(valkey, sent, project_id=shop.pk)
        drain(valkey, 0)
    letter = DeadLetter.objects.get()
    again = rehearsal.mended_verdict(letter, None).envelope
    assert json.loads(encode(again)) == json.loads(bytes(letter.payload))
    assert json.loads(deadletter.client_form(letter.payload))["context"] == {
        "ip": "::1",
        "extra": {"plan": "pro"},
    }


def test_the_curl_line_sends_the_same_event_through_a_real_shell(
    valkey: redis.Redis, make_project: Callable[..., Any], edge_port: int, settings: Any
) -> None:
    from projects import keyring

    created = make_project()
    keyring.publish(valkey, list(created.project.keys.all()))
    (letter,) = buried(valkey, created.project, 'it\'s $HOME `id` \\ "q" ü !')
    settings.PUBLIC_URL = f"http://127.0.0.1:{edge_port}"
    line = deadletter.curl(letter)
    answered = subprocess.run(
        ["sh", "-c", f"{line} -s"],
        env={"KEY": created.write_key, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
    )
    assert json.loads(answered.stdout)["id"] == str(letter.event_id)
    drain(valkey, 0)
    assert Event.objects.get().properties == {"amount": 'it\'s $HOME `id` \\ "q" ü !'}
    assert created.write_key not in line
    assert json.loads(shlex.split(line)[-1])["id"] == "o-0"


def test_an_export_holds_every_letter_and_its_bytes(
    valkey: redis.Redis, shop: Project, monkeypatch: Any
) -> None:
    letters = buried(valkey, shop, "1.10", "2", "3")
    DeadLetter.objects.filter(pk=letters[2].pk).update(payload=b"\x00{bad\xff")
    monkeypatch.setattr(deadletter_export, "EXPORT_PAGE", 2)
    lines = [json.loads(line) for line in b"".join(deadletter_export.export(Wanted())).splitlines()]
    assert [line["id"] for line in lines] == [letter.pk for letter in letters]
    assert lines[0]["event"]["properties"] == {"amount": "1.10"}
    assert lines[0]["failures"] == letters[0].failures
    assert lines[0]["envelope"] == json.loads(bytes(letters[0].payload))
    assert (lines[2]["event"], lines[2]["payload_base64"]) == (None, "AHtiYWT/")


# --- given up, expired --------------------------------------------------------------------------------------------------


def test_what_is_discarded_keeps_who_when_and_why(valkey: redis.Redis, shop: Project) -> None:
    one, other = buried(valkey, shop, "1", "2")
    assert deadletter.discard(Wanted(ids=[one.pk]), reason="a test order", by="ada") == 1
    assert deadletter.discard(Wanted(ids=[one.pk]), reason="again", by="bob") == 0
    one.refresh_from_db()
    assert (one.state, one.note, one.ended_by) == ("discarded", "a test order", "ada")
    assert one.ended_at
    entry = AuditEntry.objects.order_by("id")[0]
    assert (entry.action, entry.by_name, entry.letters, entry.what["reason"]) == (
        "discard",
        "ada",
        1,
        "a test order",
    )
    assert DeadLetter.objects.get(pk=other.pk).state == "waiting"


def test_old_letters_expire_in_chunks_with_a_line_in_the_audit_log(
    valkey: redis.Redis, shop: Project, monkeypatch: Any, settings: Any
) -> None:
    letters = buried(valkey, shop, *map(str, range(6)))
    settings.EVENTS_DEAD_DAYS = 40
    old = timezone.now() - timedelta(days=41)
    DeadLetter.objects.filter(pk__in=[letter.pk for letter in letters[:4]]).update(last_failed_at=old)
    DeadLetter.objects.filter(pk=letters[0].pk).update(state="replaying", replayed_at=timezone.now())
    monkeypatch.setattr(deadletter, "EXPIRE_CHUNK", 2)
    assert deadletter.expire() == 3
    assert set(DeadLetter.objects.values_list("pk", flat=True)) == {letters[n].pk for n in (0, 4, 5)}
    entries = (
        AuditEntry.objects.filter(action="expire")
        .values_list("project_id", "by_name", "letters")
        .order_by("id")
    )
    assert list(entries) == [(shop.pk, "retention", 2), (shop.pk, "retention", 1)]
    assert deadletter.expire() == 0


def test_groups_are_found_among_many_letters_in_a_moment(shop: Project) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_deadletter (project_id, event_id, name, payload, code, sqlstate, field, error, stage,"
            " attempts, received_at, fingerprint) SELECT %s, gen_random_uuid(), 'a', '{}', 'data_error', '23514', 'f', 'e',"
            " 'store', 1, now(), (g %% 7)::text FROM generate_series(1, 20000) g",
            [shop.pk],
        )
    found = deadletter.groups(Wanted(project_id=shop.pk, state="waiting"))
    assert (len(found.groups), sum(group.letters for group in found.groups)) == (7, 20_000)
