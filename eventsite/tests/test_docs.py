"""The API docs, the policy on every page, and what a bug looks like."""

import re

import pytest
import yaml
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.urls import get_resolver

from eventsite.errors import server_error

STRICT = "default-src 'none'"


def directives(response):
    return {name: values for name, *values in map(str.split, response["Content-Security-Policy"].split(";"))}


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    target = tmp_path_factory.mktemp("schema") / "schema.yml"
    call_command("spectacular", "--fail-on-warn", "--validate", file=str(target))
    return yaml.safe_load(target.read_text())


def test_the_schema_is_made_without_a_warning(schema):
    assert {"/api/projects/", "/api/projects/{project_id}/keys/", "/api/auth/login/", "/v1/events"} <= {
        path.rstrip("/") if path.startswith("/v1") else path for path in schema["paths"]
    }


def operations(schema, prefix="/api/"):
    return {
        f"{method} {path}": operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if path.startswith(prefix)
    }


def test_every_operation_has_a_summary_and_says_how_it_fails(schema):
    for name, operation in operations(schema).items():
        assert operation.get("summary"), name
        assert any(status.startswith("4") for status in operation["responses"]), name


def test_every_json_body_has_an_example(schema):
    for name, operation in operations(schema).items():
        bodies = [*operation["responses"].values(), operation.get("requestBody", {})]
        for content in (body["content"] for body in bodies if "content" in body):
            if "application/json" in content:  # else a stream or a file
                assert content["application/json"].get("examples"), name


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_schema_is_served(client, db, slash):
    response = client.get(f"/api/schema{slash}")
    assert response.status_code == 200
    assert "/api/projects/" in yaml.safe_load(response.content)["paths"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_docs_page_has_no_inline_script_and_all_its_files_are_ours(client, db, slash):
    page = client.get(f"/api/docs{slash}")
    html = page.content.decode()
    sources = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert page.status_code == 200
    assert "<script>" not in html
    assert len(sources) >= 4
    for source in sources:
        assert source.startswith("/")
        assert client.get(source).status_code == 200, source


def test_the_docs_loosen_styles_and_pictures_only(client, db):
    loose = directives(client.get("/api/docs/"))
    strict = directives(client.get("/sign-in"))
    assert loose.pop("style-src") == ["'self'", "'unsafe-inline'"]
    assert strict.pop("style-src") == ["'self'"]
    assert loose.pop("img-src") == ["'self'", "data:"]
    assert strict.pop("img-src") == ["'self'"]
    assert loose == strict
    assert strict["script-src"] == ["'self'"]
    assert strict["default-src"] == ["'none'"]


@pytest.mark.parametrize("path", ["/sign-in", "/admin/login/", "/api/projects/", "/api/schema/", "/nothing/"])
def test_every_other_answer_carries_the_strict_policy(client, db, path):
    policy = client.get(path)["Content-Security-Policy"]
    assert STRICT in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/api/x", "application/json"), ("/v1/events", "application/json"), ("/admin/", "text/html")],
)
def test_a_bug_of_ours_answers_in_the_callers_language(path, kind):
    response = server_error(RequestFactory().get(path))
    assert response.status_code == 500
    assert response["Content-Type"].startswith(kind)


def test_an_exception_in_the_api_is_our_json(db, monkeypatch, login, make_user):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr("projects.api.projects_of", broken)
    browser = Client(raise_request_exception=False)
    browser.force_login(make_user())
    response = browser.get("/api/projects/")
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "a bug" not in response.content.decode()


def test_every_named_route_has_one_name():
    names = [pattern.name for pattern in get_resolver().url_patterns if getattr(pattern, "name", None)]
    assert len(names) == len(set(names))
