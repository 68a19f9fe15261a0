"""Projects: cards, and a new one."""

from datetime import UTC, datetime, timedelta

from django.test import Client

from events.models import DeadLetter, Ledger
from events.tests.conftest import queue
from events.tests.pages.conftest import Shop, browser
from events.views.projects import cards
from projects.access import projects_of
from projects.models import Project


def now() -> datetime:
    return datetime.now(UTC)


def hour(ago: int = 0) -> datetime:
    return now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=ago)


def card_of(shop: Shop):
    project = projects_of(shop.owner).get()
    project.last_at = None
    return cards([project])[0]


def test_a_card_says_what_came_and_what_waits(shop: Shop, valkey) -> None:
    Ledger.objects.create(project=shop.project, hour=hour(), accepted=7)
    Ledger.objects.create(project=shop.project, hour=hour(23), accepted=5)
    Ledger.objects.create(project=shop.project, hour=hour(30), accepted=1000)
    for state in ("waiting", "discarded"):
        DeadLetter.objects.create(
            project=shop.project, payload=b"{}", code="data_error", error="", stage="store", attempts=1,
            received_at=now(), fingerprint="f", state=state,
        )  # fmt: skip
    queue(valkey, [{"name": "a"}, {"name": "b"}], project_id=shop.project.pk)
    card = card_of(shop)
    assert (card.hours[-1], card.hours[0], sum(card.hours)) == (7, 5, 12)
    assert (card.failures, card.queued) == (1, 2)


def test_today_is_the_projects_day(shop: Shop) -> None:
    Project.objects.filter(pk=shop.project.pk).update(time_zone="Pacific/Kiritimati")  # UTC+14
    begin = now() + timedelta(hours=14)
    for ago in range(24):
        Ledger.objects.create(project=shop.project, hour=hour(ago), accepted=1)
    assert card_of(shop).today == begin.hour + 1


def test_a_queue_that_is_away_leaves_the_rest(shop: Shop, services) -> None:
    services.valkey.stop()
    page = browser(shop.owner).get("/projects")
    assert page.status_code == 200
    assert b"queue silent" in page.content


def test_only_ones_own_projects_are_shown(shop: Shop, make_project) -> None:
    make_project(shop.outsider, name="Secret plans")
    html = browser(shop.member).get("/projects").content.decode()
    assert "Web shop" in html
    assert "Secret plans" not in html


def test_the_number_of_queries_does_not_grow_with_the_projects(
    shop: Shop, make_project, django_assert_num_queries
) -> None:
    client = browser(shop.owner)
    for most in (1, 6):
        for number in range(most):
            make_project(shop.owner, name=f"p{most}{number}")
        with django_assert_num_queries(6):
            client.get("/projects")


def test_who_has_none_is_told_what_to_do(shop: Shop) -> None:
    html = browser(shop.outsider).get("/projects").content.decode()
    assert "Create your first project" in html
    assert html.count('class="btn primary') == 1


def test_a_new_project_shows_its_key_until_it_is_saved(shop: Shop) -> None:
    client = browser(shop.outsider)
    made = client.post("/projects/new", {"name": " Blog ", "time_zone": "Europe/Berlin"}, follow=True)
    project = Project.objects.get(name="Blog")
    secret = made.context["secret"]
    assert made.redirect_chain == [(f"/projects/{project.pk}/start", 303)]
    assert made["Cache-Control"] == "no-store"
    assert made.content.decode().count(secret) == 5  # the key, and four snippets
    assert secret in client.get(f"/projects/{project.pk}/start").content.decode()
    client.post(f"/projects/{project.pk}/start/saved")
    assert secret not in client.get(f"/projects/{project.pk}/start").content.decode()


def test_a_key_on_its_way_is_for_its_maker_and_its_project_only(shop: Shop, make_user) -> None:
    client = browser(shop.owner)
    client.post("/projects/new", {"name": "Blog", "time_zone": "UTC"})
    made = Project.objects.get(name="Blog")
    cookie = client.cookies["new_key"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (
        True,
        "Strict",
        f"/projects/{made.pk}/",
    )
    assert client.get(shop.path("start")).context["secret"] is None
    client.force_login(shop.outsider)
    client.post("/projects/new", {"name": "Mine", "time_zone": "UTC"})
    client.cookies["new_key"] = cookie.value
    own = Project.objects.get(name="Mine")
    assert client.get(f"/projects/{own.pk}/start").context["secret"] is None


def test_a_bad_name_is_told_at_its_field_in_the_dialog_too(shop: Shop) -> None:
    for client in (browser(shop.owner), browser(shop.owner, htmx="dialog")):
        answer = client.post("/projects/new", {"name": " ", "time_zone": "Mars/Olympus"})
        assert answer.status_code == 422
        assert answer.content.count(b"field-error") == 2
    assert Project.objects.count() == 1


def test_a_dialog_sends_the_whole_page_on(shop: Shop) -> None:
    answer = browser(shop.owner, htmx="dialog").post("/projects/new", {"name": "Blog", "time_zone": "UTC"})
    assert (answer.status_code, answer["HX-Redirect"]) == (
        204,
        f"/projects/{Project.objects.get(name='Blog').pk}/start",
    )


def test_names_of_any_kind_are_shown_as_text(shop: Shop) -> None:
    Project.objects.filter(pk=shop.project.pk).update(name="<script>alert(1)</script> מוצר 🚀")
    html = (
        Client(headers={}).get("/sign-in").content.decode()
        + browser(shop.owner).get("/projects").content.decode()
    )
    assert "<script>alert" not in html
    assert "מוצר 🚀" in html
