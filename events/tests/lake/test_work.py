"""The worker: seals, merges, keeps the manifests, and comes again after whatever fails."""

import os
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.db import connection
from django.test import Client

from events import buffer
from events.lake import plan, work
from events.lake.layout import lake_dir, manifest_path
from events.lake.seal import Sealed
from events.lake.work import ALARM, LATE_ALARM, Worker
from events.models import Batch, Segment
from events.tests.conftest import queue
from events.tests.lake.pond import in_lake, in_table, put
from eventsite.pytest_services import Services
from tasks.lake import ring

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tables")]


@pytest.fixture
def project_id(make_project: Callable[..., Any]) -> int:
    key: int = make_project().project.pk
    return key


def test_one_run_seals_merges_and_writes_the_manifest(project_id: int, valkey: redis.Redis) -> None:
    worker = Worker()
    for n in range(plan.FAN_IN):
        put([{"project_id": project_id}])
        worker.look_at = 0.0
        assert worker.run(valkey) == {"sealed": 1, "merged": int(n == plan.FAN_IN - 1)}
    assert Segment.objects.filter(retired_at=None).count() == 1
    assert (lake_dir() / manifest_path(project_id)).exists()
    assert in_lake() == in_table()
    assert buffer.alarms(valkey) == {}


def test_while_much_comes_merging_waits_but_not_for_ever(
    project_id: int, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "BUSY_ROWS", 1)
    monkeypatch.setattr(work, "PUT_OFF_FILES", plan.FAN_IN + 1)
    worker = Worker()
    merged = []
    for _ in range(plan.FAN_IN + 1):
        put([{"project_id": project_id}])
        worker.look_at = 0.0
        merged.append(worker.run(valkey)["merged"])
    assert merged == [*[0] * plan.FAN_IN, 1]
    assert in_lake() == in_table()


def test_merging_waits_while_the_store_is_behind(
    project_id: int, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "BUSY_ROWS", 50)
    queue(valkey, [{"name": "a"}] * 50, project_id=project_id)
    worker = Worker()
    for _ in range(plan.FAN_IN):
        put([{"project_id": project_id}])
        assert worker.run(valkey)["merged"] == 0
    valkey.flushdb()
    worker.look_at = 0.0
    assert worker.run(valkey)["merged"] == 1


def test_a_disk_that_cannot_be_written_alarms_and_heals(
    project_id: int, valkey: redis.Redis, settings: Any
) -> None:
    worker, right = Worker(), lake_dir()
    put([{"project_id": project_id}])
    settings.EVENTS_LAKE_DIR = right.with_name("no-folder")
    settings.EVENTS_LAKE_DIR.write_text("a file stands where the folder ought to")
    assert worker.run(valkey)["sealed"] == 0
    assert "events wait in PostgreSQL" in buffer.alarms(valkey)[ALARM]
    os.unlink(settings.EVENTS_LAKE_DIR)
    assert worker.run(valkey)["sealed"] == 1
    assert buffer.alarms(valkey) == {}


def test_a_database_that_is_away_is_waited_for(
    project_id: int, valkey: redis.Redis, services: Services
) -> None:
    worker = Worker()
    put([{"project_id": project_id}])
    services.postgres.stop()
    assert worker.run(valkey) == {"sealed": 0, "merged": 0}
    services.postgres.start()
    assert worker.run(valkey)["sealed"] == 1


def test_a_lake_that_is_late_alarms(
    project_id: int, valkey: redis.Redis, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    put([{"project_id": project_id}])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE events_batch SET stored_at = now() - interval '90 seconds'")
    shown = client.get("/metrics").content.decode()
    assert "eventsite_lake_unsealed_events 1.0" in shown
    assert "eventsite_lake_lag_seconds 9" in shown
    worker = Worker()
    # As while another writer has the lake.
    monkeypatch.setattr(work, "seal", lambda: Sealed(busy=True))
    worker.run(valkey)
    assert buffer.alarms(valkey)[LATE_ALARM].startswith("Events are in the lake 9")
    monkeypatch.undo()
    worker.run(valkey)
    assert buffer.alarms(valkey) == {}
    assert 'eventsite_lake_segments{kind="shared"} 1.0' in client.get("/metrics").content.decode()


def test_segments_that_cannot_be_merged_are_left_alone_for_a_while(
    project_id: int, valkey: redis.Redis
) -> None:
    worker = Worker()
    for _ in range(plan.FAN_IN):
        put([{"project_id": project_id}])
        worker.look_at = 1e12
        worker.run(valkey)
    for segment in Segment.objects.all():
        (lake_dir() / segment.path).chmod(0o600)
        (lake_dir() / segment.path).write_bytes(b"nothing that can be read")
    worker.look_at = 0.0
    worker.run(valkey)
    assert set(worker.failed) == set(Segment.objects.values_list("id", flat=True))
    assert "cannot be merged" in buffer.alarms(valkey)[ALARM]
    put([{"project_id": project_id}])
    assert worker.run(valkey) == {"sealed": 1, "merged": 0}
    assert Batch.objects.filter(seal=None).count() == 0


def test_liveness_says_whether_the_worker_comes_by(valkey: redis.Redis, client: Client) -> None:
    assert client.get("/livez/lake").status_code == 503
    Worker().run(valkey)
    assert client.get("/livez/lake").status_code == 200
    valkey.set(buffer.LAKE_PROGRESS, valkey.time()[0] - 1_000)
    assert client.get("/livez/lake").json()["status"] == "stalled"


def test_a_worker_that_is_away_finds_one_message_and_not_thousands(valkey: redis.Redis) -> None:
    for _ in range(5):
        ring()
    assert valkey.llen("lake") == 1
