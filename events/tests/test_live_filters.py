"""What a reader of live events asks for, and which events that is."""

import json
from typing import Any

import msgspec
import pytest
from django.db import connection

from events.live import filters
from events.live.entry import Cursor, Entry
from events.live.filters import BadFilter, Filter


def entry(*carried: dict[str, Any], named: dict[str, int] | None = None, count: int | None = None) -> Entry:
    events = [
        {"id": str(place), "occurred_at": "", "received_at": "", "name": "a"} | event
        for place, event in enumerate(carried)
    ]
    if named is None:
        named = {}
        for event in events:
            named[event["name"]] = named.get(event["name"], 0) + 1
    count = sum(named.values()) if count is None else count
    return Entry(Cursor(1, count), count, 0, 0, named, json.dumps(events).encode())


def matched(query: list[tuple[str, str]], of: Entry) -> tuple[list[str], int, int]:
    found = filters.read(query).match(of)
    return [json.loads(text)["id"] for text in found.texts], found.of, found.unchecked


def test_without_a_filter_everything_is_counted() -> None:
    assert matched([], entry({}, {}, named={"a": 900}, count=1000)) == (["0", "1"], 1000, 0)


def test_names_are_counted_right_though_few_are_carried() -> None:
    few = entry({"name": "a"}, {"name": "b"}, named={"a": 900, "b": 70, "c": 30})
    assert matched([("name", "a"), ("name", "c"), ("name", "never")], few) == (["0"], 930, 0)


def test_a_name_among_too_many_is_counted_as_far_as_it_is_carried() -> None:
    many = entry({"name": "rare"}, {"name": "rarer"}, named={"a": 900}, count=1000)
    assert matched([("name", "rare")], many) == (["0"], 1, 99)
    assert matched([("name", "a")], many) == ([], 900, 0)


@pytest.mark.parametrize(
    ("event", "is_his"),
    [
        ({"user_id": "u-1"}, True),
        ({"user_id": "u-1", "anonymous_id": "x"}, True),
        ({"anonymous_id": "u-1"}, True),
        ({"user_id": "u-2", "anonymous_id": "u-1"}, False),
        ({}, False),
    ],
)
def test_a_person(event: dict[str, Any], is_his: bool) -> None:
    assert matched([("person", "u-1")], entry(event)) == (["0"] if is_his else [], int(is_his), 0)


def test_of_events_that_are_only_counted_a_person_is_not_known() -> None:
    assert matched([("person", "u-1")], entry({"user_id": "u-1"}, named={"a": 10})) == (["0"], 1, 9)
    both = [("person", "u-1"), ("name", "a")]
    assert matched(both, entry({"user_id": "u-1"}, named={"a": 10, "b": 5})) == (["0"], 1, 9)


@pytest.mark.parametrize(
    ("properties", "query", "holds"),
    [
        ({"plan": "pro"}, {"plan": "pro"}, True),
        ({"plan": "Pro"}, {"plan": "pro"}, False),
        ({"plan": None}, {"plan": "null"}, False),
        ({"plan": ""}, {"plan": ""}, True),
        ({}, {"plan": ""}, False),
        ({"ok": True}, {"ok": "true"}, True),
        ({"n": 1.5}, {"n": "1.5"}, True),
        ({"a.b c": "x"}, {"a.b c": "x"}, True),
        ({"a": {"b": 1}}, {"a.b": "1"}, False),
        ({"plan": "pro", "n": 1}, {"plan": "pro", "n": "2"}, False),
        ({"é": "\u2028\n"}, {"é": "\u2028\n"}, True),
    ],
)
def test_properties_are_compared_as_texts(
    properties: dict[str, Any], query: dict[str, str], holds: bool
) -> None:
    asked = [(f"property.{name}", text) for name, text in query.items()]
    assert matched(asked, entry({"properties": properties})) == (["0"] if holds else [], int(holds), 0)


def test_what_was_cut_away_is_not_known() -> None:
    cut = {"properties": {"plan": "pro"}, "cut": ["properties"]}
    assert matched([("property.plan", "pro")], entry(cut)) == (["0"], 1, 0)
    assert matched([("property.plan", "free")], entry(cut)) == ([], 0, 0)
    assert matched([("property.note", "x")], entry(cut)) == ([], 0, 1)


@pytest.mark.parametrize(
    "number", ["1", "1.50", "-0", "0.0", "-0.0", "1e2", "1.5E+3", "1e-7", "12345678901234567890.5", "1E300"]
)
def test_numbers_have_the_text_that_postgresql_gives_them(number: str, db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT jsonb_build_object('n', %s::jsonb) ->> 'n'", [number])
        assert filters.text_of(msgspec.Raw(number.encode())) == cursor.fetchone()[0]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ([("names", "a")], "names"),
        ([("property.", "a")], "property."),
        ([("person", "a"), ("person", "b")], "person"),
        ([("name", "x" * 1_001)], "name"),
        ([("name", str(number)) for number in range(51)], "name"),
    ],
)
def test_what_is_no_filter_is_refused_by_its_name(query: list[tuple[str, str]], field: str) -> None:
    with pytest.raises(BadFilter) as refused:
        filters.read(query)
    assert refused.value.field == field


def test_a_key_and_a_place_are_no_filters() -> None:
    assert filters.read([("key", "es_r_x"), ("last_event_id", "1-2")]) == Filter()
