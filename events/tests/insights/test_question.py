"""Questions that are not right are refused before anything is read, with the field named."""

from typing import Any

import pytest

from events.insights.ask import ask
from events.insights.errors import BadQuestion
from events.insights.kinds import KINDS
from projects.models import Project

BAD: list[tuple[Any, str]] = [
    ([], "body"),
    ("trend", "body"),
    ({"names": "x"}, "names"),
    ({"time_zone": "Mars/Olympus"}, "time_zone"),
    ({"time_zone": "localtime"}, "time_zone"),
    ({"time_zone": "../../etc/passwd"}, "time_zone"),
    ({"period": "7d"}, "period"),
    ({"period": {"since": "x"}}, "period.since"),
    ({"period": {"from": "2026-02-01", "until": "2026-01-01"}}, "period"),
    ({"period": {"last": "7d"}, "interval": "minute"}, "interval"),
    ({"interval": "fortnight"}, "interval"),
    ({"name": 7}, "name"),
    ({"name": []}, "name"),
    ({"name": "x" * 1_001}, "name"),
    ({"name": "\0"}, "name"),
    ({"measure": {"kind": "median"}}, "measure.kind"),
    ({"measure": {"kind": "sum"}}, "measure.property"),
    ({"measure": {"kind": "count", "property": "x"}}, "measure.property"),
    ({"series": []}, "series"),
    ({"series": [{}] * 11}, "series"),
    ({"series": [{}], "name": "x"}, "series"),
    ({"series": [{}, {"measure": {"kind": "p95"}}]}, "series[1].measure.property"),
    ({"series": [{"measure": {"kind": "sum", "property": ["x", 1]}}]}, "series[0].measure.property[1]"),
    ({"series": [{}, {"where": {"not": {"op": "="}}}]}, "series[1].where.not"),
    ({"where": {"or": [{"property": "x", "op": "regex", "value": "(a*)*b"}]}}, "where.or[0].op"),
    ({"breakdown": {}}, "breakdown"),
    ({"breakdown": {"property": "x", "field": "name"}}, "breakdown"),
    ({"breakdown": {"property": "x", "limit": 51}}, "breakdown.limit"),
    ({"breakdown": {"field": "properties"}}, "breakdown.field"),
    ({"compare": "next"}, "compare"),
    (
        {"period": {"from": "1970-02-01", "until": "1999-01-01"}, "interval": None, "compare": "previous"},
        "compare",
    ),
    ({"ratio": [0, 1]}, "ratio[1]"),
    ({"ratio": [-1, 0]}, "ratio[0]"),
    ({"ratio": [0]}, "ratio"),
    (
        {
            "breakdown": {"property": "x", "limit": 50},
            "interval": "hour",
            "period": {"last": "40d"},
            "series": [{}] * 3,
        },
        "interval",
    ),
]


@pytest.mark.parametrize(("sent", "field"), BAD)
def test_a_bad_question_names_its_field(sent: Any, field: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        ask(Project(pk=1, time_zone="UTC"), KINDS["trends"], sent)
    assert refused.value.field == field
    assert refused.value.message
