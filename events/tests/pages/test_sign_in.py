"""The door: people in, people out, guessers kept out."""

import pytest
from django.test import Client

from projects import attempts

PASSWORD = "correct horse battery"


@pytest.fixture
def ada(make_user, valkey):
    return make_user("ada", password=PASSWORD)


def sign_in(client: Client, password: str, **fields: str):
    return client.post("/sign-in", {"username": "ada", "password": password, **fields})


def test_the_root_leads_to_the_projects_or_to_the_door(client: Client, ada) -> None:
    assert client.get("/")["Location"] == "/sign-in"
    client.force_login(ada)
    assert client.get("/")["Location"] == "/projects"
    assert client.get("/sign-in")["Location"] == "/projects"


def test_people_come_in_and_go_where_they_wanted(client: Client, ada) -> None:
    assert sign_in(client, PASSWORD, next="/projects/7/start")["Location"] == "/projects/7/start"
    assert client.post("/sign-out")["Location"] == "/sign-in"
    assert client.get("/projects")["Location"].startswith("/sign-in")


def test_nobody_is_sent_to_another_site(client: Client, ada) -> None:
    assert sign_in(client, PASSWORD, next="https://evil.example/")["Location"] == "/projects"


def test_signing_out_takes_a_post(client: Client, ada) -> None:
    client.force_login(ada)
    assert client.get("/sign-out").status_code == 405


def test_a_wrong_password_and_an_unknown_name_look_the_same(client: Client, ada) -> None:
    for fields in ({"password": "wrong"}, {"password": "wrong", "username": "nobody"}):
        answer = client.post("/sign-in", {"username": "ada", **fields})
        assert answer.status_code == 422
        assert b"Wrong user name or password." in answer.content


def test_after_ten_failures_even_the_right_password_waits(client: Client, ada, monkeypatch) -> None:
    for _ in range(attempts.FAILURES):
        attempts.failed("127.0.0.1", "ada")
    answer = sign_in(client, PASSWORD)
    assert answer.status_code == 429
    assert b"Too many attempts. Try again in 15 minutes." in answer.content
    assert (
        sign_in(Client(REMOTE_ADDR="10.0.0.9"), PASSWORD).status_code == 302
    )  # somebody elsewhere is not kept out


def test_the_api_counts_the_same_failures(client: Client, ada) -> None:
    form = {"username": "ada", "password": "wrong"}
    for _ in range(attempts.FAILURES):
        assert client.post("/api/auth/login/", form, "application/json").status_code == 401
    answer = client.post("/api/auth/login/", {**form, "password": PASSWORD}, "application/json")
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_attempts")
    assert 0 < int(answer["Retry-After"]) <= attempts.WINDOW_SECONDS
    assert sign_in(client, PASSWORD).status_code == 429


def test_a_success_forgets_the_failures_before(client: Client, ada) -> None:
    for _ in range(attempts.FAILURES - 1):
        attempts.failed("127.0.0.1", "Ada")
    assert sign_in(client, PASSWORD).status_code == 302
    attempts.failed("127.0.0.1", "ada")
    assert attempts.standing("127.0.0.1", "ada").wait_seconds == 0


def test_people_come_in_while_the_queue_is_away(client: Client, ada, services) -> None:
    services.valkey.stop()
    assert sign_in(client, PASSWORD).status_code == 302


def test_the_admin_has_no_door_of_its_own(client: Client, ada, make_user) -> None:
    assert client.get("/admin/login/?next=/admin/events/")["Location"] == "/sign-in?next=%2Fadmin%2Fevents%2F"
    client.force_login(ada)
    assert client.get("/admin/login/").status_code == 403
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    page = client.get("/admin/")
    assert b"eventsite/admin.css" in page.content
    assert b'href="/projects"' in page.content
