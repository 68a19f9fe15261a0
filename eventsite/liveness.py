"""Liveness that measures progress, not process ids: a worker may be alive and deaf.

`/livez/drain`: events that wait are being drained. `/livez/tick`: the tick comes by. `/livez/lake`: the lake's worker does.
Asked by the supervisor (watch.py).
"""

import redis
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from events import buffer
from events.buffer import Standing
from eventsite.valkey import sync_client

LAKE_SECONDS = 60  # what one seal may take, and an upkeep of the lake on the same worker
UNKNOWN = {"status": "unknown", "reason": "the queue does not answer"}


@never_cache
@require_safe
def livez_drain(request: HttpRequest) -> HttpResponse:
    try:
        standing = buffer.standing(sync_client())
    except redis.RedisError:
        return JsonResponse(UNKNOWN, status=503)
    status = drain_status(standing)
    body = {
        "status": status,
        "waiting_events": standing.events,
        "seconds_without_progress": round(standing.seconds_without_progress, 1),
        "held_slots": len(standing.held),
    }
    if standing.paused is not None:
        # Behind the colon the breaker repeats what PostgreSQL said, and that may quote an event.
        body["reason"] = standing.paused.partition(": ")[0]
    return JsonResponse(body, status=503 if status == "stalled" else 200)


def drain_status(standing: Standing) -> str:
    """Returns ok, paused, or stalled: events wait and none was drained for EVENTS_STALL_SECONDS."""
    if standing.paused is not None:
        return "paused"
    return "stalled" if standing.seconds_without_progress >= settings.EVENTS_STALL_SECONDS else "ok"


@never_cache
@require_safe
def livez_tick(request: HttpRequest) -> HttpResponse:
    try:
        standing = buffer.standing(sync_client())
    except redis.RedisError:
        return JsonResponse(UNKNOWN, status=503)
    if not standing.ticked_ms:
        return JsonResponse({"status": "stalled", "reason": "no tick yet"}, status=503)
    age = (standing.now_ms - standing.ticked_ms) / 1000
    stalled = age >= settings.EVENTS_STALL_SECONDS
    body = {"status": "stalled" if stalled else "ok", "seconds_since_tick": round(age, 1)}
    return JsonResponse(body, status=503 if stalled else 200)


@never_cache
@require_safe
def livez_lake(request: HttpRequest) -> HttpResponse:
    """Whether it comes by, not how far it is behind: a large backlog is work, and a new worker would begin it anew."""
    try:
        came, (now, _) = sync_client().get(buffer.LAKE_PROGRESS), sync_client().time()
    except redis.RedisError:
        return JsonResponse(UNKNOWN, status=503)
    if came is None:
        return JsonResponse({"status": "stalled", "reason": "no seal yet"}, status=503)
    age = now - int(came)
    stalled = age >= settings.EVENTS_STALL_SECONDS + LAKE_SECONDS
    return JsonResponse(
        {"status": "stalled" if stalled else "ok", "seconds_since_seal": age}, status=503 if stalled else 200
    )
