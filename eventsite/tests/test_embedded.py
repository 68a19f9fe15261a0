"""The embedded PostgreSQL and Valkey, as real processes in state directories of their own."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg2
import pytest
import redis

from eventsite import embedded, identity, leftovers, state
from eventsite.launch import ours
from eventsite.pytest_services import Services

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up rights")


@pytest.fixture
def open_dir():
    """A directory that every user may pass, unlike pytest's own."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)  # after Ctrl-C a server may still be tidying up


@pytest.fixture
def var(open_dir):
    yield open_dir / "var"
    leftovers.end(state.places(open_dir / "var"), grace_seconds=5)


def ask(urls: embedded.Urls, sql: str) -> object:
    connection = psycopg2.connect(urls.database_url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0]
    finally:
        connection.close()


def user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_both_answer_on_sockets_and_listen_on_no_port(services):
    assert ask(services.urls, "SELECT current_setting('listen_addresses')") == ""
    assert ask(services.urls, "SELECT count(*) FROM pg_settings WHERE name = 'jit' AND setting = 'off'") == 1
    client = redis.Redis.from_url(services.urls.redis_url)
    assert client.config_get("port")["port"] == "0"


def test_what_is_stored_is_durable(services):
    wanted = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    assert {name: ask(services.urls, f"SHOW {name}") for name in wanted} == wanted
    told = redis.Redis.from_url(services.urls.redis_url).config_get("*")
    assert (told["appendonly"], told["maxmemory-policy"], told["no-appendfsync-on-rewrite"]) == (
        "yes",
        "noeviction",
        "no",
    )


def test_the_database_sorts_the_same_under_every_locale(services):
    sql = "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = 'eventsite'"
    assert ask(services.urls, sql) == "bC.UTF-8"


def test_a_wrong_password_is_refused(services):
    password = state.read_secrets(state.places(services.var))["postgres_password"]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(services.urls.database_url.replace(password, "wrong"))


def test_data_survive_a_kill_of_both(services):
    ask(services.urls, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7) RETURNING n")
    redis.Redis.from_url(services.urls.redis_url).set("kept", 7)
    services.postgres.kill()
    services.valkey.kill()
    services.valkey.start()
    services.postgres.start()
    assert ask(services.urls, "SELECT n FROM kept") == 7
    assert redis.Redis.from_url(services.urls.redis_url).get("kept") == b"7"
    ask(services.urls, "DROP TABLE kept; SELECT 1")


def test_a_frozen_server_is_thawed_for_the_next_test(services):
    services.valkey.freeze()
    with pytest.raises(redis.TimeoutError):
        redis.Redis.from_url(services.urls.redis_url, socket_timeout=0.2, retry=None).ping()
    services.valkey.thaw()
    assert redis.Redis.from_url(services.urls.redis_url).ping()


def test_a_lock_of_another_living_process_does_not_block_the_start(services):
    services.postgres.kill()
    data = state.places(services.var).postgres_data
    lines = (data / "postmaster.pid").read_text().split("\n")
    (data / "postmaster.pid").write_text("\n".join([str(os.getppid()), *lines[1:]]))
    services.postgres.start()
    assert ask(services.urls, "SELECT 1") == 1


def test_data_of_another_major_version_are_refused_in_one_line(var):
    found = state.prepare(var)
    found.postgres_data.mkdir(parents=True)
    (found.postgres_data / "PG_VERSION").write_text("15\n")
    with pytest.raises(
        state.StateError, match=r"of PostgreSQL 15, the installed PostgreSQL is 18"
    ) as refused:
        embedded.prepare_postgres(var)
    assert "\n" not in str(refused.value)


def test_a_start_that_broke_off_while_making_data_is_repeated(var):
    (state.prepare(var).postgres / "data.new" / "base").mkdir(parents=True)
    embedded.prepare_postgres(var)
    assert (state.places(var).postgres_data / "PG_VERSION").read_text() == "18\n"
    assert not (state.places(var).postgres / "data.new").exists()


@pytest.mark.slow
def test_a_very_long_state_path_works(open_dir):
    services = Services.of(open_dir / ("v" * 120) / "var")
    services.start()
    try:
        assert ask(services.urls, "SELECT 1") == 1
        assert redis.Redis.from_url(services.urls.redis_url).ping()
        assert {
            stat.S_IMODE(path.stat().st_mode)
            for path in (
                state.places(services.var).postgres_sockets,
                state.places(services.var).valkey_sockets,
            )
        } == {0o700}
    finally:
        services.stop()
        state.places(services.var).postgres_sockets.rmdir()
        state.places(services.var).valkey_sockets.rmdir()


@pytest.mark.slow
def test_servers_end_with_the_process_that_started_them(var):
    code = f"""
from eventsite.pytest_services import Services
import os, signal
services = Services.of({str(var)!r}); services.start()
os.kill(os.getpid(), signal.SIGKILL)"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while leftovers.find(state.places(var)):
        assert time.monotonic() < deadline, "servers outlive who started them"
        time.sleep(0.02)


@as_root
def test_root_gives_postgresql_to_an_unprivileged_user(services):
    assert user_of(services.postgres.pid) == identity.NOBODY
    assert stat.S_IMODE(state.places(services.var).postgres.stat().st_mode) == 0o700


@as_root
@pytest.mark.slow
def test_root_in_a_closed_directory_runs_postgresql_in_a_namespace(tmp_path):
    tmp_path.chmod(0o700)
    if not identity._namespaces_work():
        pytest.skip("this machine refuses user namespaces")
    services = Services.of(tmp_path / "var")
    services.start()
    try:
        assert user_of(services.postgres.pid) == 0
        assert os.readlink(f"/proc/{services.postgres.pid}/ns/user") != os.readlink("/proc/self/ns/user")
        assert ask(services.urls, "SELECT 1") == 1
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    finally:
        services.stop()


@as_root
@pytest.mark.slow
def test_root_without_namespaces_moves_data_and_binaries_where_they_can_be_reached(tmp_path, open_dir):
    tmp_path.chmod(0o700)
    found = state.prepare(tmp_path / "var")
    embedded.prepare_postgres(found.var)  # data of an earlier start, in the closed directory
    identity.choose(found, embedded.postgres_install(), namespaces_work=lambda: False, state_root=open_dir)
    services = Services.of(found.var)
    services.start()
    try:
        assert user_of(services.postgres.pid) == identity.NOBODY
        assert ask(services.urls, "SELECT 1") == 1
        assert found.postgres_data.resolve().is_relative_to(open_dir)
    finally:
        services.stop()


@as_root
def test_a_normal_users_data_stay_his_when_root_starts(var):
    found = state.prepare(var)
    embedded.prepare_postgres(var)
    for path in (found.postgres, *found.postgres.rglob("*")):
        os.chown(path, 54321, 54321, follow_symlinks=False)
    assert embedded.prepare_postgres(var).identity.uid == 54321


@as_root
def test_a_normal_user_is_told_that_the_data_are_another_users(var):
    found = state.prepare(var)
    embedded.prepare_postgres(var)
    found.var.chmod(0o755)

    def as_somebody() -> bool:
        os.setuid(54321)
        try:
            identity.choose(found, embedded.postgres_install())
        except state.StateError as refused:
            return "belong to user" in str(refused)
        return False

    assert identity._in_child(as_somebody)


def test_our_own_rights_are_the_default():
    assert (ours().mode, ours().owner) == ("own", os.geteuid())
