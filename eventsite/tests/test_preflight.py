"""What stops a start: each one clear line."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from eventsite import preflight, versions
from eventsite.state import StateError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_named_with_its_variable(taken):
    with pytest.raises(StateError, match=rf"Port {taken} on 127.0.0.1 is in use .* set FLOWER_PORT"):
        preflight.check_ports("127.0.0.1", {"FLOWER_PORT": taken})


def test_two_equal_ports_are_refused():
    with pytest.raises(StateError, match=r"PORT and FLOWER_PORT must differ"):
        preflight.check_ports("127.0.0.1", {"PORT": 8000, "FLOWER_PORT": 8000})


def test_a_host_that_is_not_ours_is_named():
    with pytest.raises(StateError, match=r"Cannot listen on 192\.0\.2\.1"):
        preflight.check_ports("192.0.2.1", {"PORT": 8000})


def test_a_full_disk_is_named(tmp_path):
    with pytest.raises(StateError, match="is full"):
        preflight.check_disk(tmp_path, min_bytes=10**18)


@pytest.mark.parametrize("version", [160004, 90624])
def test_an_old_postgresql_is_refused(version):
    with pytest.raises(versions.TooOld, match="too old: Eventsite needs 17"):
        versions.check_postgres(version)


@pytest.mark.parametrize(
    "info",
    [
        {"redis_version": "7.0.15"},
        {"redis_version": "6.2.14"},
        {"redis_version": "7.2.4", "valkey_version": "7.1"},
    ],
)
def test_an_old_redis_is_refused(info):
    with pytest.raises(versions.TooOld, match=r"needs 7\.2"):
        versions.check_redis(info)


@pytest.mark.parametrize(
    "info",
    [
        {"redis_version": "7.2.0"},
        {"redis_version": "8.0.1"},
        {"redis_version": "7.2.4", "valkey_version": "9.1.2"},
    ],
)
def test_a_new_enough_redis_is_taken(info):
    versions.check_redis(info)
    versions.check_postgres(170000)


def test_an_old_python_is_refused_before_anything_is_made(tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\ncase $2 in *version_info*) exit 1 ;; *) echo 3.9.2 ;; esac\n")
    old.chmod(0o755)
    made = subprocess.run(
        ["sh", str(ROOT / ".ci/venv"), str(old), str(tmp_path / "venv")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 1
    assert made.stderr.startswith("eventsite: Python 3.11 or newer is needed")
    assert made.stderr.count("\n") == 1
    assert not (tmp_path / "venv").exists()


def test_the_supervisor_takes_little_memory():
    code = "import eventsite.supervisor as s, sys; print(*sys.modules)"
    env = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert not {"django", "celery", "hashlib", "ssl", "http.client", "asyncio"} & set(said.stdout.split())


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, "maxmemory-policy is allkeys-lru"),
        ({"maxmemory_policy": "noeviction", "maxmemory": 1_999}, "more than half of Valkey's maxmemory"),
    ],
)
def test_a_queue_that_may_be_evicted_or_has_no_headroom_is_refused(
    info: dict[str, object], said: str
) -> None:
    with pytest.raises(versions.Unfit, match=said):
        versions.check_memory(info, 1_000)


@pytest.mark.parametrize("limit", [0, 2_000])
def test_half_of_the_memory_and_no_limit_will_do(limit: int) -> None:
    versions.check_memory({"maxmemory_policy": "noeviction", "maxmemory": limit}, 1_000)
