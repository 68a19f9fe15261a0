"""The edge: a plain ASGI callable for the ingest URLs, in front of Django."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import redis

from events import cors, encodings, figures, receive
from events.codes import Code
from events.envelope import Refused
from events.group_commit import GroupCommit
from events.limits import Limits
from events.plan.book import Book
from events.tally import Tally
from eventsite.valkey import async_client
from projects.authentication import KeyCache, KeyRefused, KeyStoreUnavailable, secret_from

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH_PATH = "/healthz"
_TOO_SLOW = "body too slow"
WANTED_HEADERS = frozenset(
    (
        b"authorization",
        b"x-api-key",
        b"content-encoding",
        b"content-length",
        b"transfer-encoding",
        b"idempotency-key",
        b"content-type",
        b"origin",
        b"expect",
        b"access-control-request-headers",
    )
)


class Edge:
    """Answers the ingest paths itself and hands everything else to `application`. `ring` wakes a drain slot; it may block."""

    def __init__(self, application: Application, ring: Callable[[int], None]) -> None:
        self._application = application
        self._ring = ring
        self._limits = Limits.from_settings()
        self._in_flight_bytes = 0
        self._turn = 0
        self._keys: KeyCache | None = None

    async def __call__(self, scope: Scope, receive_message: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive_message, send)
            return
        path = scope["path"]
        if path in receive.INGEST_PATHS or _tidy(path) in receive.INGEST_PATHS:
            await self._ingest(scope, receive_message, send)
        elif path == HEALTH_PATH:
            await _respond(send, receive.Answer(200, b'{"status":"ok"}'))
        else:
            await self._application(scope, receive_message, send)

    async def _ingest(self, scope: Scope, receive_message: Receive, send: Send) -> None:
        headers = {name: value for name, value in scope["headers"] if name in WANTED_HEADERS}
        if scope["method"] == "OPTIONS":
            await _preflight(send, headers)
            return
        query_string = scope["query_string"]
        reservation = _Reservation(self)
        keys = self._keys or self._start()
        try:
            if scope["method"] != "POST":
                raise Refused(405, Code.METHOD_NOT_ALLOWED, "Send events with POST.")
            receive.refuse_length(
                headers.get(b"content-length"), headers.get(b"transfer-encoding"), self._limits
            )
            secret = secret_from(headers.get(b"authorization"), headers.get(b"x-api-key"), query_string)
            grant = (secret and keys.cached(secret)) or await keys.grant(secret)
            if grant.origins:
                cors.check_origin(headers.get(b"origin"), grant.origins)
            body = await _body(receive_message, headers.get(b"content-length"), reservation, self._limits)
            answer = await self._take(
                body, grant.project_id, headers, receive.options(query_string), reservation
            )
        except (Refused, KeyRefused, KeyStoreUnavailable) as error:
            self._tally.add_request(error.code)
            answer = receive.refusal(error)
        finally:
            self._in_flight_bytes -= reservation.bytes
        await _respond(send, answer, is_of_a_page=b"origin" in headers)
        # One that was told to wait (`Expect`) sends no body after a refusal; one that was too slow had its time.
        if not reservation.is_body_over and b"expect" not in headers and answer.status != 408:
            await _discard(receive_message, self._limits)

    async def _take(
        self,
        body: bytes,
        project_id: int,
        headers: dict[bytes, bytes],
        wanted: receive.Options,
        reservation: "_Reservation",
    ) -> receive.Answer:
        """Decides on a whole body and, once Valkey has what is valid, answers with the receipt."""
        self._turn = (self._turn + 1) % figures.ONE_IN
        book = self._book
        if book.is_due(project_id):
            try:
                await book.refresh_async(self._client, project_id)
            except (redis.RedisError, OSError):
                raise receive.unavailable() from None
        plan = book.plan(project_id)
        started = 0.0 if self._turn else time.perf_counter()
        decision = receive.decide(
            body,
            project_id=project_id,
            content_encoding=headers.get(b"content-encoding", b""),
            content_type=headers.get(b"content-type", b""),
            wanted=wanted,
            idempotency_key=headers.get(b"idempotency-key"),
            limits=self._limits,
            plan=plan.at_door if plan else None,
        )
        if decision.off_plan:
            self._tally.add_off_plan(decision.off_plan)
        for code, events in receive.refused_counts(decision).items():
            self._tally.add(project_id, decision.received_ms, code, events)
        if decision.envelopes:
            rows = receive.encoded(decision)
            reservation.add(sum(map(len, rows)))
            if started:
                self._group.figures.accept_seconds.append(time.perf_counter() - started)
            try:
                outcome, pushed = await self._group.push(project_id, rows, decision.received_ms)
            except (redis.RedisError, OSError):
                raise receive.unavailable() from None
            if not outcome.is_taken:
                self._tally.add(project_id, decision.received_ms, outcome.code, len(rows))
                raise receive.backpressure(outcome, pushed)
            if decision.off_plan:
                self._tally.add_warned(project_id, decision.received_ms, receive.warned(decision))
        else:
            self._tally.add_request(decision.errors[0].code)
        return receive.answer(decision, wanted)

    def _start(self) -> KeyCache:
        """At the first request, for clients belong to the running loop."""
        client = self._client = async_client()
        self._book = Book()
        self._group = GroupCommit(client, self._ring)
        self._tally = Tally(client)
        self._keys = KeyCache()
        return self._keys

    def reserve(self, size: int) -> None:
        """Counts bytes held for requests under way. Raises Refused (503) over this process's budget."""
        if self._in_flight_bytes + size > self._limits.in_flight_bytes:
            detail = "This server holds as many bytes of unfinished requests as it may. Send the request again later."
            raise Refused(503, Code.TOO_MUCH_IN_FLIGHT, detail, retry_after=1)
        self._in_flight_bytes += size


