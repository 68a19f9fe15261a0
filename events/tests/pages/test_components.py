"""The components, each with what its head says it takes; tags and filters by their cases."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.template import engines
from django.template.loader import render_to_string
from django.test import RequestFactory

from eventsite.json_tree import MAX_NODES, tree
from eventsite.templatetags import pages as tags


def render(text: str, path: str = "/projects/1/events?period=24h&f=plan:eq:pro", **context) -> str:
    template = engines["django"].from_string("{% load pages %}" + text)
    return on_one_line(template.render(context, RequestFactory().get(path)))


def on_one_line(html: str) -> str:
    """Where templates break their lines says nothing."""
    return re.sub(r"\s+", " ", html)


@pytest.mark.parametrize(
    ("value", "compact", "number"),
    [
        (None, "–", "–"), (0, "0", "0"), (9_999, "9,999", "9,999"), (48_210_332, "48.2 M", "48,210,332"),
        (0.125, "0.125", "0"), (1.5e12, "1.5 T", "1,500,000,000,000"), (-12_345, "-12.3 k", "-12,345"),
    ],
)  # fmt: skip
def test_numbers(value: float | None, compact: str, number: str) -> None:
    assert (tags.compact(value), tags.number(value)) == (compact, number)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0 µs"),
        (0.00084, "840 µs"),
        (0.0123, "12.3 ms"),
        (1.84, "1.84 s"),
        (240, "4 min"),
        (90_000, "1 d"),
    ],
)
def test_durations(value: float | None, text: str) -> None:
    assert tags.seconds(value) == text


def test_sizes() -> None:
    assert [tags.size(value) for value in (None, 0, 812, 16_100_000)] == ["–", "0 B", "812 B", "16.1 MB"]


def test_a_time_has_both_forms_and_its_zone() -> None:
    moment = datetime.now(UTC) - timedelta(minutes=4, seconds=1)
    html = render("{% when moment %}", moment=moment)
    assert ">4 min ago</time>" in html
    assert f'title="{moment:%Y-%m-%d %H:%M:%S}' in html
    assert " UTC" in html
    assert render("{% when moment %}", moment=None) == "–"


def test_an_address_keeps_the_rest() -> None:
    assert render('{% query period="7d" cursor=None %}') == "?f=plan%3Aeq%3Apro&amp;period=7d"
    assert render("{% query period=None %}", path="/x?period=7d") == "/x"


def test_a_sparkline_stays_inside_and_takes_any_numbers() -> None:
    for values in ([], [0], [0, 0, 0], [1, 1e12, -5]):
        html = tags.spark(values)
        heights = [float(y) for y in re.findall(r",(-?[\d.]+)", html)]
        assert all(0 <= height <= tags.SPARK_HEIGHT for height in heights)


def test_a_card_holds_what_stands_in_it() -> None:
    html = render(
        '{% card title=title action="All" url="/all" width="w6" %}<p>in</p>{% endcard %}', title="A <b>"
    )
    assert '<section class="card w6">' in html
    assert "A &lt;b&gt;" in html
    assert '<div class="body"><p>in</p></div>' in html


def test_a_tree_tells_kinds_marks_paths_and_offers_filters() -> None:
    root = tree(
        {"plan": "<b>", "amount": 12.5, "on": True, "no": None, "list": [1, {"a": 1}]}, marked=["amount"]
    )
    html = on_one_line(render_to_string("_json_tree.html", {"node": root, "filter": "?f="}))
    assert "&quot;&lt;b&gt;&quot;" in html
    assert 'class="leaf marked" data-path="amount"' in html
    assert 'href="?f=amount%3Aeq%3A12.5"' in html
    assert 'data-path="list.1.a"' in html


def test_a_tree_is_bounded_whatever_was_sent() -> None:
    html = render_to_string(
        "_json_tree.html", {"node": tree({"list": list(range(10 * MAX_NODES)), "text": "x" * 1_000_000})}
    )
    assert "more than is shown here" in html
    assert len(html) < 400_000


@pytest.mark.parametrize(
    ("name", "context", "says"),
    [
        ("_stat", {"label": "Events", "value": "8,412", "change": "12 %", "change_tone": "bad", "change_up": True,
            "url": "?m=events", "is_current": True, "values": [1, 2]}, "▲ 12 %"),
        ("_data_bar", {"percent": 40}, 'width="40"'),
        ("_progress", {"label": "Sent", "value": 21, "max": 23, "text": "21 of 23"}, "91.3 per cent"),
        ("_tag", {"text": "works", "tone": "good", "icon": "check"}, "tag good"),
        ("_empty", {"text": "Nothing here.", "action": "Widen", "url": "?period=7d"}, "Widen"),
        ("_error", {"title": "Too large", "text": "Narrow it.", "retry": "/x", "target": "#view"}, 'hx-target="#view"'),
        ("_skeleton", {"lines": "xx"}, "Loading"),
        ("_copy", {"target": "id", "label": "the id"}, 'data-copy="id"'),
        ("_filter_chip", {"text": "plan = pro", "remove": "?", "error": "no such"}, "chip bad"),
        ("_data_table", {"caption": "All", "columns": [{"label": "Name", "kind": ""}, {"label": "n", "kind": "num"}],
            "rows": [["a", 1]]}, '<td class="num">1</td>'),
        ("_confirm", {"title": "Discard?", "text": "Gone then.", "action": "/x", "button": "Discard", "back": "/y"}, "Discard"),
        ("_count", {"count": 1000}, "999+"),
    ],
)  # fmt: skip
def test_each_component_takes_what_it_says(name: str, context: dict, says: str) -> None:
    assert says in on_one_line(render_to_string(f"{name}.html", context))


def test_the_period_picker_keeps_filters_and_marks_the_period() -> None:
    text = '{% include "_period_picker.html" with choices=choices period="24h" earlier="?e" hx=True %}'
    html = render(text, choices=[("1h", "1 h"), ("24h", "24 h")])
    assert 'href="?f=plan%3Aeq%3Apro&amp;period=24h" aria-current="true"' in html
    assert '<input type="hidden" name="f" value="plan:eq:pro">' in html
    assert 'data-key="["' in html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("`amount` is not of type `number`.", "<code>amount</code> is not of type <code>number</code>."),
        ("no marks", "no marks"),
        ("one ` alone", "one ` alone"),
        ("`<b>` & `c", "<code>&lt;b&gt;</code> &amp; `c"),
        ("``", "``"),
        ("", ""),
    ],
)
def test_what_stands_between_backticks_is_code(text: str, html: str) -> None:
    assert tags.marked(text) == html
