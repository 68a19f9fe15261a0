"""Metrics: declared in one place, shared by processes, read within their time, and shown to whom they concern."""

import ast
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.db import connection
from django.test import Client

from events import buffer
from events.tests.conftest import queue
from eventsite import metrics
from eventsite.pytest_services import Services

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("eventsite", "events", "projects", "tasks")
SOURCES = [
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "tests" not in path.parts
]
COUNT = """
import sys, django; django.setup()
from eventsite import metrics
metrics.share(name=sys.argv[1] or None)
metrics.BATCHES.labels("of_a_test").inc(int(sys.argv[2]))
"""


def shown(text: str) -> dict[str, float]:
    """Returns the samples of an exposition, by name and labels as they are written."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture
def read(client: Client) -> Callable[..., dict[str, float]]:
    def read() -> dict[str, float]:
        started = time.monotonic()
        response = client.get("/metrics")
        assert response.status_code == 200
        assert time.monotonic() - started < 4
        return shown(response.content.decode())

    return read


# --- declared in one place -------------------------------------------------------------------------------------------


def test_no_metric_is_declared_elsewhere() -> None:
    importing = [path.name for path in SOURCES if re.search(r"\bprometheus_client\b", path.read_text())]
    assert importing == ["metrics.py"]


def test_every_metric_that_is_used_is_declared_and_every_one_declared_is_used() -> None:
    used = {
        node.attr
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "metrics" and node.attr.isupper()
    } - {"CONTENT_TYPE"}
    declared = {
        name
        for name, value in vars(metrics).items()
        if isinstance(value, metrics.Counter | metrics.Histogram)
    }
    assert used == declared


def test_a_reading_that_is_not_declared_is_an_error() -> None:
    with pytest.raises(KeyError):
        metrics.exposition({("eventsite_unheard_of", ()): 1})


def test_every_declared_reading_is_shown(
    read: Callable[..., dict[str, float]], valkey: redis.Redis, transactional_db: None
) -> None:
    buffer.note_tick(valkey)
    queue(valkey, [{"name": "a"}])
    buffer.ack(valkey, 0, [], events=0)
    buffer.set_alarm(valkey, "partitions", "rows")
    names = {name.partition("{")[0] for name in read()}
    assert set(metrics.GAUGES) | {f"{name}_total" for name in metrics.COUNTERS} <= names


# --- what processes count --------------------------------------------------------------------------------------------


def test_the_figures_of_all_processes_are_added_up_and_outlive_them(tmp_path: Path) -> None:
    env = {
        "EVENTSITE_VAR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "eventsite.settings",
        "PYTHONPATH": str(ROOT),
    }
    for name, count in [
        ("drain-0", "1"),
        ("drain-0", "2"),
        ("", "4"),
    ]:  # the second goes on in the first's file
        subprocess.run([sys.executable, "-c", COUNT, name, count], env=env, check=True)
    show = "import django; django.setup()\nfrom eventsite import metrics\nmetrics.share()\n"
    show += "print(metrics.exposition({}).decode())"
    told = subprocess.run([sys.executable, "-c", show], env=env, check=True, capture_output=True, text=True)
    assert shown(told.stdout)['eventsite_drain_runs_total{outcome="of_a_test"}'] == 7
    files = list((tmp_path / "run" / "metrics").iterdir())
    assert len([file for file in files if file.name.startswith("counter_")]) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_directory_that_cannot_be_used_costs_figures_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no directory")
    env = {
        "EVENTSITE_VAR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "eventsite.settings",
        "PYTHONPATH": str(ROOT),
    }
    told = subprocess.run(
        [sys.executable, "-c", COUNT, "", "1"], env=env, check=True, capture_output=True, text=True
    )
    assert "not in /metrics" in told.stderr


# --- what is read ----------------------------------------------------------------------------------------------------


def test_the_queue_is_shown_as_it_stands(
    read: Callable[..., dict[str, float]], valkey: redis.Redis, db: None
) -> None:
    queue(valkey, [{"name": "a"}] * 3)
    buffer.pause(valkey, "looking at something")
    buffer.hold(valkey, 1, seconds=None)
    found = read()
    assert (found["eventsite_queue_events"], found["eventsite_queue_accepted_events"]) == (3, 3)
    assert found["eventsite_queue_bytes"] == buffer.depth(valkey).bytes
    assert found["eventsite_queue_max_events"] == settings.EVENTS_QUEUE_MAX_EVENTS
    assert (found["eventsite_drain_paused"], found["eventsite_drain_held_slots"]) == (1, 1)
    assert 0 <= found["eventsite_queue_oldest_seconds"] < 10


def test_a_ledger_that_does_not_balance_names_project_and_hour(
    read: Callable[..., dict[str, float]], valkey: redis.Redis, db: None
) -> None:
    assert read()["eventsite_ledger_difference"] == 0
    buffer.keep_unbalanced(valkey, {"7 2026-01-05T10:00Z": -2})
    buffer.set_alarm(valkey, "ledger", "project 7")
    found = read()
    assert found['eventsite_ledger_difference{hour="2026-01-05T10:00Z",project="7"}'] == -2
    assert found['eventsite_alarm{name="ledger"}'] == 1


def test_rows_in_the_default_partition_are_counted(
    read: Callable[..., dict[str, float]], valkey: redis.Redis, transactional_db: None
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_event (project_id, event_id, name, occurred_at, received_at, stored_at, properties,"
            " context, batch_id) SELECT 1, gen_random_uuid(), 'a', now(), '2001-01-01', now(), '{}', '{}', 1"
        )
        found = read()
        cursor.execute("TRUNCATE events_event")
    assert found["eventsite_default_partition_rows"] == 1


@pytest.mark.parametrize("how", ["stop", "freeze"])
def test_what_valkey_knows_is_absent_while_it_is_away(
    read: Callable[..., dict[str, float]], valkey: redis.Redis, db: None, services: Services, how: str
) -> None:
    getattr(services.valkey, how)()
    found = read()
    assert "eventsite_queue_events" not in found
    assert "eventsite_default_partition_rows" in found


@pytest.mark.parametrize("how", ["stop", "freeze"])
def test_what_postgresql_knows_is_absent_while_it_is_away(
    read: Callable[..., dict[str, float]],
    valkey: redis.Redis,
    transactional_db: None,
    services: Services,
    how: str,
) -> None:
    connection.close()
    getattr(services.postgres, how)()
    found = read()
    services.postgres.thaw()
    services.postgres.start()
    assert "eventsite_queue_events" in found
    assert "eventsite_default_partition_rows" not in found


# --- who may read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("10.0.0.7", {}, 403),
        ("::ffff:10.0.0.7", {}, 403),
        ("", {}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.7"}, 403),
        ("127.0.0.1", {"Forwarded": "for=10.0.0.7"}, 403),
    ],
)
def test_without_a_token_only_this_machine_may_read(
    client: Client, valkey: redis.Redis, db: None, address: str, headers: dict[str, str], status: int
) -> None:
    assert client.get("/metrics", REMOTE_ADDR=address, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("shown_token", "status"),
    [("", 403), ("Bearer wrong", 403), ("Bearer s3cr\xe9t", 403), ("Bearer right", 200)],
)
def test_with_a_token_only_it_opens_from_anywhere(
    client: Client, valkey: redis.Redis, db: None, settings: object, shown_token: str, status: int
) -> None:
    settings.METRICS_TOKEN = "right"
    for address in ("127.0.0.1", "10.0.0.7"):
        response = client.get("/metrics", REMOTE_ADDR=address, headers={"Authorization": shown_token})
        assert response.status_code == status


def test_no_key_and_no_payload_is_shown(
    client: Client, valkey: redis.Redis, make_project: Callable[..., object], transactional_db: None
) -> None:
    created = make_project()
    queue(valkey, [{"name": "very_private_name"}], project_id=created.project.pk)
    text = client.get("/metrics").content.decode()
    assert "very_private_name" not in text
    assert created.write_key not in text and "es_w_" not in text


def test_metrics_are_read_by_name_whatever_the_host_is_called(
    client: Client, valkey: redis.Redis, db: None
) -> None:
    assert client.get("/metrics", HTTP_HOST="10.0.0.7:8000").status_code == 200
    assert client.post("/metrics").status_code == 405
