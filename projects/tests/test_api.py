"""The API of projects, keys and tokens: shapes, errors, query counts."""

import pytest
from django.db import connection
from rest_framework.test import APIClient

from projects import keys
from projects.models import Project

PROJECTS = "/api/projects/"


@pytest.fixture
def ada(make_user):
    return make_user("ada")


@pytest.fixture
def client(login, ada):
    return login(ada)


def assert_error(response, status, code, *fields):
    assert response["Content-Type"] == "application/json"
    body = response.json()
    assert (response.status_code, body["code"], body["error"]) == (status, code, code)
    assert set(body) == {"code", "message", "detail", "error", "fields"}
    assert body["message"] == body["detail"] != ""
    assert not fields or set(body["fields"]) == set(fields)


def test_a_new_project_shows_its_write_key_once(client, ada):
    response = client.post(PROJECTS, {"name": "Web shop", "time_zone": "Europe/Berlin"})
    body = response.json()
    assert response.status_code == 201
    assert set(body) == {"id", "name", "time_zone", "created_at", "role", "quota", "write_key"}
    assert (body["name"], body["time_zone"], body["role"]) == ("Web shop", "Europe/Berlin", "owner")
    assert Project.objects.get().keys.get().digest == keys.digest(body["write_key"])
    one = client.get(f"{PROJECTS}{body['id']}/").json()
    assert one == {name: value for name, value in body.items() if name != "write_key"}
    assert client.get(PROJECTS).json()["results"] == [one]


def test_the_time_zone_is_utc_unless_given(client):
    assert client.post(PROJECTS, {"name": "Web shop"}).json()["time_zone"] == "UTC"


def test_a_project_shows_the_quota_that_it_really_has(client, ada, make_project, settings):
    settings.EVENTS_QUOTA_PER_SECOND, settings.EVENTS_QUOTA_PER_DAY = 100, 5_000
    project = make_project(ada).project
    address = f"{PROJECTS}{project.pk}/"
    assert client.get(address).json()["quota"] == {"per_second": 100, "burst": 100, "per_day": 5_000}
    Project.objects.update(quota_per_second=7, quota_burst=20, quota_per_day=0)
    assert client.get(address).json()["quota"] == {"per_second": 7, "burst": 20, "per_day": 0}


@pytest.mark.parametrize("name", ["quota", "quota_per_day"])
def test_an_owner_cannot_set_the_own_quota(client, ada, make_project, name):
    project = make_project(ada).project
    assert_error(client.patch(f"{PROJECTS}{project.pk}/", {name: 1}), 400, "invalid", name)
    project.refresh_from_db()
    assert (project.quota_per_second, project.quota_per_day) == (None, None)


def test_a_project_is_renamed_and_moved(client, ada, make_project):
    address = f"{PROJECTS}{make_project(ada).project.pk}/"
    assert client.patch(address, {"name": "New"}).json()["name"] == "New"
    assert client.patch(address, {"time_zone": "Asia/Tokyo"}).json()["time_zone"] == "Asia/Tokyo"
    assert client.patch(address, {}).json()["name"] == "New"


def test_a_deleted_project_is_gone_everywhere(client, ada, make_project):
    project, _ = make_project(ada)
    address = f"{PROJECTS}{project.pk}/"
    assert client.delete(address).status_code == 204
    assert client.get(PROJECTS).json()["results"] == []
    for response in (
        client.get(address),
        client.patch(address, {"name": "Back"}),
        client.delete(address),
        client.get(f"{address}keys/"),
        client.post(f"{address}keys/", {"kind": "read"}),
        client.delete(f"{address}keys/{project.keys.get().pk}/"),
    ):
        assert_error(response, 404, "not_found")


def test_a_new_key_shows_its_secret_once(client, ada, make_project):
    address = f"{PROJECTS}{make_project(ada).project.pk}/keys/"
    response = client.post(address, {"kind": "read", "name": "Dashboard"})
    body = response.json()
    assert response.status_code == 201
    shown = {"id", "kind", "name", "allowed_origins", "prefix", "created_at", "last_used_at", "revoked_at"}
    assert set(body) == {*shown, "secret"}
    assert body["secret"].startswith(body["prefix"])
    listed = client.get(address).json()
    assert listed["count"] == 2
    assert listed["results"][1] == {name: value for name, value in body.items() if name != "secret"}


def test_revoking_a_key_twice_is_answered_alike(client, ada, make_project):
    project, _ = make_project(ada)
    address = f"{PROJECTS}{project.pk}/keys/{project.keys.get().pk}/"
    assert client.delete(address).status_code == 204
    first = client.get(f"{PROJECTS}{project.pk}/keys/").json()["results"][0]["revoked_at"]
    assert client.delete(address).status_code == 204
    assert client.get(f"{PROJECTS}{project.pk}/keys/").json()["results"][0]["revoked_at"] == first != None  # noqa: E711


