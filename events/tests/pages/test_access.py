"""Who sees which page, as a page and as a part; what each answer carries."""

import re

import pytest
from django.test import Client

from events.tests.pages.conftest import Shop, browser

READ = ["start", "start/first", "settings", "settings/keys", "settings/limits", "settings/audit"]
READ += ["settings/plan", "overview", "events", "events/suggestions", "events/person", "events/trace"]
OWNERS = ["settings/keys/new"]


@pytest.mark.parametrize("below", READ)
def test_people_of_a_project_see_its_pages_and_nobody_else_does(shop: Shop, below: str) -> None:
    for person in (shop.owner, shop.member):
        assert browser(person).get(shop.path(below)).status_code in (200, 286)
    assert browser(shop.outsider).get(shop.path(below)).status_code == 404
    answer = browser(None).get(shop.path(below))
    assert (answer.status_code, answer["Location"]) == (302, f"/sign-in?next={shop.path(below)}")


@pytest.mark.parametrize("below", OWNERS)
def test_what_changes_a_project_is_for_owners(shop: Shop, below: str) -> None:
    assert browser(shop.owner).get(shop.path(below)).status_code == 200
    assert browser(shop.member).get(shop.path(below)).status_code == 403
    assert browser(shop.outsider).get(shop.path(below)).status_code == 404


@pytest.mark.parametrize("who", ["member", "outsider"])
@pytest.mark.parametrize(
    "below", ["settings", "settings/keys/new", "settings/keys/{key}", "settings/keys/{key}/revoke"]
)
def test_nothing_is_changed_by_others(shop: Shop, who: str, below: str) -> None:
    key = shop.project.keys.get()
    path = shop.path(below.format(key=key.pk))
    answer = browser(getattr(shop, who)).post(path, {"name": "mine", "kind": "write", "time_zone": "UTC"})
    assert answer.status_code == (403 if who == "member" else 404)
    shop.project.refresh_from_db()
    key.refresh_from_db()
    assert (shop.project.name, shop.project.keys.count(), key.name, key.revoked) == (
        "Web shop",
        1,
        "first",
        False,
    )


def test_a_key_of_another_project_cannot_be_reached_through_ones_own(shop: Shop, make_project) -> None:
    other = make_project(shop.outsider, name="Other").project.keys.get()
    assert browser(shop.owner).post(shop.path(f"settings/keys/{other.pk}/revoke")).status_code == 404
    other.refresh_from_db()
    assert not other.revoked


def test_a_deleted_project_is_absent(shop: Shop) -> None:
    from projects import services

    services.delete_project(shop.project)
    assert browser(shop.owner).get(shop.path("start")).status_code == 404


def test_a_part_is_asked_by_htmx_and_said_to_vary(shop: Shop) -> None:
    whole, part = (browser(shop.owner, htmx=target).get(shop.path("settings")) for target in ("", "view"))
    assert b"<html" in whole.content
    assert b"<html" not in part.content
    assert b"<title>Settings" in part.content
    assert {"HX-Request", "Cookie"} <= set(re.split(", *", whole["Vary"]))
    assert "private" in whole["Cache-Control"]


def test_a_part_for_nobody_sends_the_whole_page_to_sign_in(shop: Shop) -> None:
    there = "http://testserver/projects/1/start?a=b"
    answer = browser(None, htmx="first", HX_Current_URL=there).get(shop.path("start/first"))
    assert (answer.status_code, answer["HX-Redirect"]) == (401, "/sign-in?next=/projects/1/start%3Fa%3Db")


def test_the_navigation_names_what_exists_and_marks_where_one_is(shop: Shop) -> None:
    html = browser(shop.owner).get(shop.path("settings/keys")).content.decode()
    places = re.findall(r'<a href="[^"]+/(\w+)"(\s+aria-current="page")?\s+data-go', html)
    assert [name for name, mark in places if mark] == ["settings"]
    assert ("start", "") in places
    assert "insights" not in dict(places)


@pytest.mark.parametrize("below", READ)
def test_no_page_holds_a_style_or_a_script_of_its_own(shop: Shop, below: str) -> None:
    answer = browser(shop.owner).get(shop.path(below))
    html = answer.content.decode()
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert "data:" not in answer["Content-Security-Policy"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)|javascript:", html)


@pytest.mark.parametrize(
    ("below", "most"),
    [("start", 12), ("settings", 10), ("settings/keys", 10), ("settings/limits", 11), ("settings/audit", 11)],
)
def test_a_page_asks_the_database_little(
    shop: Shop, below: str, most: int, django_assert_max_num_queries
) -> None:
    client = browser(shop.owner)
    with django_assert_max_num_queries(most):
        client.get(shop.path(below))


def test_the_theme_is_kept_in_a_cookie_and_leads_back(client: Client, shop: Shop) -> None:
    client.force_login(shop.owner)
    answer = client.post("/theme", {"theme": "dark", "next": shop.path("settings")})
    assert answer["Location"] == shop.path("settings")
    assert b'<html lang="en" data-theme="dark">' in client.get(shop.path("settings")).content
    assert client.post("/theme", {"theme": "system", "next": "https://evil.example"})["Location"] == "/"
    assert b"data-theme=" not in client.get(shop.path("settings")).content.partition(b">")[0]


def test_a_cookie_is_no_way_to_write_into_the_page(client: Client, db: None) -> None:
    client.cookies["theme"] = '"><script>'
    assert b"<script>" not in client.get("/sign-in").content


def test_what_is_not_there_says_so_in_our_own_page(client: Client, db: None) -> None:
    answer = client.get("/nothing-here")
    assert answer.status_code == 404
    assert b"To the projects" in answer.content
