"""The ingest contract as a DRF view: for WSGI deployments and for the API docs. The ASGI edge answers the same path first."""

import contextlib
from collections import Counter

import redis
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from events import buffer, receive, schema
from events.codes import Code
from events.envelope import Refused
from events.limits import Limits
from eventsite.valkey import sync_client
from projects.authentication import KeyRefused, KeyStoreUnavailable, authenticate, secret_from
from projects.keys import KeyKind
from tasks.pipeline import ring


class IngestView(APIView):
    """Takes events for a project: one object, an array, or {"events": [...]}."""

    authentication_classes = ()  # a write key, not a person
    permission_classes = ()

    @extend_schema(
        operation_id="ingest",
        tags=["events"],
        auth=[{"writeKey": []}],  # type: ignore[list-item]  # OpenAPI wants objects, its stubs say names
        parameters=[
            OpenApiParameter("strict", bool, description="Refuse events with unknown top-level fields."),
            OpenApiParameter("receipts", str, enum=["full"], description="`full`: the id of every event."),
            OpenApiParameter("key", str, description="The write key, for beacons that cannot set a header."),
            OpenApiParameter(
                "Idempotency-Key", str, "header", description="Makes ids of events that have none repeatable."
            ),
        ],
        request={"application/json": schema.IngestSerializer},
        responses={
            202: OpenApiResponse(schema.ReceiptSerializer, "What was taken is durable."),
            **{
                status: OpenApiResponse(schema.RefusalSerializer, text)
                for status, text in schema.REFUSALS.items()
            },
        },
        examples=[OpenApiExample(name, value, request_only=True) for name, value in schema.EXAMPLES.items()],
    )
    def post(self, request: Request) -> HttpResponse:
        meta = request.META
        try:
            answer = _ingest(request, meta.get("QUERY_STRING", "").encode("latin-1"))
        except (Refused, KeyRefused, KeyStoreUnavailable) as error:
            answer = receive.refusal(error)
        response = HttpResponse(answer.body, status=answer.status, content_type="application/json")
        if answer.retry_after is not None:
            response["Retry-After"] = str(answer.retry_after)
        if answer.status == 401:
            response["WWW-Authenticate"] = 'Bearer realm="eventsite"'
        return response

    @property
    def allowed_methods(self) -> list[str]:
        return ["POST"]

    def http_method_not_allowed(  # type: ignore[override]
        self, request: Request, *args: object, **kwargs: object
    ) -> HttpResponse:
        answer = receive.refusal(Refused(405, Code.METHOD_NOT_ALLOWED, "Send events with POST."))
        return HttpResponse(answer.body, status=answer.status, content_type="application/json")

    options = http_method_not_allowed  # type: ignore[assignment]  # DRF would describe the view


def _ingest(request: Request, query_string: bytes) -> receive.Answer:
    meta = request.META

    def header(name: str) -> bytes | None:
        return meta[name].encode("latin-1") if meta.get(name) else None

    limits = Limits.from_settings()
    receive.refuse_length(header("CONTENT_LENGTH"), header("HTTP_TRANSFER_ENCODING"), limits)
    secret = secret_from(header("HTTP_AUTHORIZATION"), header("HTTP_X_API_KEY"), query_string)
    grant = authenticate(secret, KeyKind.WRITE)
    wanted = receive.options(query_string)
    # From the stream, not DRF's parsers: whatever the Content-Type says, the body is JSON or gzip.
    body = request._request.read(limits.body_bytes + 1)
    if len(body) > limits.body_bytes:
        raise receive.too_large(limits.body_bytes)
    decision = receive.decide(
        body,
        project_id=grant.project_id,
        content_encoding=header("HTTP_CONTENT_ENCODING") or b"",
        wanted=wanted,
        idempotency_key=header("HTTP_IDEMPOTENCY_KEY"),
        limits=limits,
    )
    refused = receive.refused_counts(decision)
    try:
        if decision.envelopes:
            rows = receive.encoded(decision)
            pushed = buffer.push(sync_client(), [buffer.unit(grant.project_id, rows, decision.received_ms)])
            (outcome,) = pushed.outcomes
            if not outcome.is_taken:
                refused[outcome.code] += len(rows)
                raise receive.backpressure(outcome, pushed)
            if pushed.ring is not None:
                ring(pushed.ring)
    except redis.RedisError:
        raise receive.unavailable() from None
    finally:
        _tally(grant.project_id, decision.received_ms, refused)
    return receive.answer(decision, wanted)


def _tally(project_id: int, received_ms: int, refused: Counter[str]) -> None:
    if not refused:
        return
    counts = {
        (project_id, buffer.hour_of(received_ms), str(code)): events for code, events in refused.items()
    }
    with contextlib.suppress(redis.RedisError):  # the queue is away: the client was told all the same
        buffer.count_rejected(sync_client(), counts)
