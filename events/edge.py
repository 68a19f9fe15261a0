"""The edge: a plain ASGI callable for the ingest URLs, in front of Django."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import redis

from events import receive
from events.codes import Code
from events.envelope import Refused
from events.group_commit import GroupCommit
from events.limits import Limits
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
    )
)


class ClientGone(Exception):
    """The client left before its body was whole."""


class Edge:
    """Answers the ingest paths itself and hands everything else to `application`. `ring` wakes a drain slot; it may block."""

    def __init__(self, application: Application, ring: Callable[[int], None]) -> None:
        self._application = application
        self._ring = ring
        self._limits = Limits.from_settings()
        self._in_flight_bytes = 0
        self._keys: KeyCache | None = None

    async def __call__(self, scope: Scope, receive_message: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive_message, send)
            return
        path = scope["path"]
        if path in receive.INGEST_PATHS or _tidy(path) in receive.INGEST_PATHS:
            answer = await self._ingest(scope, receive_message)
            if answer is not None:
                await _respond(send, answer)
        elif path == HEALTH_PATH:
            await _respond(send, receive.Answer(200, b'{"status":"ok"}'))
        else:
            await self._application(scope, receive_message, send)

    async def _ingest(self, scope: Scope, receive_message: Receive) -> receive.Answer | None:
        headers = {name: value for name, value in scope["headers"] if name in WANTED_HEADERS}
        query_string = scope["query_string"]
        reservation = _Reservation(self)
        try:
            if scope["method"] != "POST":
                raise Refused(405, Code.METHOD_NOT_ALLOWED, "Send events with POST.")
            receive.refuse_length(
                headers.get(b"content-length"), headers.get(b"transfer-encoding"), self._limits
            )
            secret = secret_from(headers.get(b"authorization"), headers.get(b"x-api-key"), query_string)
            keys = self._keys or self._start()
            grant = (secret and keys.cached(secret)) or await keys.grant(secret)
            body = await _body(receive_message, headers.get(b"content-length"), reservation, self._limits)
            return await self._take(
                body, grant.project_id, headers, receive.options(query_string), reservation
            )
        except (Refused, KeyRefused, KeyStoreUnavailable) as error:
            return receive.refusal(error)
        except ClientGone:
            return None
        finally:
            self._in_flight_bytes -= reservation.bytes

    async def _take(
        self,
        body: bytes,
        project_id: int,
        headers: dict[bytes, bytes],
        wanted: receive.Options,
        reservation: "_Reservation",
    ) -> receive.Answer:
        """Decides on a whole body and, once Valkey has what is valid, answers with the receipt."""
        decision = receive.decide(
            body,
            project_id=project_id,
            content_encoding=headers.get(b"content-encoding", b""),
            wanted=wanted,
            idempotency_key=headers.get(b"idempotency-key"),
            limits=self._limits,
        )
        for code, events in receive.refused_counts(decision).items():
            self._tally.add(project_id, decision.received_ms, code, events)
        if decision.envelopes:
            rows = receive.encoded(decision)
            reservation.add(sum(map(len, rows)))
            try:
                outcome, pushed = await self._group.push(project_id, rows, decision.received_ms)
            except (redis.RedisError, OSError):
                raise receive.unavailable() from None
            if not outcome.is_taken:
                self._tally.add(project_id, decision.received_ms, outcome.code, len(rows))
                raise receive.backpressure(outcome, pushed)
        return receive.answer(decision, wanted)

    def _start(self) -> KeyCache:
        """At the first request, for clients belong to the running loop."""
        client = async_client()
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
    """One request's share of the budget."""

    __slots__ = ("_edge", "bytes")

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self.bytes = 0

    def add(self, size: int) -> None:
        self._edge.reserve(size)
        self.bytes += size


async def _body(
    receive_message: Receive, content_length: bytes | None, reservation: _Reservation, limits: Limits
) -> bytes:
    """Returns the whole body. Raises Refused when it is too large (413) or too slow (408), ClientGone when it ends early."""
    task = asyncio.current_task()
    # Half the cost of asyncio.timeout, on every request.
    deadline = asyncio.get_running_loop().call_later(limits.body_seconds, task.cancel, _TOO_SLOW)  # type: ignore[union-attr]
    try:
        message = await receive_message()
        body = message.get("body", b"")
        reservation.add(len(body))
        # Some servers announce the end in a message of its own: whose length is whole needs no second wait.
        if not message.get("more_body") or (body and content_length == b"%d" % len(body)):
            if message["type"] == "http.disconnect":
                raise ClientGone
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
            raise ClientGone
        part = message.get("body", b"")
        reservation.add(len(part))
        size += len(part)
        if size > limits.body_bytes:
            raise receive.too_large(limits.body_bytes)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _respond(send: Send, answer: receive.Answer) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer.body))]
    if answer.retry_after is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_after))
    if answer.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="eventsite"'))
    elif answer.status == 405:
        headers.append((b"allow", b"POST"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _tidy(path: str) -> str:
    """Slashes too many are no reason for a redirect: it would turn a POST into a GET."""
    return "/" + path.strip("/")
