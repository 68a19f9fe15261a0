"""What the ASGI edge and the DRF view share: from a body as it came to a decision, and from an outcome to an answer."""

import random
from collections import Counter
from dataclasses import dataclass
from urllib.parse import parse_qs

import msgspec

from events import buffer
from events.accept import MAX_TEXT, Decision, accept
from events.codes import Code
from events.encodings import inflate, too_large
from events.envelope import Problem, Refused
from events.limits import Limits
from events.plan.book import Checks
from events.plan_models import PlanMode
from events.protocols import native
from projects.authentication import KeyRefused, KeyStoreUnavailable

INGEST_PATHS = ("/v1/events",)

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Options:
    """What the query string asks for."""

    strict: bool = False
    full_receipts: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer; the body is JSON. `retry_after` in whole seconds."""

    status: int
    body: bytes
    retry_after: int | None = None


NO_OPTIONS = Options()


def options(query_string: bytes) -> Options:
    if b"strict" not in query_string and b"receipts" not in query_string:
        return NO_OPTIONS
    query = parse_qs(query_string.decode("latin-1"))
    strict = query.get("strict", ["0"])[-1].lower() in ("1", "true", "yes")
    return Options(strict=strict, full_receipts=query.get("receipts", [""])[-1] == "full")


def refuse_length(content_length: bytes | None, transfer_encoding: bytes | None, limits: Limits) -> None:
    """Raises Refused for a length that conflicts (400) or is too large (413), before any of the body is read."""
    if content_length is None:
        return
    if transfer_encoding is not None:
        raise Refused(
            400, Code.CONFLICTING_LENGTH, "Content-Length and Transfer-Encoding exclude each other."
        )
    # Python reads no number of more than 4,300 digits.
    if content_length.isdigit() and (len(content_length) > 18 or int(content_length) > limits.body_bytes):
        raise too_large(limits.body_bytes)


def decide(
    body: bytes,
    *,
    project_id: int,
    content_encoding: bytes,
    content_type: bytes,
    wanted: Options,
    idempotency_key: bytes | None,
    limits: Limits,
    plan: Checks | None = None,
) -> Decision:
    """Takes a body as it came, returns what to queue and a receipt for each event. Raises Refused for the request as a whole."""
    limit = limits.request_events
    inflated = inflate(body, content_encoding, limits)
    request = native.split(inflated, content_type=content_type, max_events=limit)
    if len(request.items) > limit:
        detail = f"A request may have {limit} events. Do not send it again as it is: send fewer at a time."
        raise Refused(413, Code.TOO_MANY_EVENTS, detail)
    if not request.items:
        raise Refused(400, Code.NO_EVENTS, "The request holds no events.", field="events")
    key = None if idempotency_key is None else idempotency_key.decode("latin-1").strip()
    if key is not None and not 0 < len(key) <= MAX_TEXT:
        raise Refused(
            400, Code.INVALID_IDEMPOTENCY_KEY, f"Idempotency-Key must have 1 to {MAX_TEXT} characters."
        )
    return accept(
        request, project_id=project_id, limits=limits, strict=wanted.strict, idempotency_key=key, plan=plan
    )


def refused_counts(decision: Decision) -> Counter[str]:
    """Returns how many of a request's events were refused, by code."""
    return Counter(problem.code for problem in decision.errors)


def warned(decision: Decision) -> int:
    """Returns how many of a request's events were accepted though they do not follow the tracking plan."""
    return sum(one.check.mode == PlanMode.WARN for one in decision.off_plan)


def encoded(decision: Decision) -> list[bytes]:
    return [msgspec.json.encode(envelope) for envelope in decision.envelopes]


def answer(decision: Decision, wanted: Options) -> Answer:
    """The receipt of a request whose valid events, if any, are durable now: 202, or 400 when nothing in it is valid."""
    if decision.envelopes and not decision.errors and not decision.warnings and not wanted.full_receipts:
        accepted = len(decision.envelopes)
        if decision.single:
            template = b'{"accepted":1,"rejected":0,"errors":[],"warnings":[],"id":"%s"}'
            return Answer(202, template % decision.envelopes[0].event_id.encode())
        return Answer(202, b'{"accepted":%d,"rejected":0,"errors":[],"warnings":[]}' % accepted)
    receipt: dict[str, object] = {
        "accepted": len(decision.envelopes),
        "rejected": len(decision.errors),
        "errors": decision.errors,
        "warnings": decision.warnings,
    }
    if decision.single and decision.envelopes:
        receipt["id"] = decision.ids[0]
    if wanted.full_receipts:
        receipt["ids"] = decision.ids
    if decision.envelopes:
        return Answer(202, _encode(receipt))
    first = decision.errors[0]
    status = 413 if decision.single and first.code == Code.TOO_LARGE else 400
    return Answer(status, _encode(_error(first.code, first.detail) | receipt))


def refusal(error: Refused | KeyRefused | KeyStoreUnavailable) -> Answer:
    """The answer to a request of which nothing was taken."""
    if isinstance(error, Refused):
        problems = [Problem(0, None, error.code, error.field, error.detail)] if error.status == 400 else []
        receipt = {"accepted": 0, "rejected": len(problems), "errors": problems, "warnings": []}
        return Answer(error.status, _encode(_error(error.code, error.detail) | receipt), error.retry_after)
    retry_after = _moment() if isinstance(error, KeyStoreUnavailable) else None
    return Answer(error.status, _encode(_error(error.code, str(error))), retry_after)


_BACKPRESSURE: dict[str, tuple[int, Code, str]] = {
    "queue_full": (503, Code.QUEUE_FULL, "The queue is full."),
    "project_backlog": (429, Code.PROJECT_BACKLOG, "This project holds its share of the queue."),
    "rate_limited": (
        429,
        Code.RATE_LIMITED,
        "This project sends more events a second than its quota allows.",
    ),
    "quota_exceeded": (
        429,
        Code.QUOTA_EXCEEDED,
        "This project has sent its quota of events for this UTC day.",
    ),
}


def backpressure(outcome: buffer.Outcome, pushed: buffer.Pushed) -> Refused:
    """What it means to a client that its unit was not taken."""
    jitter = random.random()  # noqa: S311
    if outcome.wait_seconds:
        wait = buffer.retry_after_seconds(outcome.wait_seconds, 1.0, jitter)
    else:
        wait = buffer.retry_after_seconds(pushed.events, pushed.drained_per_second, jitter)
    status, code, reason = _BACKPRESSURE[outcome.code]
    return Refused(
        status, code, f"{reason} Nothing of this request was taken; send it again later.", retry_after=wait
    )


def unavailable() -> Refused:
    detail = "The queue does not answer. Send the request again later, with the same event ids."
    return Refused(503, Code.UNAVAILABLE, detail, retry_after=_moment())


def _moment() -> int:
    return random.randint(1, 3)  # noqa: S311  a server that restarts is back in seconds


def _error(code: str, detail: str) -> dict[str, object]:
    """One body that every SDK understands: they look for one or another of these names."""
    return {"code": code, "message": detail, "detail": detail, "error": code}
