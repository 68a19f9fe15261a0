"""Who may do what: an owner, a member, an outsider, nobody; and a project's own key."""

import pytest
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from projects import keys
from projects.drf import ReadKeyAuthentication, WriteKeyAuthentication
from projects.keys import KeyKind
from projects.services import revoke_key

ACTIONS = {
    "list": ("get", "", None),
    "retrieve": ("get", "{id}/", None),
    "rename": ("patch", "{id}/", {"name": "New"}),
    "delete": ("delete", "{id}/", None),
    "list keys": ("get", "{id}/keys/", None),
    "create key": ("post", "{id}/keys/", {"kind": "read"}),
    "change key": ("patch", "{id}/keys/{key}/", {"name": "New"}),
    "revoke key": ("delete", "{id}/keys/{key}/", None),
}
ALLOWED = {
    "owner": {"list": 200, "retrieve": 200, "rename": 200, "delete": 204}
    | {"list keys": 200, "create key": 201, "change key": 200, "revoke key": 204},
    "member": {"list": 200, "retrieve": 200, "rename": 403, "delete": 403}
    | {"list keys": 200, "create key": 403, "change key": 403, "revoke key": 403},
    "outsider": {"list": 200} | dict.fromkeys(set(ACTIONS) - {"list"}, 404),
    "superuser": {"list": 200} | dict.fromkeys(set(ACTIONS) - {"list"}, 404),
    "nobody": dict.fromkeys(ACTIONS, 401),
}


@pytest.fixture
def people(make_user):
    return {
        "owner": make_user("owner"),
        "member": make_user("member"),
        "outsider": make_user("outsider"),
        "superuser": make_user("superuser", is_superuser=True, is_staff=True),
        "nobody": None,
    }


@pytest.fixture
def project(make_project, people):
    return make_project(people["owner"], members=(people["member"],)).project


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("who", ALLOWED)
def test_permission(people, project, login, who, action):
    method, path, body = ACTIONS[action]
    address = "/api/projects/" + path.format(id=project.pk, key=project.keys.get().pk)
    response = getattr(login(people[who]), method)(address, body)
    assert response.status_code == ALLOWED[who][action]
    if response.status_code == 403:
        assert response.json()["code"] == "not_owner"


@pytest.mark.parametrize(("who", "roles"), [("owner", ["owner"]), ("member", ["member"]), ("outsider", [])])
def test_a_list_shows_ones_own_projects_and_role(people, project, make_project, login, who, roles):
    make_project(people["superuser"], name="Another")
    assert [row["role"] for row in login(people[who]).get("/api/projects/").json()["results"]] == roles


def test_a_refused_change_changes_nothing(people, project, login):
    login(people["member"]).delete(f"/api/projects/{project.pk}/")
    login(people["outsider"]).patch(f"/api/projects/{project.pk}/", {"name": "Mine"})
    project.refresh_from_db()
    assert (project.name, project.deleted_at) == ("Web shop", None)


class Asked(APIView):
    authentication_classes = (ReadKeyAuthentication,)
    permission_classes = (IsAuthenticated,)

    def get(self, request):
        return Response({"project": request.auth.project_id, "person": request.user.pk})


class Sent(Asked):
    authentication_classes = (WriteKeyAuthentication,)


def ask(secret, view=Asked, **headers):
    if secret:
        headers["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
    return view.as_view()(APIRequestFactory().get("/", **headers))


@pytest.mark.django_db(transaction=True)
def test_a_read_key_opens_its_own_project_and_says_so(valkey, make_project, make_key):
    project, _ = make_project()
    _, secret = make_key(project, "read")
    for response in (ask(secret), ask(None, HTTP_X_API_KEY=secret)):
        assert (response.status_code, response.data) == (200, {"project": project.pk, "person": None})


@pytest.mark.django_db(transaction=True)
def test_a_key_is_refused_where_it_does_not_belong(valkey, make_project, make_key, services):
    project, write_key = make_project()
    key, read_key = make_key(project, "read")
    revoke_key(key)
    answers = {
        (None, Asked): (401, "not_authenticated"),
        ("garbage", Asked): (401, "invalid_key"),
        (keys.generate(KeyKind.READ), Asked): (401, "invalid_key"),
        (write_key, Asked): (403, "wrong_key_kind"),
        (read_key, Asked): (403, "key_revoked"),
        (read_key, Sent): (403, "wrong_key_kind"),
    }
    for (secret, view), (status, code) in answers.items():
        response = ask(secret, view)
        assert (response.status_code, response.data["code"]) == (status, code)
    services.valkey.stop()
    response = ask(write_key, Sent)
    assert (response.status_code, response.data["code"]) == (503, "key_store_unavailable")
    assert response["Retry-After"]


@pytest.mark.parametrize("path", ["/api/projects/", "/api/projects/1/"])
def test_a_projects_key_does_not_manage_projects(valkey, make_project, make_key, client, path):
    project, write_key = make_project()
    for secret in (write_key, make_key(project, "read").secret):
        assert client.get(path, HTTP_AUTHORIZATION=f"Bearer {secret}").status_code == 401
