"""Settings, Tracking plan: owners change it, members read it, outsiders do not see it; drafts, versions, violations."""

import json
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.utils import timezone

from events.models import AuditEntry, PlanVersion, PlanViolation
from events.plan_change import change
from events.tests.pages.conftest import Shop, browser
from events.views.settings_plan_text import BadText, read

SCHEMA = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}}
NAME = "settings/plan/name?name=order_paid"


def planned(shop: Shop, **how: Any) -> PlanVersion:
    return change(shop.project, "order_paid", **{"by": "ada", "mode": "bury", "schema": SCHEMA} | how)


def form(**fields: Any) -> dict[str, Any]:
    return {"schema": json.dumps(SCHEMA, indent=2), "mode": "warn", "based_on": 0} | fields


def violated(shop: Shop) -> None:
    now = timezone.now()
    example = {"at": now.isoformat(), "field": "properties.amount", "mode": "bury"}
    example |= {"event_id": "0190a7c8-1234-7abc-8def-0123456789ab"}
    example |= {"detail": '`amount` is not of type "number".', "value": '"<b>19.90"', "version": 1}
    PlanViolation.objects.create(
        project=shop.project, name="order_paid", field="properties.amount", events=1_234,
        first_at=now, last_at=now, examples=[example], taken=uuid4(),
    )  # fmt: skip


def test_owners_write_members_read_and_to_others_it_is_not_there(shop: Shop) -> None:
    planned(shop)
    asked = {"owner": (200, 303, 200), "member": (200, 403, 403), "outsider": (404, 404, 404)}
    for who, (reads, writes, checks) in asked.items():
        client = browser(getattr(shop, who))
        assert client.get(shop.path("settings/plan")).status_code == reads
        assert client.get(shop.path(NAME)).status_code == reads
        assert client.post(shop.path(NAME), form(based_on=1, mode="off")).status_code == writes
        assert client.post(shop.path("settings/plan/check"), form()).status_code == checks
    assert browser(None).get(shop.path(NAME)).status_code == 302
    assert PlanVersion.objects.count() == 2


def test_the_list_tells_mode_version_who_and_how_many_do_not_follow(shop: Shop) -> None:
    planned(shop)
    violated(shop)
    html = browser(shop.member).get(shop.path("settings/plan")).content.decode()
    for told in ("order_paid", "Bury", "by ada", "1,234"):
        assert told in html
    assert "Plan a name" not in html


def test_a_plan_is_saved_as_a_version_and_told(shop: Shop) -> None:
    client = browser(shop.owner)
    assert b"Save" in client.get(shop.path(NAME)).content
    saved = client.post(shop.path(NAME), form(note="Bookkeeping."), follow=True).content.decode()
    (made,) = PlanVersion.objects.all()
    assert (made.version, made.mode, made.by_name, made.note) == (1, "warn", "owner", "Bookkeeping.")
    assert json.loads(made.schema) == SCHEMA
    assert "Version 1 is saved" in saved and "properties" in saved
    again = client.post(shop.path(NAME), form(based_on=1), follow=True)
    assert b"Nothing differs from version 1" in again.content
    assert AuditEntry.objects.filter(action="plan").count() == 1
    assert b"Changed the tracking plan" in client.get(shop.path("settings/audit")).content


BAD = [
    ('{\n  "type": "strin"\n}', "schema.type", 2, 3),
    ('{"type": "object",\n "properties": {"b": {"a": 1}, "a":\n  {"pattern": "(?<!x)y"}}}',
     "schema.properties.a.pattern", 3, 4),
    ('{"anyOf": [{}, {"$ref":\n "http://127.0.0.1:9/x"}]}', "schema.anyOf.1.$ref", 1, 17),
    ('{"properties": {"a.b": {},\n "a.b.c": {"type": 1}}}', "schema.properties.a.b.c.type", 2, 12),
    ('{\n  "type": }', "", 2, 11),
    ("[]", "schema", 1, 1),
    ('{"title": "a\\u0000"}', "schema.title", 1, 2),
]  # fmt: skip


@pytest.mark.parametrize("text, place, line, column", BAD)
def test_the_place_of_an_error_is_named(text: str, place: str, line: int, column: int) -> None:
    with pytest.raises(BadText) as refused:
        read(text)
    fault = refused.value.fault
    assert (fault.place, fault.line, fault.column) == (place, line, column)


@pytest.mark.parametrize(
    "text", ["", "\ud800", "[" * 5_000, '{"a": 1e999}', "{" + " " * 100_000 + "}", "1" * 5_000]
)
def test_whatever_is_typed_is_answered(text: str) -> None:
    with pytest.raises(BadText):
        read(text)


