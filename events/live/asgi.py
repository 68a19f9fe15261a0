"""The stream itself, in front of Django: who may read is asked of Django, whose thread and connection are free again then."""

import asyncio
import contextlib
import itertools
import re
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from events.live import filters, names
from events.live.hub import Hub, TooManyReaders, Unavailable
from events.live.reader import Reader
from eventsite.valkey import async_client

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MARK: Final = "eventsite.live"  # in the scope: the view is asked for leave, and answers 200 without more
REFUSED: Final = (401, 403, 404)
ASKED_AGAIN_SECONDS: Final = 50  # and up to 20 more, that not all come at once
RETRY_SECONDS: Final = 5
_PATH: Final = re.compile(r"/api/projects/([0-9]{1,18})/live/?")
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would gather
]
_ANSWERED_ANEW: Final = {b"content-type", b"content-length", b"cache-control", b"allow"}


@dataclass(slots=True)
class _Answer:
    start: Message
    body: bytes = b""

    @property
    def status(self) -> int:
        return int(self.start["status"])


class Live:
    """An ASGI application around Django's. Belongs to one event loop."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._hub: Hub | None = None
        self._numbers = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        place = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if place is None or scope["method"] != "GET":
            await self._application(scope, receive, send)
            return
        await self._serve(int(place[1]), scope, receive, send)

    async def _serve(self, project_id: int, scope: Scope, receive: Receive, send: Send) -> None:
        leave = await self._ask(scope)
        if leave.status != 200:
            await _respond(send, leave.start, leave.body)
            return
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        hub = self._hub or self._start()
        try:
            if hub.is_closed:
                raise Unavailable
            reader, hello = await hub.join(project_id, filters.read(query), _last_event_id(scope, query))
        except (TooManyReaders, Unavailable) as error:
            await _refuse(send, error)
            return
        try:
            kept = [
                (name, value) for name, value in leave.start["headers"] if name.lower() not in _ANSWERED_ANEW
            ]
            await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *kept]})
            await self._stream(reader, hello, scope, receive, send)
        finally:
            hub.leave(project_id, reader)

    async def _stream(self, reader: Reader, hello: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the reader has gone, takes nothing, may no longer read, or this process stops."""
        loop = asyncio.get_running_loop()
        watching = loop.create_task(_until_gone(receive, reader))
        spread = next(self._numbers) % 20
        ask_at = loop.time() + ASKED_AGAIN_SECONDS + spread
        chunk = hello
        try:
            while not reader.is_over:
                async with asyncio.timeout(names.STUCK_SECONDS):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if loop.time() > ask_at:
                    if (await self._ask(scope)).status in REFUSED:
                        break
                    ask_at = loop.time() + ASKED_AGAIN_SECONDS + spread
                chunk = await reader.next()
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            pass  # it does not read; the connection is broken off, and what it has missed waits for its return
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _ask(self, scope: Scope) -> _Answer:
        """What Django answers to the same request. It sees no body and no end of the connection."""
        answer = _Answer({"type": "http.response.start", "status": 500, "headers": []})
        body_is_read = False

        async def receive() -> Message:
            nonlocal body_is_read
            if body_is_read:
                await asyncio.get_running_loop().create_future()
            body_is_read = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.start = message
            else:
                answer.body += message.get("body", b"")

        await self._application({**scope, MARK: True}, receive, send)
        return answer

    def _start(self) -> Hub:
        """At the first reader, for clients belong to the running loop."""
        self._hub = Hub(async_client())
        _at_stop(asyncio.get_running_loop(), self._hub.close)
        return self._hub


def _at_stop(loop: asyncio.AbstractEventLoop, close: Callable[[], None]) -> None:
    """The server waits for open answers, then kills; readers would hold it for all that time.

    Its own handler hears of signals by a file descriptor, whatever Python's handler is: that one is free for us.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None, before: Any = before) -> None:
            loop.call_soon_threadsafe(close)
            if callable(before):
                before(received, frame)

        with contextlib.suppress(ValueError):  # not the main thread: a test's loop
            signal.signal(number, handle)
            signal.siginterrupt(number, False)


async def _until_gone(receive: Receive, reader: Reader) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reader.end()


def _last_event_id(scope: Scope, query: list[tuple[str, str]]) -> str:
    """A browser sends the header when it comes again; a page that was loaded anew can say it in its address."""
    header = next((value for name, value in scope["headers"] if name == b"last-event-id"), b"")
    return bytes(header).decode("latin-1") or dict(query).get("last_event_id", "")


async def _refuse(send: Send, error: Exception) -> None:
    code, message = "unavailable", "Live events cannot be read at the moment. Try again."
    if isinstance(error, TooManyReaders):
        code, message = "too_many_readers", "As many read live events here as may. Try again later."
    body = {"code": code, "message": message, "detail": message, "error": code, "fields": {}}
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"%d" % RETRY_SECONDS)]
    start = {"type": "http.response.start", "status": 503, "headers": headers}
    await _respond(send, start, msgspec.json.encode(body))


async def _respond(send: Send, start: Message, body: bytes) -> None:
    await send(start)
    await send({"type": "http.response.body", "body": body})
