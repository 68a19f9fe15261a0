"""The lake is read by others as its documentation says: its own code is run here."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings

from events.lake import manifest
from events.lake.layout import lake_dir
from events.models import Segment
from events.tests.lake.pond import put
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]

NOW = datetime.now(UTC)


def documented(engine: str, project: Project) -> str:
    """The code of docs/lake.md for an engine, after the lines that are the same for all; its lake is this one."""
    text = (settings.BASE_DIR / "docs" / "lake.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (first,) = (block for block in blocks if "manifest.json" in block)
    (code,) = (block for block in blocks if f"import {engine}" in block)
    here = first.replace('Path("var/lake"), 7', f'Path("{lake_dir()}"), {project.pk}')
    assert here != first
    return here + code


@pytest.fixture
def projects(
    make_project: Callable[..., Any], seal_all: Callable[[], int], merge_all: Callable[..., list[str]]
) -> list[Project]:
    """Two projects' events, some in files of their own with columns, some in shared ones."""
    projects = [make_project(name=name).project for name in ("one", "two")]
    for part in range(3):
        put(
            {
                "project_id": projects[n % 2].pk,
                "name": "bought" if n % 3 else "looked",
                "user_id": None if n % 7 == 0 else f"u{n % 40}",
                "anonymous_id": f"a{n % 5}" if n % 11 else None,
                "occurred_at": NOW - timedelta(days=part, seconds=n),
                "properties": {"plan": "pro"} | ({"amount": n / 4} if n % 5 else {"amount": None}),
            }
            for n in range(200)
        )
        seal_all()
        if part == 1:
            merge_all(NOW + timedelta(days=3))
    manifest.write_all()
    return projects


def expected(project: Project) -> tuple[int, int, float]:
    from events.models import Event

    rows = list(Event.objects.filter(project=project))
    persons = {row.user_id if row.user_id is not None else row.anonymous_id for row in rows} - {None}
    return len(rows), len(persons), math.fsum(row.properties.get("amount") or 0 for row in rows)


def test_polars_gets_our_numbers_through_the_manifest(projects: list[Project]) -> None:
    assert {segment.project_id is None for segment in Segment.objects.filter(retired_at=None)} == {
        True,
        False,
    }
    for project in projects:
        found: dict[str, Any] = {}
        exec(documented("polars", project), found)  # noqa: S102  our own document
        ((rows, persons, amount),) = found["counted"].rows()
        assert (rows, persons, pytest.approx(amount)) == expected(project)


def test_duckdb_does_too(projects: list[Project], capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = {}
    exec(documented("duckdb", projects[1]), found)  # noqa: S102
    events, rows = found["events"], expected(projects[1])
    asked = f"count(*), count(DISTINCT person_h), sum({found['amount']})"
    assert events.aggregate(asked).fetchall() == [pytest.approx(rows)]
    assert "bought" in capsys.readouterr().out
