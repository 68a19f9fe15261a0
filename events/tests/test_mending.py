"""Mending rules: what each step does, that all else stays as it was sent, and what is no rule."""

import json
from typing import Any

import pytest

from events import mending


def mended(event: str, *steps: dict[str, Any]) -> str:
    return mending.mend(event.encode(), mending.read(list(steps))).decode()


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        ({"path": "a", "do": "to_number"}, '{"a":" +12.50 "}', '{"a":12.50}'),
        ({"path": "a", "do": "to_number"}, '{"a":7}', '{"a":7}'),
        ({"path": "a", "do": "to_number"}, '{"a":null}', '{"a":null}'),
        ({"path": "a", "do": "to_number"}, "{}", "{}"),
        ({"path": "a", "do": "to_text"}, '{"a":1.10}', '{"a":"1.10"}'),
        ({"path": "a", "do": "to_text"}, '{"a":true}', '{"a":"true"}'),
        ({"path": "a", "do": "to_text"}, '{"a":{"b":[1]}}', '{"a":"{\\"b\\":[1]}"}'),
        ({"path": "a", "do": "to_text"}, '{"a":"x"}', '{"a":"x"}'),
        ({"path": "a", "do": "remove"}, '{"a":1,"b":2}', '{"b":2}'),
        ({"path": "a", "do": "rename", "to": "z"}, '{"a":1,"b":2}', '{"z":1,"b":2}'),
        ({"path": "a", "do": "set", "value": {"n": [1.10]}}, '{"a":1}', '{"a":{"n":[1.1]}}'),
        ({"path": "p.a", "do": "set", "value": None}, "{}", '{"p":{"a":null}}'),
        ({"path": "a", "do": "truncate", "n": 2}, '{"a":"äöü"}', '{"a":"äö"}'),
        ({"path": "a", "do": "truncate", "n": 2}, '{"a":12345}', '{"a":12345}'),
        ({"path": "a", "do": "default", "value": 0}, "{}", '{"a":0}'),
        ({"path": "a", "do": "default", "value": 0}, '{"a":null}', '{"a":0}'),
        ({"path": "a", "do": "default", "value": 0}, '{"a":1}', '{"a":1}'),
        ({"path": "p.items.*.price", "do": "to_number"}, '{"p":{"items":[{"price":"1"},{},{"price":"2"}]}}',
         '{"p":{"items":[{"price":1},{},{"price":2}]}}'),
        ({"path": "p.1", "do": "to_number"}, '{"p":["1","2"]}', '{"p":["1",2]}'),
        ({"path": "p.9", "do": "to_number"}, '{"p":["1"]}', '{"p":["1"]}'),
        ({"path": "p.a.b", "do": "remove"}, '{"p":5}', '{"p":5}'),
    ],
)  # fmt: skip
def test_a_step_changes_its_place_and_nothing_else(step: dict[str, Any], before: str, after: str) -> None:
    assert mended(before, step) == after


def test_steps_go_one_after_another_and_numbers_keep_their_digits() -> None:
    event = '{"n":12345678901234567890.10,"p":{"amount":"3"}}'
    steps = [
        {"path": "p.amount", "do": "to_number"},
        {"path": "p.amount", "do": "rename", "to": "total"},
    ]
    assert mended(event, *steps) == '{"n":12345678901234567890.10,"p":{"total":3}}'


@pytest.mark.parametrize(
    ("step", "event", "why"),
    [
        ({"path": "a", "do": "to_number"}, '{"a":"12,50"}', "'12,50' is not a number"),
        ({"path": "a", "do": "to_number"}, '{"a":"NaN"}', "is not a number"),
        ({"path": "a", "do": "to_number"}, '{"a":"1_000"}', "is not a number"),
        ({"path": "a", "do": "to_number"}, '{"a":[1]}', "neither text nor a number"),
        ({"path": "a", "do": "rename", "to": "b"}, '{"a":1,"b":2}', "a field 'b' already"),
        ({"path": "a.0", "do": "remove"}, '{"a":[1]}', "not for an element"),
        ({"path": "a", "do": "remove"}, "{broken", "no JSON object"),
    ],
)
def test_what_does_not_fit_is_said_with_its_path(step: dict[str, Any], event: str, why: str) -> None:
    with pytest.raises(mending.CannotMend, match=why) as raised:
        mended(event, step)
    assert raised.value.path == step["path"]


@pytest.mark.parametrize(
    "rule",
    [
        [], "", "nothing", 5, None, [{}], [{"path": "a"}], [{"path": "a", "do": "explode"}], [{"path": "", "do": "remove"}],
        [{"path": "a..b", "do": "remove"}], [{"path": "a", "do": "rename"}], [{"path": "a", "do": "truncate", "n": 0}],
        [{"path": "a", "do": "set"}], [{"path": "id", "do": "remove"}], [{"path": "a", "do": "rename", "to": "id"}],
        [{"path": "a", "do": "remove", "more": 1}], [{"path": "a", "do": "remove"}] * 21, [{"path": "a\0", "do": "remove"}],
        [{"path": "a", "do": "set", "value": {"k": ["\0"]}}], '[{"path": "a", "do": "set", "value": 1e400}]',
        '[{"path": "a", "do": "set", "value": "\\ud800"}]', [{"path": "\ud800", "do": "remove"}],
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused(rule: Any) -> None:
    with pytest.raises(mending.BadRule):
        mending.read(rule)


def test_a_rule_is_kept_as_plain_json_and_read_again() -> None:
    steps = [{"path": "a", "do": "set", "value": {"n": None}}, {"path": "b", "do": "truncate", "n": 3}]
    rule = mending.read(json.dumps(steps))
    assert mending.plain(rule) == steps
    assert mending.plain(mending.read(mending.plain(rule))) == steps
