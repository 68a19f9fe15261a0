"""A deleted project's data goes in small batches, and the project last."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.utils import timezone

from events import deletion
from events.drain import drain
from events.models import Event, Ledger
from events.tests.conftest import queue
from events.tick import tick
from projects import services
from projects.models import Project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


def delete_long_ago(project: Project) -> None:
    services.delete_project(project)
    Project.objects.filter(pk=project.pk).update(deleted_at=timezone.now() - timedelta(minutes=2))


def test_only_the_deleted_projects_rows_go(
    valkey: redis.Redis, make_project: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = make_project(name="gone").project, make_project(name="kept").project
    for project in (gone, kept):
        queue(valkey, [{"name": "a"}] * 25, project_id=project.pk)
        drain(valkey, 0)
    tick(valkey)
    monkeypatch.setattr(deletion, "CHUNK", 10)
    delete_long_ago(gone)
    assert deletion.delete_some(valkey) == 26  # 25 events and an hour of the ledger
    assert list(Project.objects.all()) == [kept]
    assert set(Event.objects.values_list("project_id", flat=True)) == {kept.pk}
    assert set(Ledger.objects.values_list("project_id", flat=True)) == {kept.pk}


def test_a_run_is_bounded(
    valkey: redis.Redis, make_project: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project().project
    queue(valkey, [{"name": "a"}] * 35, project_id=project.pk)
    drain(valkey, 0)
    monkeypatch.setattr(deletion, "CHUNK", 10)
    monkeypatch.setattr(deletion, "CHUNKS_A_RUN", 2)
    delete_long_ago(project)
    assert deletion.delete_some(valkey) == 20
    assert Project.objects.filter(pk=project.pk).exists()


def test_a_project_stays_while_events_of_it_may_still_come(
    valkey: redis.Redis, make_project: Callable[..., Any]
) -> None:
    queued, recent = make_project(name="queued").project, make_project(name="recent").project
    queue(valkey, [{"name": "a"}], project_id=queued.pk)
    delete_long_ago(queued)
    services.delete_project(recent)
    deletion.delete_some(valkey)
    assert Project.objects.count() == 2
    drain(valkey, 0)
    assert deletion.delete_some(valkey) == 2  # the event and its hour of the ledger
    assert [project.name for project in Project.objects.all()] == ["recent"]