class _Reservation:
    """One request's share of the budget, and whether any more of its body can come."""

    __slots__ = ("_edge", "bytes", "is_body_over")

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self.bytes = 0
        self.is_body_over = False

    def add(self, size: int) -> None:
        self._edge.reserve(size)
        self.bytes += size


async def _body(
    receive_message: Receive, content_length: bytes | None, reservation: _Reservation, limits: Limits
) -> bytes:
    """Returns the whole body. Raises Refused when it is too large (413), too slow (408) or ends early (400)."""
    task = asyncio.current_task()
    # Half the cost of asyncio.timeout, on every request.
    deadline = asyncio.get_running_loop().call_later(limits.body_seconds, task.cancel, _TOO_SLOW)  # type: ignore[union-attr]
    try:
        message = await receive_message()
        body = message.get("body", b"")
        reservation.add(len(body))
        # Some servers announce the end in a message of its own: whose length is whole needs no second wait.
        if not message.get("more_body") or (body and content_length == b"%d" % len(body)):
            reservation.is_body_over = True
            if message["type"] == "http.disconnect":
                raise _cut_short()
            return bytes(body)
        return await _rest(body, receive_message, reservation, limits)
    except asyncio.CancelledError as cancelled:
        if cancelled.args != (_TOO_SLOW,):
            raise
        detail = f"The body did not arrive within {limits.body_seconds:g} s."
        raise Refused(408, Code.BODY_TIMEOUT, detail) from None
    finally:
        deadline.cancel()


async def _rest(first: bytes, receive_message: Receive, reservation: _Reservation, limits: Limits) -> bytes:
    parts, size, more = [first], len(first), True
    while more:
        message = await receive_message()
        if message["type"] == "http.disconnect":
            reservation.is_body_over = True
            raise _cut_short()
        part = message.get("body", b"")
        reservation.add(len(part))
        size += len(part)
        if size > limits.body_bytes:
            raise encodings.too_large(limits.body_bytes)
        parts.append(part)
        more = message.get("more_body", False)
    reservation.is_body_over = True
    return b"".join(parts)


def _cut_short() -> Refused:
    """Most who are told so have gone; one that only ended its sending can read it."""
    return Refused(
        400, Code.INCOMPLETE_BODY, "The connection ended before the body was whole; nothing was taken."
    )


async def _discard(receive_message: Receive, limits: Limits) -> None:
    """Reads what is left of a body that was refused, for as long as a body may take, and keeps none of it.

    Most clients look for an answer only once they have sent everything: a connection closed before would be all they see.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limits.body_seconds):
            while (await receive_message()).get("more_body"):
                pass


async def _preflight(send: Send, headers: dict[bytes, bytes]) -> None:
    allowed = cors.preflight(headers.get(b"access-control-request-headers"))
    await send(
        {"type": "http.response.start", "status": 204, "headers": [*allowed, (b"allow", cors.METHODS)]}
    )
    await send({"type": "http.response.body", "body": b""})


async def _respond(send: Send, answer: receive.Answer, *, is_of_a_page: bool = False) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer.body))]
    if is_of_a_page:
        headers += cors.ANSWER
    if answer.retry_after is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_after))
    if answer.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="eventsite"'))
    elif answer.status == 405:
        headers.append((b"allow", cors.METHODS))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _tidy(path: str) -> str:
    """Slashes too many are no reason for a redirect: it would turn a POST into a GET."""
    return "/" + path.strip("/")
