"""The tracking plan's parts: which schemas are taken, what is said of an event, drafts and differences."""

import json
import time
from typing import Any

import pytest

from events.plan import draft
from events.plan.bounds import MAX_BYTES, BadSchema
from events.plan.check import Check, compile_schema
from events.plan.diff import diff

NEST: dict[str, Any] = {}
for _ in range(60):
    NEST = {"not": NEST}
LAUGHS = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(12)} | {"a12": {}}
MANY = [{"anyOf": [{"minimum": 1}, {"type": "string"}]}] * 40


@pytest.mark.parametrize(
    "schema, place, why",
    [
        (5, "schema", "object"),
        ([], "schema", "object"),
        ({"type": "strin"}, "schema.type", "not valid"),
        ({"properties": {"a": {"minimum": "1"}}}, "schema.properties.a.minimum", '"number"'),
        ({"$ref": "https://example.com/plan.json"}, "schema.$ref", "in this schema"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "schema.properties.a.$ref", "in this schema"),
        ({"$ref": "#/$defs/none"}, "schema.$ref", "There is no"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "schema.$ref.$ref", "itself"),
        ({"$id": "https://example.com/"}, "schema.$id", "not taken"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "schema.$schema", "2020-12"),
        ({"properties": {"a": {"pattern": "(?=x)y"}}}, "schema.properties.a.pattern", "no pattern"),
        (
            {"properties": {"a": {"pattern": "(a{1,1000}){1,1000}"}}},
            "schema.properties.a.pattern",
            "no pattern",
        ),
        ({"pattern": "x" * 501}, "schema.pattern", "500"),
        ({"patternProperties": {"(": {}}}, "schema.patternProperties.(", "no pattern"),
        ({"title": "x" * MAX_BYTES}, "schema", "bytes"),
        ({"title": "a\0b"}, "schema", "NUL"),
        ({"title": "\ud800"}, "schema", "surrogate"),
        (NEST, "schema.not", "deeper"),
        ({"$defs": LAUGHS, "$ref": "#/$defs/a0"}, "schema", "subschemas"),
        ({"items": {"enum": [1, *map(str, range(99))]}}, "schema.items", "each element"),
        (
            {"items": {"dependentRequired": {f"p{n}": ["q"] for n in range(99)}}},
            "schema.items",
            "each element",
        ),
        ({"properties": {"a": {"items": {"allOf": MANY}}}}, "schema.properties.a.items", "each element"),
    ],
)
def test_a_schema_that_cannot_be_taken_is_refused_with_its_place(schema: Any, place: str, why: str) -> None:
    with pytest.raises(BadSchema) as refused:
        compile_schema(schema)
    assert refused.value.place.startswith(place)
    assert why in refused.value.detail


SCHEMA = {
    "required": ["amount"],
    "additionalProperties": False,
    "$defs": {"mail": {"type": "string", "format": "email"}},
    "properties": {
        "amount": {"type": "number", "minimum": 0},
        "currency": {"enum": ["EUR", "USD"]},
        "mail": {"$ref": "#/$defs/mail"},
        "items": {"type": "array", "items": {"required": ["sku"], "properties": {"n": {"type": "integer"}}}},
    },
}


