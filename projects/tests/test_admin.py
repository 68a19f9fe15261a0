"""Projects and keys in the admin."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from projects import keys
from projects.models import ApiKey, Membership, Project, Role
from projects.services import delete_project

PROJECTS = "/admin/projects/project/"
KEYS = "/admin/projects/apikey/"


@pytest.fixture
def root(make_user):
    return make_user("root", is_staff=True, is_superuser=True)


@pytest.fixture
def browser(client, root):
    client.force_login(root)
    return client


def shown_secret(page):
    words = [word for message in page.context["messages"] for word in str(message).split()]
    return next((word for word in words if keys.kind_of(word)), None)


def test_an_added_project_has_its_owner_and_shows_its_key_once(browser, root):
    page = browser.post(f"{PROJECTS}add/", {"name": "New", "time_zone": "UTC"}, follow=True)
    secret = shown_secret(page)
    project = Project.objects.get()
    assert project.keys.get().digest == keys.digest(secret)
    assert project.memberships.get(role=Role.OWNER).user == root
    assert secret not in browser.get(PROJECTS).content.decode()


@pytest.mark.parametrize(
    ("name", "zone"), [("  ", "UTC"), ("x" * 101, "UTC"), ("a\x00", "UTC"), ("a", "Mars")]
)
def test_a_bad_project_is_not_added(browser, name, zone):
    assert browser.post(f"{PROJECTS}add/", {"name": name, "time_zone": zone}).status_code == 200
    assert not Project.objects.exists()


def test_quotas_are_set_where_a_project_is_added_and_changed(browser):
    form = {
        "name": "New",
        "time_zone": "UTC",
        "quota_per_second": "5",
        "quota_burst": "",
        "quota_per_day": "0",
    }
    browser.post(f"{PROJECTS}add/", form)
    project = Project.objects.get(name="New")
    assert (project.quota_per_second, project.quota_burst, project.quota_per_day) == (5, None, 0)
    management = {f"memberships-{name}": "0" for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    browser.post(
        f"{PROJECTS}{project.pk}/change/", form | management | {"quota_per_second": "", "quota_burst": "9"}
    )
    project.refresh_from_db()
    assert (project.quota_per_second, project.quota_burst, project.quota_per_day) == (None, 9, 0)


def test_an_added_key_shows_its_secret_once_and_never_its_digest(browser, root, make_project):
    project, _ = make_project(root)
    page = browser.post(f"{KEYS}add/", {"project": project.pk, "kind": "read", "name": "Report"}, follow=True)
    secret = shown_secret(page)
    key = ApiKey.objects.get(kind="read")
    assert (key.digest, key.name, key.created_by) == (keys.digest(secret), "Report", root)
    for path in (
        KEYS,
        f"{KEYS}{key.pk}/change/",
        f"{KEYS}{key.pk}/history/",
        f"{PROJECTS}{project.pk}/change/",
    ):
        html = browser.get(path).content.decode()
        assert secret not in html
        assert key.digest not in html


def test_a_key_for_a_deleted_project_is_not_added(browser, make_project):
    project, _ = make_project()
    delete_project(project)
    page = browser.post(f"{KEYS}add/", {"project": project.pk, "kind": "read", "name": ""})
    assert page.status_code == 200
    assert ApiKey.objects.count() == 1


def test_only_the_name_of_a_key_changes(browser, make_project):
    key = make_project().project.keys.get()
    browser.post(
        f"{KEYS}{key.pk}/change/", {"name": "Renamed", "kind": "read", "revoked_at": "", "digest": "x"}
    )
    key.refresh_from_db()
    assert (key.name, key.kind) == ("Renamed", "write")


@pytest.mark.django_db(transaction=True)
def test_the_revoke_action_reaches_the_mirror(browser, valkey, make_project):
    key = make_project().project.keys.get()
    browser.post(KEYS, {"action": "revoke", "_selected_action": [key.pk]})
    key.refresh_from_db()
    assert key.revoked
    assert valkey.hget("es:keys", key.digest).endswith(b'"rev":true}')


def test_a_key_is_never_deleted(browser, make_project):
    key = make_project().project.keys.get()
    assert browser.post(f"{KEYS}{key.pk}/delete/", {"post": "yes"}).status_code == 403
    browser.post(KEYS, {"action": "delete_selected", "_selected_action": [key.pk], "post": "yes"})
    assert ApiKey.objects.filter(pk=key.pk).exists()


@pytest.mark.parametrize("way", ["button", "action"])
def test_deleting_a_project_hides_it_and_stops_its_keys(browser, make_project, way):
    project, _ = make_project()
    if way == "button":
        browser.post(f"{PROJECTS}{project.pk}/delete/", {"post": "yes"}, follow=True)
    else:
        form = {"action": "delete_selected", "_selected_action": [project.pk], "post": "yes"}
        browser.post(PROJECTS, form, follow=True)
    project.refresh_from_db()
    assert project.deleted_at is not None
    assert project.keys.get().revoked
    assert project.name not in browser.get(PROJECTS).content.decode()
    assert project.name in browser.get(f"{PROJECTS}?deleted=yes").content.decode()


def test_a_deleted_project_cannot_be_changed(browser, make_project):
    project, _ = make_project()
    delete_project(project)
    assert browser.post(f"{PROJECTS}{project.pk}/change/", {"name": "Back"}).status_code == 403
    assert browser.post(f"{PROJECTS}{project.pk}/delete/", {"post": "yes"}).status_code == 403
    assert browser.get(f"{PROJECTS}{project.pk}/change/").status_code == 200


def test_a_member_is_added_inline(browser, make_project, make_user):
    project, _ = make_project()
    membership = project.memberships.get()
    form = {
        "name": "Renamed",
        "time_zone": "UTC",
        "memberships-TOTAL_FORMS": 2,
        "memberships-INITIAL_FORMS": 1,
    }
    form |= {"memberships-0-id": membership.pk, "memberships-0-project": project.pk}
    form |= {"memberships-0-user": membership.user_id, "memberships-0-role": "owner"}
    form |= {"memberships-1-project": project.pk, "memberships-1-user": make_user("new").pk}
    form |= {"memberships-1-role": "member"}
    assert browser.post(f"{PROJECTS}{project.pk}/change/", form).status_code == 302
    assert Membership.objects.get(user__username="new").role == Role.MEMBER
    assert Project.objects.get().name == "Renamed"


@pytest.mark.parametrize("path", [PROJECTS, KEYS])
def test_lists_ask_the_same_number_of_questions_however_long(
    browser, make_project, make_key, django_assert_num_queries, path
):
    make_project(name="One")
    with CaptureQueriesContext(connection) as few:
        browser.get(path)
    for number in range(5):
        make_key(make_project(name=f"Project {number}").project)
    with django_assert_num_queries(len(few)):
        assert "Project 4" in browser.get(path).content.decode()


@pytest.mark.parametrize("who", ["outsider", "nobody"])
@pytest.mark.parametrize("path", [PROJECTS, KEYS, f"{PROJECTS}add/", f"{KEYS}add/"])
def test_the_admin_is_for_staff(client, make_user, who, path):
    if who == "outsider":
        client.force_login(make_user("outsider"))
    assert client.get(path).status_code == 302
