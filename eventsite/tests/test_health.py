import asyncio
import time

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import AsyncClient

from eventsite.health import check_postgresql
from projects.keyring import MIRROR


def ready(client, path="/readyz"):
    started = time.monotonic()
    response = client.get(path)
    assert time.monotonic() - started < 4
    assert response["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"
    return response.status_code, response.json()["checks"]


def test_healthz_answers_without_asking_anybody(client, services):
    services.valkey.stop()
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz/ingest"])
def test_health_takes_a_head_but_no_post(client, db, valkey, path):
    assert client.head(path).status_code in {200, 503}
    assert client.post(path).status_code == 405


@pytest.mark.parametrize("path", ["/healthz", "/readyz/", "/readyz/ingest"])
def test_a_load_balancer_may_ask_by_address(client, db, valkey, path):
    valkey.hset(MIRROR, "0" * 64, b'{"p":1,"k":"w","id":1,"rev":false}')
    assert client.get(path, HTTP_HOST="10.0.0.7:8000").status_code == 200
    assert client.get("/admin/login/", HTTP_HOST="10.0.0.7:8000").status_code == 400


def test_the_answer_is_the_same_under_asgi(db, valkey):
    async def ask():
        return await AsyncClient().get("/readyz/ingest")

    assert asyncio.run(ask()).status_code == 503


def test_all_well(client, db, valkey):
    assert ready(client) == (200, {"valkey": "ok", "postgresql": "ok"})


def test_ready_asks_nothing_of_djangos_own_connection(client, db, valkey, django_assert_num_queries):
    with django_assert_num_queries(0):
        ready(client)


def test_ingest_is_ready_when_keys_are_mirrored(client, valkey):
    assert ready(client, "/readyz/ingest") == (503, {"valkey": "ok", "keys": "no keys mirrored yet"})
    valkey.hset(MIRROR, "0" * 64, b'{"p":1,"k":"w","id":1,"rev":false}')
    assert ready(client, "/readyz/ingest") == (200, {"valkey": "ok", "keys": "ok"})


def test_ingest_stays_ready_without_postgresql(client, valkey, services):
    valkey.hset(MIRROR, "0" * 64, b'{"p":1,"k":"w","id":1,"rev":false}')
    services.postgres.stop()
    assert ready(client, "/readyz/ingest")[0] == 200


@pytest.mark.parametrize("how", ["stop", "freeze"])
def test_without_valkey_nothing_is_ready(client, db, valkey, services, how):
    getattr(services.valkey, how)()
    status, checks = ready(client)
    assert (status, checks["postgresql"]) == (503, "ok")
    assert checks["valkey"].startswith("no answer")
    assert ready(client, "/readyz/ingest")[0] == 503


@pytest.mark.parametrize("how", ["stop", "freeze"])
def test_without_postgresql_it_is_not_ready(client, transactional_db, valkey, services, how):
    connection.close()
    getattr(services.postgres, how)()
    status, checks = ready(client)
    services.postgres.thaw()
    services.postgres.start()
    assert (status, checks["valkey"]) == (503, "ok")
    assert checks["postgresql"].startswith("no answer")


def test_a_migration_that_is_not_applied_is_not_ready(client, transactional_db, valkey):
    applied = MigrationRecorder.Migration.objects.get(app="projects", name="0001_initial")
    applied.delete()
    try:
        assert ready(client) == (503, {"valkey": "ok", "postgresql": "1 migrations are not applied"})
    finally:
        applied.save(force_insert=True)


def test_what_failed_is_told_without_addresses(client, transactional_db, valkey, services):
    connection.close()
    services.postgres.stop()
    services.valkey.stop()
    body = client.get("/readyz").content.decode()
    services.postgres.start()
    assert services.urls.database_url not in body
    assert str(services.var) not in body


def test_a_check_leaves_no_connection_behind(db, valkey):
    def count():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND backend_type = 'client backend'"
            )
            return cursor.fetchone()[0]

    for _ in range(5):
        check_postgresql()
    deadline = time.monotonic() + 5
    while count() > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
