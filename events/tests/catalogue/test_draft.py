"""A draft of a tracking plan is made of the catalogue; of the events themselves while that does not know their name."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from events.lake.erase import erase_person
from events.plan.check import Check, compile_schema
from events.plan.draft import draft
from events.tests.lake.pond import put
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]
SealAll = Callable[[], int]
# By what they show: always there, sometimes null, sometimes absent, of two types, all different, rarely, of many values.
SENT: list[dict[str, Any]] = [
    {
        "plan": ["free", "pro"][n % 2],
        "amount": n if n % 2 else n + 0.5,
        "coupon": "x" if n % 2 else None,
        "mixed": n if n % 3 else str(n),
        "order": f"o-{n}",
        "address": {"city": "Bonn"},
        "tags": ["a"],
        "step": f"{n % 9}",
        "paid": True,
    }
    | ({"rare": "yes"} if n < 10 else {})
    for n in range(50)
]


@pytest.fixture
def project(make_project: Callable[..., Any]) -> Project:
    made: Project = make_project().project
    return made


def sealed(project: Project, seal_all: SealAll, sent: list[dict[str, Any]] = SENT) -> None:
    put({"project_id": project.pk, "user_id": "ada", "properties": properties} for properties in sent)
    seal_all()


def test_a_draft_says_what_the_catalogue_knows_and_what_was_sealed_follows_it(
    project: Project, seal_all: SealAll
) -> None:
    sealed(project, seal_all)
    put([{"project_id": project.pk, "properties": {"not": "sealed yet"}}])
    made = draft(project.pk, "a")
    assert (made.drawn_from, made.events) == ("catalogue", 50)
    assert made.schema == {
        "type": "object",
        "required": ["address", "amount", "mixed", "order", "paid", "plan", "step", "tags"],
        "properties": {
            "address": {"type": "object"},
            "amount": {"type": "number"},
            "coupon": {"type": ["null", "string"], "enum": ["x", None]},
            "mixed": {"type": ["number", "string"]},
            "order": {"type": "string"},
            "paid": {"type": "boolean"},
            "plan": {"type": "string", "enum": ["free", "pro"]},
            "rare": {"type": ["null", "string"]},
            "step": {"type": "string"},
            "tags": {"type": "array"},
        },
    }
    check = Check("a", "reject", 1, json.dumps(made.schema).encode())
    assert not any(check.violation(json.dumps(properties).encode()) for properties in SENT)


def test_a_value_that_came_since_is_among_the_choices_or_there_are_none(
    project: Project, seal_all: SealAll
) -> None:
    sealed(project, seal_all)
    sealed(project, seal_all, [{"plan": "team"}])
    assert draft(project.pk, "a").schema["properties"]["plan"] == {"type": "string"}
    sealed(project, seal_all, [{"plan": "team"}] * 19)
    assert draft(project.pk, "a").schema == {
        "type": "object",
        "required": ["plan"],
        "properties": draft(project.pk, "a").schema["properties"]
        | {"plan": {"type": "string", "enum": ["free", "pro", "team"]}},
    }


def test_of_an_erased_person_no_value_is_left_in_a_draft(project: Project, seal_all: SealAll) -> None:
    sealed(project, seal_all)
    erase_person(project.pk, "ada")
    sealed(project, seal_all)
    assert draft(project.pk, "a").schema["properties"]["plan"] == {"type": "string"}


def test_a_name_that_has_just_begun_is_drafted_from_its_events(project: Project, seal_all: SealAll) -> None:
    sealed(project, seal_all)
    put([{"project_id": project.pk, "name": "new", "properties": {"n": 1, "address": {"city": "Bonn"}}}])
    made = draft(project.pk, "new")
    assert (made.drawn_from, made.events) == ("events", 1)
    assert made.schema["properties"]["n"] == {"type": "integer"}
    assert made.schema["properties"]["address"]["required"] == ["city"]


@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_draft_can_be_put_whatever_was_sent(project: Project, seal_all: SealAll, is_sealed: bool) -> None:
    put([{"project_id": project.pk, "properties": {f"{n}{'ü' * 190}": {} for n in range(100)}}])
    if is_sealed:
        seal_all()
    made = draft(project.pk, "a").schema
    compile_schema(made)
    assert len(made["properties"]) == 20
