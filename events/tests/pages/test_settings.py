"""Settings: what owners change, what everybody of the project reads."""

from datetime import UTC, datetime

from events.models import AuditEntry, Ledger
from events.tests.pages.conftest import Shop, browser
from events.views.project_settings import entries, usage
from projects.models import Project


def test_an_owner_renames_and_moves_the_zone(shop: Shop) -> None:
    answer = browser(shop.owner).post(
        shop.path("settings"), {"name": "Shop 2", "time_zone": "Asia/Tokyo"}, follow=True
    )
    shop.project.refresh_from_db()
    assert (shop.project.name, shop.project.time_zone) == ("Shop 2", "Asia/Tokyo")
    assert b"Saved." in answer.content


def test_a_bad_zone_changes_nothing_and_stands_at_its_field(shop: Shop) -> None:
    answer = browser(shop.owner).post(shop.path("settings"), {"name": "Shop 2", "time_zone": "localtime"})
    shop.project.refresh_from_db()
    assert (answer.status_code, shop.project.name) == (422, "Web shop")
    assert b"field-error" in answer.content


def test_a_key_is_made_shown_once_bound_and_revoked(shop: Shop) -> None:
    client = browser(shop.owner)
    made = client.post(shop.path("settings/keys/new"), {"kind": "read", "name": "reports"}, follow=True)
    secret, key = made.context["secret"], shop.project.keys.get(name="reports")
    assert secret.startswith("es_r_")
    assert (made["Cache-Control"], key.created_by) == ("no-store", shop.owner)
    client.post(shop.path("settings/keys/saved"))
    assert secret not in client.get(shop.path("settings/keys")).content.decode()
    origins = "https://Shop.example.com/\nhttps://www.example.com"
    client.post(shop.path(f"settings/keys/{key.pk}"), {"name": "web", "allowed_origins": origins})
    key.refresh_from_db()
    assert (key.name, key.allowed_origins) == ("web", ["https://shop.example.com", "https://www.example.com"])
    assert client.get(shop.path(f"settings/keys/{key.pk}/revoke")).status_code == 200
    key.refresh_from_db()
    assert not key.revoked  # asking is not doing
    client.post(shop.path(f"settings/keys/{key.pk}/revoke"))
    key.refresh_from_db()
    assert key.revoked


def test_keys_say_when_they_were_last_used(shop: Shop) -> None:
    client = browser(shop.owner)
    assert b">never<" in client.get(shop.path("settings/keys")).content
    shop.project.keys.update(last_used_at=datetime(2026, 1, 5, 9, 20, tzinfo=UTC))
    answer = client.get(shop.path("settings/keys")).content
    assert b">never<" not in answer
    assert b"2026-01-05T09:20:00" in answer


def test_an_origin_that_is_none_is_told(shop: Shop) -> None:
    form = {"kind": "write", "allowed_origins": "shop.example.com/path"}
    answer = browser(shop.owner).post(shop.path("settings/keys/new"), form)
    assert answer.status_code == 422
    assert b"is no origin" in answer.content
    assert shop.project.keys.count() == 1


def test_limits_show_what_is_used_and_what_was_turned_away(shop: Shop) -> None:
    Project.objects.filter(pk=shop.project.pk).update(quota_per_day=1000, quota_per_second=50)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    Ledger.objects.create(
        project=shop.project, hour=midnight, accepted=990, rejected={"quota_exceeded": 3, "blank": 1}
    )
    html = browser(shop.member).get(shop.path("settings/limits")).content.decode()
    assert "990 of 1,000" in html
    assert 'class="meter bad"' in html
    assert usage(shop.project).turned_away[0][:2] == ("quota_exceeded", 3)


def test_the_audit_log_tells_of_keys_and_failures_latest_first(shop: Shop) -> None:
    AuditEntry.objects.create(
        project=shop.project, by_name="ada", action="discard", letters=3, what={"reason": "test data"}
    )
    told = [(entry.by, entry.did, entry.about) for entry in entries(shop.project)]
    assert told[0] == ("ada", "Discard: 3 failures", "reason test data")
    assert ("owner", "Created a write key", f"{shop.project.keys.get().prefix}… (first)") in told


def test_the_sidebar_turns_red_where_this_projects_ledger_is_off(shop: Shop, valkey) -> None:
    valkey.hset("es:unbalanced", f"{shop.project.pk}9 2026-01-05T09:00Z", 4)
    client = browser(shop.owner)
    assert b"Ledger balanced" in client.get(shop.path("settings")).content
    valkey.hset("es:unbalanced", f"{shop.project.pk} 2026-01-05T09:00Z", -4)
    assert b"Ledger off by -4" in client.get(shop.path("settings")).content