def test_a_key_of_another_project_is_not_found_through_ones_own(client, ada, make_project, make_user):
    mine, other = make_project(ada).project, make_project(ada, name="Other").project
    response = client.delete(f"{PROJECTS}{mine.pk}/keys/{other.keys.get().pk}/")
    assert_error(response, 404, "not_found")


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_last_slash_makes_no_difference(client, slash):
    created = client.post(f"/api/projects{slash}", {"name": "Web shop"})
    assert created.status_code == 201
    address = f"/api/projects/{created.json()['id']}"
    assert client.get(address + slash).status_code == 200
    key = client.post(f"{address}/keys{slash}", {"kind": "write"})
    assert key.status_code == 201
    assert client.delete(f"{address}/keys/{key.json()['id']}{slash}").status_code == 204
    assert client.patch(address + slash, {"name": "New"}).status_code == 200
    assert client.delete(address + slash).status_code == 204


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["name"]),
        ({"name": ""}, ["name"]),
        ({"name": " \t\u2003"}, ["name"]),
        ({"name": "x" * 101}, ["name"]),
        ({"name": "a\x00b"}, ["name"]),
        ({"name": None}, ["name"]),
        ({"name": ["a"]}, ["name"]),
        ({"name": {"a": 1}}, ["name"]),
        ({"name": True}, ["name"]),
        ({"name": "a", "time_zone": "Mars/Olympus"}, ["time_zone"]),
        ({"name": "a", "time_zone": "UTC\x00"}, ["time_zone"]),
        ({"name": "a", "time_zone": "../../etc/passwd"}, ["time_zone"]),
        ({"name": "a", "time_zone": 10**400}, ["time_zone"]),
        ({"name": "a", "colour": 1, "x": 2}, ["colour", "x"]),
        ({"name": "a", "id": 7, "role": "owner", "deleted_at": None}, ["id", "role", "deleted_at"]),
        ({"name": "a", "a\x00b": 1}, ["a\x00b"]),
        ([], ["body"]),
        ([{"name": "a"}], ["body"]),
        ("text", ["body"]),
        (7, ["body"]),
        (None, ["name"]),
    ],
)
def test_a_bad_body_is_refused_by_the_name_of_the_field(client, body, fields):
    assert_error(client.post(PROJECTS, body), 400, "invalid", *fields)
    assert not Project.objects.exists()


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["kind"]),
        ({"kind": "admin"}, ["kind"]),
        ({"kind": 1}, ["kind"]),
        ({"kind": ["write"]}, ["kind"]),
        ({"kind": "write", "name": "x" * 101}, ["name"]),
        ({"kind": "write", "digest": "0" * 64}, ["digest"]),
        ({"kind": "write", "prefix": "es_w_"}, ["prefix"]),
    ],
)
def test_a_bad_key_is_refused_by_the_name_of_the_field(client, ada, make_project, body, fields):
    project, _ = make_project(ada)
    assert_error(client.post(f"{PROJECTS}{project.pk}/keys/", body), 400, "invalid", *fields)
    assert project.keys.count() == 1


@pytest.mark.parametrize(
    ("raw", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "parse_error"),
        (b"\xff", "application/json", 400, "parse_error"),
        (b'{"name": NaN}', "application/json", 400, "parse_error"),
        (b'{"name": ' + b"9" * 5_000 + b"}", "application/json", 400, "parse_error"),
        (b"[" * 50_000, "application/json", 400, "parse_error"),
        (b'{"name": "' + b"x" * 200_000 + b'"}', "application/json", 413, "body_too_large"),
        (b'{"name": "\\ud800"}', "application/json", 400, "invalid"),
        (b'{"name": "a", "\\ud800": 1}', "application/json", 400, "invalid"),
        (b"name=a", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"name=a", "text/plain", 415, "unsupported_media_type"),
        (b"x", "multipart/form-data; boundary=x", 415, "unsupported_media_type"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(client, raw, content_type, status, code):
    assert_error(client.post(PROJECTS, raw, content_type=content_type), status, code)


@pytest.mark.parametrize("charset", ["rot13", "base64", "utf-16", "latin-1", "nonsense"])
def test_json_is_utf8_whatever_the_charset_claims(client, charset):
    response = client.post(
        PROJECTS,
        '{"name": "Bücher"}'.encode(),
        content_type=f"application/json; charset={charset}",
    )
    assert (response.status_code, response.json()["name"]) == (201, "Bücher")


@pytest.mark.parametrize(
    "path",
    [
        "projects/0/",
        "projects/9223372036854775808/",
        "projects/9999999999999999999/",
        "projects/99999999999999999999999999999999/",
        f"projects/{'9' * 5_000}/",
        "projects/abc/",
        "projects/-1/",
        "projects/1%00/",
        "projects/%EF%BC%91/",
        "projects/1/keys/9223372036854775808/",
        "nothing/",
        "",
    ],
)
def test_what_is_not_there_is_404_in_json(client, path):
    assert_error(client.delete(f"/api/{path}"), 404, "not_found")


def test_a_method_that_is_not_there_is_405(client, ada, make_project):
    assert_error(
        client.put(f"{PROJECTS}{make_project(ada).project.pk}/", {"name": "a"}), 405, "method_not_allowed"
    )


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=0",
        "limit=x",
        "offset=-5",
        "offset=99999999999999999999",
        "limit=" + "9" * 5_000,
        "limit=%00",
    ],
)
def test_odd_pages_are_pages(client, ada, make_project, query):
    make_project(ada)
    response = client.get(f"{PROJECTS}?{query}")
    assert response.status_code == 200
    assert response.json()["count"] == 1