@pytest.mark.parametrize(
    "properties, field, group, detail",
    [
        (
            {"amount": 1.5, "currency": "EUR", "mail": "a@example.com", "items": [{"sku": "x", "n": 1}]},
            "",
            "",
            "",
        ),
        ({"amount": "1"}, "properties.amount", "properties.amount", '`amount` is not of type "number".'),
        ({"amount": True}, "properties.amount", "properties.amount", '`amount` is not of type "number".'),
        ({"amount": -1}, "properties.amount", "properties.amount", "`amount` is less than the minimum of 0."),
        ({}, "properties.amount", "properties.amount", "`amount` is required."),
        (
            {"amount": 1, "n": 10**400},
            "properties.n",
            "properties.n",
            "`n` is not allowed",
        ),
        ({"amount": 1, "x": 2}, "properties.x", "properties.x", "`x` is not allowed"),
        (
            {"amount": 1, "currency": "GBP"},
            "properties.currency",
            "properties.currency",
            "`currency` is not one of",
        ),
        ({"amount": 1, "mail": "no"}, "properties.mail", "properties.mail", '`mail` is not a "email".'),
        (
            {"amount": 1, "items": [{"sku": 1}, {"sku": 1, "n": "1"}]},
            "properties.items.1.n",
            "properties.items.*.n",
            '`items.1.n` is not of type "integer".',
        ),
        (
            {"amount": 1, "items": [{}]},
            "properties.items.0.sku",
            "properties.items.*.sku",
            "`items.0.sku` is required.",
        ),
    ],
)
def test_a_violation_names_its_place_in_the_event(
    properties: Any, field: str, group: str, detail: str
) -> None:
    first = Check("order", "warn", 1, json.dumps(SCHEMA).encode()).violation(json.dumps(properties).encode())
    assert (first.field if first else "") == field
    assert (first.group if first else "") == group
    assert (first.detail if first else "").startswith(detail)


def test_of_a_large_value_only_the_beginning_is_told() -> None:
    check = Check("order", "warn", 1, b'{"properties":{"a":{"type":"number"}}}')
    found = check.violation(json.dumps({"a": {f"k{n}": "x" * 100 for n in range(5_000)}}).encode())
    assert found is not None and len(found.value) <= 81 and len(found.detail) <= 301


def test_the_costliest_schema_is_bounded_in_time() -> None:
    costly = {"properties": {"a": {"items": {"allOf": [{"anyOf": [{"minLength": 1}, {"minimum": 1}]}] * 19}}}}
    check = Check("order", "warn", 1, json.dumps(costly).encode())
    assert check.violation(b'{"a":[' + b",".join([b"9"] * 50_000) + b"]}") is None


def test_only_the_first_of_very_many_violations_is_looked_for() -> None:
    check = Check("order", "warn", 1, b'{"properties":{"a":{"items":{"type":"string"}}}}')
    started = time.monotonic()
    assert check.violation(b'{"a":[' + b",".join([b"9"] * 490_000) + b"]}") is not None
    assert time.monotonic() - started < 5  # 0.02 s; all of them took 12


def test_a_schema_of_another_release_lets_everything_pass(caplog: pytest.LogCaptureFixture) -> None:
    assert Check("order", "reject", 1, b'{"type":"strin"}').violation(b"{}") is None
    assert "cannot be compiled" in caplog.text


def test_a_draft_is_followed_by_the_events_it_was_made_of() -> None:
    events: list[Any] = [
        {"amount": n if n % 2 else n + 0.5, "plan": ["free", "pro"][n % 2], "id": f"o-{n}", "tags": ["a"]}
        | ({"coupon": None, "address": {"city": "Bonn"}} if n % 3 else {})
        for n in range(100)
    ]
    made = draft.of_events(events)
    assert made.events == 100
    properties = made.schema["properties"]
    assert properties["plan"] == {"type": "string", "enum": ["free", "pro"]}
    assert properties["amount"] == {"type": "number"} and properties["id"] == {"type": "string"}
    assert properties["address"]["required"] == ["city"]
    assert made.schema["required"] == ["amount", "id", "plan", "tags"]
    check = Check("order", "warn", 1, json.dumps(made.schema).encode())
    assert not any(check.violation(json.dumps(event).encode()) for event in events)


def test_a_draft_of_nothing_asks_for_nothing() -> None:
    assert draft.of_events([]).schema == {"type": "object"}


@pytest.mark.parametrize(
    "before, after, place, old, new",
    [
        ({"type": "object"}, {"type": "object"}, None, None, None),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b", "1", "2"),
        ({"a": 1}, {"a": True}, "a", "1", "true"),
        ({}, {"required": ["a"]}, "required", None, '["a"]'),
        ({"required": ["a"]}, {}, "required", '["a"]', None),
    ],
)
def test_a_difference_says_where(
    before: Any, after: Any, place: str | None, old: str | None, new: str | None
) -> None:
    expected = [{"place": place, "before": old, "after": new}] if place else []
    assert diff(before, after) == expected
