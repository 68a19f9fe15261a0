"""The ingest contract as a DRF view: for WSGI deployments and for the API docs. The ASGI edge answers the same path first."""

import contextlib
import time
from collections import Counter

import redis
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from events import buffer, cors, encodings, figures, receive, schema
from events.accept import Decision
from events.codes import OF_WARNED, Code
from events.envelope import Refused
from events.limits import Limits
from events.plan.book import Book
from events.plan.tally import Tallied
from eventsite.valkey import sync_client
from projects.authentication import KeyRefused, KeyStoreUnavailable, authenticate, secret_from
from projects.keys import KeyKind
from tasks.pipeline import ring

_book = Book()  # this process's


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
            figures.count_refused_requests(Counter({str(error.code): 1}))
            answer = receive.refusal(error)
        return _response(request, answer)

    @extend_schema(exclude=True)
    def options(self, request: Request, *args: object, **kwargs: object) -> HttpResponse:  # type: ignore[override]
        """What a browser asks before a page may send."""
        requested = request.META.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
        allowed = cors.preflight(requested.encode("latin-1", "replace"))
        return HttpResponse(status=204, headers={**_text(allowed), "Allow": cors.METHODS.decode()})

    @property
    def allowed_methods(self) -> list[str]:
        return cors.METHODS.decode().split(", ")

    def http_method_not_allowed(  # type: ignore[override]
        self, request: Request, *args: object, **kwargs: object
    ) -> HttpResponse:
        answer = receive.refusal(Refused(405, Code.METHOD_NOT_ALLOWED, "Send events with POST."))
        return _response(request, answer)


def _response(request: Request, answer: receive.Answer) -> HttpResponse:
    headers = _text(cors.ANSWER) if "HTTP_ORIGIN" in request.META else {}
    response = HttpResponse(
        answer.body, status=answer.status, content_type="application/json", headers=headers
    )
    if answer.retry_after is not None:
        response["Retry-After"] = str(answer.retry_after)
    if answer.status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="eventsite"'
    elif answer.status == 405:
        response["Allow"] = cors.METHODS.decode()
    return response


def _text(headers: cors.Headers) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}


def _ingest(request: Request, query_string: bytes) -> receive.Answer:
    meta = request.META

    def header(name: str) -> bytes | None:
        # A server hands over bytes as Latin-1; a test client may hold more.
        return meta[name].encode("latin-1", "replace") if meta.get(name) else None

    limits = Limits.from_settings()
    receive.refuse_length(header("CONTENT_LENGTH"), header("HTTP_TRANSFER_ENCODING"), limits)
    secret = secret_from(header("HTTP_AUTHORIZATION"), header("HTTP_X_API_KEY"), query_string)
    grant = authenticate(secret, KeyKind.WRITE)
    if grant.origins:
        cors.check_origin(header("HTTP_ORIGIN"), grant.origins)
    wanted = receive.options(query_string)
    # From the stream, not DRF's parsers: whatever the Content-Type says, the body counts.
    body = request._request.read(limits.body_bytes + 1)
    if len(body) > limits.body_bytes:
        raise encodings.too_large(limits.body_bytes)
    try:
        if _book.is_due(grant.project_id):
            _book.refresh(sync_client(), grant.project_id)
    except redis.RedisError:
        raise receive.unavailable() from None
    plan = _book.plan(grant.project_id)
    started = time.perf_counter()
    decision = receive.decide(
        body,
        project_id=grant.project_id,
        content_encoding=header("HTTP_CONTENT_ENCODING") or b"",
        content_type=header("CONTENT_TYPE") or b"",
        wanted=wanted,
        idempotency_key=header("HTTP_IDEMPOTENCY_KEY"),
        limits=limits,
        plan=plan.at_door if plan else None,
    )
    refused, warned = receive.refused_counts(decision), 0
    try:
        if decision.envelopes:
            rows = receive.encoded(decision)
            outcome, pushed = _push(
                grant.project_id, rows, decision.received_ms, accept_seconds=time.perf_counter() - started
            )
            if not outcome.is_taken:
                refused[outcome.code] += len(rows)
                raise receive.backpressure(outcome, pushed)
            warned = receive.warned(decision)
            if pushed.ring is not None:
                ring(pushed.ring)
        else:
            figures.count_refused_requests(Counter({str(decision.errors[0].code): 1}))
    except redis.RedisError:
        raise receive.unavailable() from None
    finally:
        _tally(grant.project_id, decision.received_ms, refused, warned)
        if decision.off_plan:
            _tally_off_plan(decision)
    return receive.answer(decision, wanted)


def _push(
    project_id: int, rows: list[bytes], received_ms: int, *, accept_seconds: float
) -> tuple[buffer.Outcome, buffer.Pushed]:
    """Pushes one request's events, and counts that. Raises redis.RedisError."""
    counted, code, started = (
        figures.Pushes(accept_seconds=[accept_seconds]),
        figures.UNCONFIRMED,
        time.perf_counter(),
    )
    try:
        pushed = buffer.push(sync_client(), [buffer.unit(project_id, rows, received_ms)])
        (outcome,) = pushed.outcomes
        code = figures.TAKEN if outcome.is_taken else outcome.code
    finally:
        counted.events[code] = len(rows)
        counted.taken_requests = int(code == figures.TAKEN)
        counted.seconds.append(time.perf_counter() - started)
        counted.pour()
    return outcome, pushed


def _tally_off_plan(decision: Decision) -> None:
    counted = Tallied()
    counted.add(decision.off_plan)
    with contextlib.suppress(redis.RedisError):
        counted.send(sync_client())


def _tally(project_id: int, received_ms: int, refused: Counter[str], warned: int) -> None:
    if not refused and not warned:
        return
    figures.count_refused_events(Counter({str(code): events for code, events in refused.items()}))
    counts = {
        (project_id, buffer.hour_of(received_ms), str(code)): events for code, events in refused.items()
    }
    if warned:
        counts[project_id, buffer.hour_of(received_ms), OF_WARNED + Code.PLAN_VIOLATION] = warned
    with contextlib.suppress(redis.RedisError):  # the queue is away: the client was told all the same
        buffer.count_rejected(sync_client(), counts)
