"""Health, for load balancers and supervisors: plain answers, each check over within about two seconds.

`/healthz`: this process answers. `/readyz/ingest`: events can be taken. `/readyz`: all of it works.
Progress of the workers is asked elsewhere (liveness.py), figures too (scrape.py); all of it is routed here.
"""

import logging
import select
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import psycopg2
import psycopg2.extensions
import redis
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import sync_and_async_middleware
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from eventsite.valkey import sync_client
from projects import keyring

logger = logging.getLogger(__name__)

CHECK_SECONDS = 2.0


class CheckFailed(Exception):
    """What is wrong, in words that may be shown to anybody."""


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    return _answer({"valkey": check_valkey, "postgresql": check_postgresql})


@never_cache
@require_safe
def readyz_ingest(request: HttpRequest) -> HttpResponse:
    return _answer({"valkey": check_valkey, "keys": check_keys})


def check_valkey() -> None:
    """Raises CheckFailed unless Valkey answers a PING in time."""
    try:
        sync_client().ping()
    except redis.RedisError as error:
        raise CheckFailed(f"no answer ({type(error).__name__})") from error


def check_keys() -> None:
    """Raises CheckFailed unless the mirror of keys holds any: without one, every event would be refused."""
    try:
        if not sync_client().exists(keyring.MIRROR):
            raise CheckFailed("no keys mirrored yet")
    except redis.RedisError as error:
        raise CheckFailed(f"no answer ({type(error).__name__})") from error


def check_postgresql() -> None:
    """Raises CheckFailed unless PostgreSQL answers in time and knows every migration of this code."""
    try:
        applied = set(query("SELECT app, name FROM django_migrations"))
    except psycopg2.errors.UndefinedTable as error:
        raise CheckFailed("no migration is applied") from error
    except (psycopg2.Error, TimeoutError) as error:
        raise CheckFailed(f"no answer ({type(error).__name__})") from error
    if missing := _migrations() - applied:
        raise CheckFailed(f"{len(missing)} migrations are not applied")


@cache
def _migrations() -> frozenset[tuple[str, str]]:
    """Returns the migrations this code brings. A squashed one is recorded as those it replaces."""
    known = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    return frozenset(key for key, migration in known.items() if not migration.replaces)


def query(sql: str) -> list[tuple[Any, ...]]:
    """Returns one statement's rows, on a connection of its own. TimeoutError after CHECK_SECONDS.

    Asynchronous, because a server that hangs (not down, stopped) would keep a blocking connection waiting
    for ever: no setting of libpq's covers a query on a unix socket.
    """
    deadline = time.monotonic() + CHECK_SECONDS
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)  # Django's is for its own, synchronous connections
    raw = psycopg2.connect(**parameters, async_=1)
    try:
        _wait(raw, deadline)
        cursor = raw.cursor()
        cursor.execute(sql)
        _wait(raw, deadline)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
    finally:
        raw.close()


def _wait(raw: psycopg2.extensions.connection, deadline: float) -> None:
    """By poll(): select() cannot name the files of a web process with a thousand connections."""
    while (state := raw.poll()) != psycopg2.extensions.POLL_OK:
        remaining = deadline - time.monotonic()
        poll = select.poll()
        poll.register(raw, select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT)
        if remaining <= 0 or not poll.poll(remaining * 1_000):
            raise TimeoutError


def _answer(checks: dict[str, Callable[[], None]]) -> JsonResponse:
    results = {}
    for name, check in checks.items():
        try:
            check()
            results[name] = "ok"
        except CheckFailed as failed:
            results[name] = str(failed)
            logger.warning("not ready: %s: %s", name, failed)
    ready = all(result == "ok" for result in results.values())
    return JsonResponse(
        {"status": "ok" if ready else "unavailable", "checks": results}, status=200 if ready else 503
    )


@cache
def paths() -> dict[str, Callable[[HttpRequest], HttpResponse]]:
    """The pages that machines ask. At the first request, for the later modules ask `query` above."""
    from eventsite import liveness, scrape

    return {
        "/healthz": healthz,
        "/readyz": readyz,
        "/readyz/ingest": readyz_ingest,
        "/livez/drain": liveness.livez_drain,
        "/livez/tick": liveness.livez_tick,
        "/livez/lake": liveness.livez_lake,
        "/metrics": scrape.metrics_page,
    }


@sync_and_async_middleware
def health_middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Answers the health paths before anything looks at the Host header: a load balancer asks by address."""
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponse:
            view = paths().get(request.path.rstrip("/"))
            response: HttpResponse = await (sync_to_async(view)(request) if view else get_response(request))
            return response

        return answer_async

    def answer(request: HttpRequest) -> HttpResponse:
        view = paths().get(request.path.rstrip("/"))
        response: HttpResponse = view(request) if view else get_response(request)
        return response

    return answer
