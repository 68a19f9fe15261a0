"""Filters as addresses have them: what they mean, what is said of wrong ones, and that a tree's links mean their leaf."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from events.views.conditions import MAX_LENGTH, condition, of_property
from eventsite.json_tree import Node, tree

UTC = ZoneInfo("UTC")


@pytest.mark.parametrize(
    ("text", "where", "label"),
    [
        ("plan:eq:pro", {"property": ["plan"], "op": "=", "value": "pro"}, "plan = pro"),
        ("plan:ne:", {"property": ["plan"], "op": "!=", "value": ""}, "plan ≠ “”"),
        ("address.city:eq:a:b", {"property": ["address", "city"], "op": "=", "value": "a:b"}, "address.city = a:b"),
        ("@name:in:a, b", {"field": "name", "op": "in", "value": ["a", "b"]}, "name is one of a, b"),
        ('n:in:["a,b",1]', {"property": ["n"], "op": "in", "value": ["a,b", "1"]}, 'n is one of ["a,b",1]'),
        ("@person:eq:12", {"field": "person", "op": "=", "value": "12"}, "person = 12"),
        ("amount:gt:12.5", {"property": ["amount"], "op": ">", "value": 12.5}, "amount > 12.5"),
        ("plan:exists:", {"property": ["plan"], "op": "exists", "value": True}, "plan is present"),
        ("plan:exists:false", {"property": ["plan"], "op": "exists", "value": False}, "plan is absent"),
        ("n:contains:12", {"property": ["n"], "op": "contains", "value": "12"}, "n contains 12"),
        (r"\@name:eq:x", {"property": ["@name"], "op": "=", "value": "x"}, "@name = x"),
        (r"a\.b.c\:d:eq:x", {"property": ["a.b", "c:d"], "op": "=", "value": "x"}, "a.b.c:d = x"),
        (
            "n:eq:7",
            {"or": [{"property": ["n"], "op": "=", "value": 7}, {"property": ["n"], "op": "=", "value": "7"}]},
            "n = 7",
        ),
        (
            '{"or":[{"field":"name","op":"=","value":"a"},{"not":{"property":"b","op":"exists"}}]}',
            {"or": [{"field": "name", "op": "=", "value": "a"}, {"not": {"property": "b", "op": "exists"}}]},
            "name = a or not (b is present)",
        ),
    ],
)  # fmt: skip
def test_what_a_filter_means(text: str, where: dict[str, Any], label: str) -> None:
    found = condition(text, UTC)
    assert (found.error, found.where, found.label) == ("", where, label)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("plan", "Not a filter"),
        ("plan:like:x", "There is no “like”"),
        ("@nobody:eq:x", "There is no field “nobody”"),
        ("@event_id:eq:x", "Not a UUID"),
        ("@occurred_at:gt:soon", "Neither a date"),
        ("n:eq:1e999", "finite"),
        ("a.b.c.d.e.f.g.h.i:eq:1", "Expected"),
        ("{", "Begins as JSON"),
        ('{"and":[{"op":"="}]}', "Give either"),
        ("n:eq:\0", "NUL"),
        ("x" * (MAX_LENGTH + 1), "Longer than"),
    ],
)
def test_a_wrong_one_says_why_and_asks_nothing(text: str, says: str) -> None:
    found = condition(text, UTC)
    assert found.where is None
    assert says in found.error


def test_the_links_of_a_tree_are_filters_for_their_leaves() -> None:
    value = {
        "plan": "pro",
        "a.b": {"c:d": 1.5},
        "@at": True,
        "{x": "y:z",
        "back\\slash": "",
        "": 0,
        "list": [{"n": 7}],
    }
    leaves = list(_leaves(tree(value)))
    assert len(leaves) == len(value)
    for leaf in leaves:
        found = condition(leaf.filter, UTC)
        assert found.error == "", leaf.filter
        held: Any = value
        for key in found.keys:
            held = held[int(key)] if isinstance(held, list) else held[key]
        assert found.value in (held, str(held), str(held).lower())


def test_a_leaf_that_no_filter_reaches_offers_none() -> None:
    deep: Any = 1
    for _ in range(9):
        deep = {"a": deep}
    assert [leaf.filter for leaf in _leaves(tree({"deep": deep, "no": None, "long": "x" * 2_000}))] == [
        "",
        "",
        "",
    ]


def test_a_group_of_an_answer_is_a_filter_too() -> None:
    assert condition(of_property("a.b", "x"), UTC).keys == ("a.b",)
    assert condition(of_property("plan", None), UTC).where == {
        "property": ["plan"],
        "op": "exists",
        "value": False,
    }


def _leaves(node: Node) -> Any:
    if node.children is None:
        yield node
    for child in node.children or ():
        yield from _leaves(child)