def test_a_page_has_at_most_a_thousand(client):
    from eventsite.pagination import Pagination

    assert client.get(f"{PROJECTS}?limit=1000000").status_code == 200
    assert Pagination.max_limit == 1_000


@pytest.mark.parametrize(("path", "rows"), [("", 3), ("{id}/keys/", 4)])
def test_lists_ask_the_same_number_of_questions_however_long(
    client, ada, make_project, make_key, django_assert_num_queries, path, rows
):
    project, _ = make_project(ada)
    for number in range(rows):
        make_project(ada, name=f"Project {number}")
        make_key(project)
    # The token and its person, that person's other tokens, [the project,] the count, the rows.
    with django_assert_num_queries(5 if path else 4):
        assert client.get(PROJECTS + path.format(id=project.pk)).json()["count"] > rows


@pytest.mark.parametrize(
    "header",
    [
        "Token",
        "Token a b",
        "Token \xff\xfe",
        "Token es_t_\x00\x01",
        "Token " + "x" * 10_000,
        "Bearer x",
        "Basic x",
        "\x00",
    ],
)
def test_a_wrong_token_is_401_and_never_more(db, header):
    response = APIClient().get(PROJECTS, HTTP_AUTHORIZATION=header)
    assert response.status_code == 401
    assert set(response.json()) == {"code", "message", "detail", "error", "fields"}
    assert response["WWW-Authenticate"] == "Token"


def test_login_gives_a_token_that_works_until_logout(make_user):
    make_user("grace", password="correct horse")
    anybody = APIClient()
    response = anybody.post("/api/auth/login/", {"username": "grace", "password": "correct horse"})
    assert response.status_code == 200
    token = response.json()["token"]
    assert token.startswith("es_t_")
    anybody.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    assert anybody.get(PROJECTS).status_code == 200
    assert anybody.post("/api/auth/logout").status_code == 204
    assert anybody.get(PROJECTS).status_code == 401


def test_logoutall_ends_every_token(login, make_user):
    grace = make_user("grace")
    one, other = login(grace), login(grace)
    assert one.post("/api/auth/logoutall/").status_code == 204
    assert other.get(PROJECTS).status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"username": "grace", "password": "wrong"}, 401, "invalid_credentials"),
        ({"username": "nobody", "password": "correct horse"}, 401, "invalid_credentials"),
        ({"username": "gone", "password": "correct horse"}, 401, "invalid_credentials"),
        ({"username": "grace"}, 400, "invalid"),
        ({"username": "gr\x00ace", "password": "x"}, 400, "invalid"),
        ({"username": ["grace"], "password": {}}, 400, "invalid"),
        ({"username": "grace", "password": "x" * 5_000}, 400, "invalid"),
    ],
)
def test_a_wrong_login_is_refused(make_user, body, status, code):
    make_user("grace", password="correct horse")
    make_user("gone", password="correct horse", is_active=False)
    response = APIClient().post("/api/auth/login/", body)
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_tokens_are_hashed_at_rest(make_user, login):
    login(make_user())
    with connection.cursor() as cursor:
        cursor.execute("SELECT digest, token_key FROM knox_authtoken")
        digest, token_key = cursor.fetchone()
    assert len(digest) == 128
    assert len(token_key) == 15


def test_a_session_needs_its_csrf_token(make_user):
    browser = APIClient(enforce_csrf_checks=True)
    browser.force_login(make_user())
    assert browser.get(PROJECTS).status_code == 200
    assert_error(browser.post(PROJECTS, {"name": "a"}), 403, "permission_denied")


def test_without_postgresql_the_answer_is_503(client, settings, services, transactional_db):
    connection.close()
    services.postgres.stop()
    response = client.get(PROJECTS)
    services.postgres.start()
    assert_error(response, 503, "unavailable")
    assert response["Retry-After"] == "5"
