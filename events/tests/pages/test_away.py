"""What people see while the database is away."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from eventsite.pytest_services import Services

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


@pytest.mark.parametrize("path", ["/", "/projects/new", "/admin/"])
def test_a_page_says_that_the_database_is_away(
    make_user: Callable[..., Any], request: pytest.FixtureRequest, path: str
) -> None:
    running: Services = request.getfixturevalue("services")
    client = Client(raise_request_exception=False)
    client.force_login(make_user("ada", is_staff=True, is_superuser=True))
    connection.close()
    running.postgres.stop()
    response = client.get(path)
    running.postgres.start()
    connection.close()  # of before
    assert response.status_code == 503
    assert "wait in the queue" in response.content.decode()
    assert int(response["Retry-After"]) >= 1
    assert client.get(path, follow=True).status_code == 200
