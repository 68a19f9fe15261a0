"""`/metrics`: what the processes counted, and what Valkey and PostgreSQL tell at this moment, each within its time.

Numbers, codes and project ids; no key, no payload. For clients on this machine, or for whoever shows METRICS_TOKEN.
"""

import ipaddress
import secrets

import psycopg2
import redis
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from events import buffer, partitions
from eventsite import health, metrics
from eventsite.valkey import sync_client

# Plan: ten thousand rows at most; the partial index of unsealed batches; the live segments, some thousands of rows.
READ_DATABASE = f"""
SELECT (SELECT count(*) FROM (SELECT FROM {partitions.DEFAULT} LIMIT 10000) AS strays),
    coalesce(greatest(extract(epoch FROM clock_timestamp() - unsealed.oldest), 0), 0)::float, unsealed.events,
    lake.shared, lake.own, lake.rows, lake.bytes
FROM (SELECT min(stored_at) AS oldest, coalesce(sum(stored), 0)::bigint AS events
        FROM events_batch WHERE seal IS NULL) AS unsealed,
    (SELECT count(*) FILTER (WHERE project_id IS NULL) AS shared, count(project_id) AS own,
        coalesce(sum(rows), 0)::bigint AS rows, coalesce(sum(bytes), 0)::bigint AS bytes
    FROM events_segment WHERE retired_at IS NULL) AS lake
"""
# A proxy on this machine is a client on this machine; these say that somebody stands behind it.
PROXIED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA", "HTTP_X_FORWARDED_PROTO")


@never_cache
@require_safe
def metrics_page(request: HttpRequest) -> HttpResponse:
    if not may_read(request):
        return JsonResponse(
            {"code": "forbidden", "message": "For this machine, or with METRICS_TOKEN."}, status=403
        )
    return HttpResponse(
        metrics.exposition(queue_readings() | database_readings()), content_type=metrics.CONTENT_TYPE
    )


def may_read(request: HttpRequest) -> bool:
    """With METRICS_TOKEN only its bearer may; without, clients on this machine that come by no proxy."""
    if settings.METRICS_TOKEN:
        shown = request.headers.get("Authorization", "")
        return secrets.compare_digest(shown.encode(), f"Bearer {settings.METRICS_TOKEN}".encode())
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback and not any(name in request.META for name in PROXIED)


def queue_readings() -> dict[tuple[str, metrics.Labels], float]:
    """One round trip to Valkey, over within about a second; nothing when it does not answer."""
    try:
        standing = buffer.standing(sync_client())
    except redis.RedisError:
        return {}
    now = standing.now_ms
    readings: dict[str, float] = {
        "eventsite_queue_events": standing.events,
        "eventsite_queue_bytes": standing.bytes,
        "eventsite_queue_max_events": settings.EVENTS_QUEUE_MAX_EVENTS,
        "eventsite_queue_max_bytes": settings.EVENTS_QUEUE_MAX_BYTES,
        "eventsite_queue_oldest_seconds": standing.oldest_seconds,
        "eventsite_queue_drained_per_second": standing.drained_per_second,
        "eventsite_queue_drained_events": standing.drained,
        "eventsite_queue_accepted_events": standing.accepted,
        "eventsite_drain_paused": standing.paused is not None,
        "eventsite_drain_slots": settings.EVENTS_DRAIN_SLOTS,
        "eventsite_drain_held_slots": len(standing.held),
        "eventsite_drain_messages": standing.messages,
    }
    if standing.progress_ms:
        readings["eventsite_queue_idle_seconds"] = (now - standing.progress_ms) / 1000
    if standing.ticked_ms:
        readings["eventsite_tick_age_seconds"] = (now - standing.ticked_ms) / 1000
    found: dict[tuple[str, metrics.Labels], float] = {(name, ()): value for name, value in readings.items()}
    for place, difference in standing.unbalanced.items():
        project, _, hour = place.partition(" ")
        found["eventsite_ledger_difference", (("project", project), ("hour", hour))] = difference
    if not standing.unbalanced:
        found["eventsite_ledger_difference", ()] = 0
    return found | {("eventsite_alarm", (("name", name),)): 1 for name in standing.alarms}


def database_readings() -> dict[tuple[str, metrics.Labels], float]:
    """One statement, over within CHECK_SECONDS; nothing when PostgreSQL does not answer."""
    try:
        ((strays, lag, unsealed, shared, own, rows, size),) = health.query(READ_DATABASE)
    except (psycopg2.Error, TimeoutError):
        return {}
    return {
        ("eventsite_default_partition_rows", ()): strays,
        ("eventsite_lake_lag_seconds", ()): lag,
        ("eventsite_lake_unsealed_events", ()): unsealed,
        ("eventsite_lake_segments", (("kind", "shared"),)): shared,
        ("eventsite_lake_segments", (("kind", "project"),)): own,
        ("eventsite_lake_rows", ()): rows,
        ("eventsite_lake_bytes", ()): size,
    }