def test_a_bad_schema_is_refused_and_stays_to_be_mended(shop: Shop) -> None:
    client, text = browser(shop.owner), '{\r\n  "type": "strin"\r\n}'
    answer = client.post(shop.path(NAME), form(schema=text, note="why"))
    html = answer.content.decode()
    assert answer.status_code == 422
    assert "schema.type" in html and "line 2, column 3" in html
    assert "&quot;strin&quot;" in html and 'value="why"' in html
    assert client.post(shop.path(NAME), form(mode="loud")).context["form"].errors.keys() == {"mode"}
    assert not PlanVersion.objects.exists()
    checking = browser(shop.owner, htmx="verdict")
    assert b"schema.type" in checking.post(shop.path("settings/plan/check"), form(schema=text)).content
    assert b"A schema that is taken" in checking.post(shop.path("settings/plan/check"), form()).content


def test_a_version_made_meanwhile_is_told_before_it_is_replaced(shop: Shop) -> None:
    planned(shop)
    client = browser(shop.owner)
    late = client.post(shop.path(NAME), form())
    assert late.status_code == 422 and b"Version 1 was made meanwhile" in late.content
    assert client.post(shop.path(NAME), form(based_on=late.context["form"].based_on)).status_code == 303
    assert PlanVersion.objects.get(version=2).mode == "warn"


def test_a_draft_fills_the_text_and_saves_nothing(shop: Shop, tables: None, valkey: Any) -> None:
    from events.drain import drain
    from events.tests.conftest import queue

    client = browser(shop.owner)
    assert b"there is nothing to draft from" in client.get(shop.path(f"{NAME}&draft=1")).content
    events = [{"name": "order_paid", "properties": {"amount": n, "plan": "pro"}} for n in range(30)]
    queue(valkey, events, project_id=shop.project.pk)
    drain(valkey, 0)
    drafted = client.get(shop.path(f"{NAME}&draft=1")).context["form"]
    assert drafted.drafted_from == 30
    assert json.loads(drafted.text)["properties"]["amount"] == {"type": "integer"}
    assert not PlanVersion.objects.exists()
    assert client.post(shop.path(NAME), form(schema=drafted.text)).status_code == 303


def test_versions_say_what_differs_and_an_older_one_can_be_taken_again(shop: Shop) -> None:
    planned(shop)
    planned(shop, schema=SCHEMA | {"required": ["amount", "plan"]}, note="plans are sold")
    client = browser(shop.owner)
    html = client.get(shop.path(NAME)).content.decode()
    assert "plans are sold" in html
    assert "<del>[&quot;amount&quot;]</del>" in html
    assert "<ins>[&quot;amount&quot;,&quot;plan&quot;]</ins>" in html
    older = client.get(shop.path(f"{NAME}&version=1")).context["form"]
    assert (json.loads(older.text), older.based_on, older.taken_from) == (SCHEMA, 2, 1)
    assert client.get(shop.path(f"{NAME}&version=99&before=x")).status_code == 200
    for _ in range(11):
        planned(shop, mode="off")
        planned(shop, mode="warn")
    shown = client.get(shop.path(NAME)).context
    assert (len(shown["versions"]), shown["older"]) == (20, 5)
    assert len(client.get(shop.path(f"{NAME}&before=5")).context["versions"]) == 4


def test_violations_lead_to_where_the_event_is(shop: Shop) -> None:
    planned(shop)
    violated(shop)
    client, event_id = browser(shop.member), "0190a7c8-1234-7abc-8def-0123456789ab"
    html = client.get(shop.path(NAME)).content.decode()
    assert "&quot;&lt;b&gt;19.90&quot;" in html and "1,234" in html
    wanted = {
        "bury": shop.path(f"failures/letters?event_id={event_id}&code=plan_violation"),
        "warn": shop.path(f"events/{event_id}"),
        "reject": "",
    }
    row = PlanViolation.objects.get()
    for mode, url in wanted.items():
        PlanViolation.objects.update(examples=[row.examples[0] | {"mode": mode}])
        (broken,) = client.get(shop.path(NAME)).context["violations"]
        assert [example.url for example in broken.examples] == [url]


def test_any_name_that_an_event_may_have_can_be_planned(shop: Shop) -> None:
    client, path = browser(shop.owner), shop.path("settings/plan/name")
    names = ["a/b", "größe 😀", "..", "a&b=c", "x" * 200, "<i>"]
    for name in names:
        saved = client.post(f"{path}?{urlencode({'name': name})}", form())
        assert saved.status_code == 303
        assert client.get(saved["Location"]).context["name"] == name
    assert set(PlanVersion.objects.values_list("name", flat=True)) == set(names)
    listed = client.get(shop.path("settings/plan")).content.decode()
    assert "?name=a%26b%3Dc" in listed and "<i>" not in listed


def test_what_no_event_can_be_called_is_not_there(shop: Shop) -> None:
    client = browser(shop.owner)
    for name in ("", " ", "\0", "x" * 201):
        assert client.get(shop.path("settings/plan/name"), {"name": name}).status_code == 404


def test_it_asks_the_database_little(shop: Shop, django_assert_max_num_queries: Any) -> None:
    for number in range(5):
        change(shop.project, f"n{number}", by="ada", mode="warn", schema=SCHEMA)
    planned(shop)
    violated(shop)
    client = browser(shop.owner)
    for below, most in (("settings/plan", 11), (NAME, 11)):
        with django_assert_max_num_queries(most):
            client.get(shop.path(below))
