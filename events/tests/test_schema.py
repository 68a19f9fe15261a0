"""The API against its own OpenAPI schema: requests made from it, good and bad, never end in a 500 or an undocumented form."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, given, settings
from knox.models import get_token_model
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from events.tests.insights.conftest import questions
from projects import keyring, services

__all__ = ["questions"]  # the process that answers: without it all of theirs would be 503

# Bodies of the ingest route are told apart by accept, not by the schema: it describes the forms, not every refusal.
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
WITHOUT = re.compile(r"/api/(auth|schema|docs|projects/[^/]+/live/)")  # live is 501 under WSGI, by contract
examples = settings(
    max_examples=12,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def kept_connection(db: None) -> Iterator[None]:
    """The test's transaction outlives a request, as with Django's own test client."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def api(
    kept_connection: None,
    questions: Any,
    valkey: redis.Redis,
    make_user: Callable[..., Any],
    make_project: Callable[..., services.CreatedProject],
) -> Iterator[Any]:
    owner = make_user("ada", is_staff=True)
    created = make_project(owner)
    keyring.publish(valkey, list(created.project.keys.all()))
    _, token = get_token_model().objects.create(owner)
    schema = schemathesis.openapi.from_wsgi(
        "/api/schema/",
        get_wsgi_application(),
        headers={"Authorization": f"Token {token}", "Host": "localhost"},
    )
    schema.known = {"project_id": created.project.pk, "key_id": created.project.keys.get().pk}
    schema.token, schema.write_key = token, created.write_key
    yield schema


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_that_the_schema_suggests_ends_in_a_500(
    api: Any, mode: schemathesis.GenerationMode
) -> None:
    """As the schema has them, and as it forbids them; every operation but those that end the login."""
    operations = [result.ok() for result in api.get_all_operations()]
    tried = [operation for operation in operations if not WITHOUT.match(operation.path)]
    assert len(tried) >= 8
    for operation in sorted(
        tried, key=lambda operation: operation.method == "delete"
    ):  # last: there is no more after it

        @examples
        @given(operation.as_strategy(generation_mode=mode))
        def answers_as_documented(case: schemathesis.Case) -> None:
            for name, known in api.known.items():
                if name in case.path_parameters and str(case.path_parameters[name]) != "0":
                    case.path_parameters[name] = known  # one that is there: else nearly all would be 404
            secret = f"Bearer {api.write_key}" if case.path == "/v1/events" else f"Token {api.token}"
            case.call_and_validate(headers={"Authorization": secret, "Host": "localhost"}, checks=CHECKS)

        answers_as_documented()


def test_every_operation_names_its_errors_and_has_an_example(api: Any) -> None:
    document = api.raw_schema
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method == "parameters" or path == "/api/schema/":
                continue
            assert any(status.startswith("4") for status in operation["responses"]), (method, path)
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                assert content.get("examples"), (method, path)
