"""Every kind of input has an answer: the rows of docs/input.md, against the ASGI edge and the DRF view."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.conf import settings

from events.tests import input_cases
from events.tests.conftest import Reply, as_bytes, queued
from events.tests.input_cases import Case

Post = Callable[..., Reply]
GOOD = b'{"name":"good"}'
BATCHES = (b"[%s,%s,%s]", b'{"sent_at":null,"events":[%s, %s ,%s]}', b"%s\n%s\n%s")


def assert_rows(case: Case, rows: list[dict[str, Any]]) -> None:
    if isinstance(case.rows, int):
        assert len(rows) == case.rows
    else:
        assert [row | wanted for row, wanted in zip(rows, case.rows, strict=True)] == rows


def of_problems(problems: list[dict[str, Any]]) -> list[tuple[int, str, str | None]]:
    return [(problem["index"], problem["code"], problem["field"]) for problem in problems]


@pytest.mark.parametrize(("case", "sent"), input_cases.all_cases(lambda case: not case.is_event))
def test_a_body(post: Post, valkey: redis.Redis, case: Case, sent: Any) -> None:
    reply = post(sent, path=f"/v1/events{case.query}", **case.headers)
    assert (reply.status, reply.json.get("code", "")) == (case.status, case.code)
    assert_rows(case, queued(valkey))
    if case.status == 400:
        assert of_problems(reply.json["errors"]) == [(0, case.code, case.field)]
    if case.errors:
        assert of_problems(reply.json["errors"]) == list(case.errors)
    if case.warning:
        assert of_problems(reply.json["warnings"]) == [(0, case.warning, case.field)]


@pytest.mark.parametrize(("case", "sent"), input_cases.all_cases(lambda case: case.is_event))
def test_an_event_alone(post: Post, valkey: redis.Redis, case: Case, sent: Any) -> None:
    reply = post(sent, path=f"/v1/events{case.query}", **case.headers)
    assert (reply.status, reply.json.get("code", "")) == (case.status, case.code)
    assert_rows(case, queued(valkey))
    wanted = [(0, case.code or case.warning, case.field)] if case.code or case.warning else []
    assert of_problems(reply.json["errors"] + reply.json["warnings"]) == wanted
    if case.warning in ("sanitized", "duplicate_key"):
        assert base64.b64decode(queued(valkey)[0]["raw"]) == as_bytes(sent)


@pytest.mark.parametrize("form", BATCHES)
@pytest.mark.parametrize(("case", "sent"), input_cases.all_cases(lambda case: case.is_event))
def test_an_event_among_others_costs_at_most_itself(
    post: Post, valkey: redis.Redis, case: Case, sent: Any, form: bytes
) -> None:
    reply = post(form % (GOOD, as_bytes(sent), GOOD), path=f"/v1/events{case.query}", **case.headers)
    assert (reply.status, reply.json["accepted"]) == (202, 2 if case.code else 3)
    first, *rows, last = queued(valkey)
    assert (first["name"], last["name"]) == ("good", "good")
    assert_rows(case, rows)
    wanted = [(1, case.code or case.warning, case.field)] if case.code or case.warning else []
    assert of_problems(reply.json["errors"] + reply.json["warnings"]) == wanted


def test_the_page_about_input_is_made_of_these_cases() -> None:
    page = settings.BASE_DIR / "docs" / "input.md"
    assert page.read_text() == input_cases.page()
