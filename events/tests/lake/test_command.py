"""`manage.py lake` says what it found and did."""

import builtins
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from events.lake.layout import lake_dir
from events.models import Event, Segment
from events.tests.lake.pond import put
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


@pytest.fixture
def project(make_project: Callable[..., Any], seal_all: Callable[[], int]) -> Project:
    project = make_project().project
    put([{"project_id": project.pk, "user_id": name} for name in ("ann", "bob")])
    seal_all()
    return project


def lake(*arguments: object) -> str:
    out = StringIO()
    call_command("lake", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_status_tells_lag_files_and_each_projects_rows(
    project: Project, make_project: Callable[..., Any]
) -> None:
    assert "lag      0.0 s, 0 events" in lake("status")
    other = make_project(name="other").project
    put([{"project_id": other.pk}] * 3)
    told = lake("status")
    assert "3 events are not sealed" in told
    assert "1 shared, 0 of one project, 0 retired" in told
    assert f"project  {project.pk}: 2 rows, of these 0 in 0 files of its own" in told


def test_verify_ends_in_an_error_until_rebuild_has_mended(project: Project) -> None:
    today = datetime.now(UTC).date()
    assert "The lake equals the table." in lake("verify", "--project", project.pk, "--day", today)
    Event.objects.filter(user_id="bob").update(name="other")
    with pytest.raises(CommandError, match="1 days and 0 files"):
        lake("verify")
    told = lake("rebuild")
    assert (
        f"day      project {project.pk}, {today}: 2 rows in the table, 2 in the lake with other contents"
        in told
    )
    assert "2 rows of 1 days were written anew" in told
    assert "The lake equals the table." in lake("verify")
    assert "2 rows of 1 days" in lake("rebuild", "--all")


def test_files_are_given_up_only_by_one_who_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    Event.objects.filter(user_id="bob")._raw_delete("default")
    (lake_dir() / Segment.objects.get().path).unlink()
    monkeypatch.setattr(builtins, "input", lambda _: "")
    with pytest.raises(CommandError, match="Nothing was changed"):
        lake("rebuild")
    told = lake("rebuild", "--yes")
    assert "is missing" in told
    assert f"project {project.pk}: 1 rows are lost" in told
    assert "The lake equals the table." in lake("verify")


def test_a_file_that_is_gone_is_an_error_that_says_what_to_do(project: Project) -> None:
    (lake_dir() / Segment.objects.get().path).unlink()
    with pytest.raises(CommandError, match="lake verify"):
        lake("erase", "--project", project.pk, "--person", "ann", "--yes")


def test_erase_asks_and_proves(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "input", lambda _: "n")
    with pytest.raises(CommandError, match="Nothing was changed"):
        lake("erase", "--project", project.pk, "--person", "ann")
    told = lake("erase", "--project", project.pk, "--person", "ann", "--yes")
    assert "1 rows left the table, 1 the lake; 1 files were written anew, 1 deleted." in told
    assert "Proof: 1 files were read, 0 rows found." in told
    assert list(Event.objects.values_list("user_id", flat=True)) == ["bob"]
