"""Django behind the event loop: static files and health in the loop, the rest by few threads that keep their connections.

Django's own handler takes a new thread for each request, and so a new connection to PostgreSQL: two thirds of the time of a
usual answer.
"""

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response
from django.db import close_old_connections, connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

# Of all web processes together; each has a connection. Questions hold some of them for seconds, the line for these is shorter.
THREADS: Final = 40
LEAST_THREADS: Final = 12  # of a process


class Handler(ASGIHandler):
    """`settings.LOOP_MIDDLEWARE`, the first of all middleware, stays in the loop."""

    def load_middleware(self, is_async: bool = False) -> None:
        whole = settings.MIDDLEWARE
        in_loop = len(settings.LOOP_MIDDLEWARE)
        settings.MIDDLEWARE = whole[in_loop:]
        try:
            super().load_middleware(is_async=False)
        finally:
            settings.MIDDLEWARE = whole
        self.size = max(THREADS // settings.WEB_WORKERS, LEAST_THREADS)
        self.threads = ThreadPoolExecutor(self.size, "web", initializer=_keep_connection)
        self._outer: Any = self._in_thread
        for path in reversed(whole[:in_loop]):
            self._outer = convert_exception_to_response(import_string(path)(self._outer))

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = await self._outer(request)
        return response

    async def _in_thread(self, request: HttpRequest) -> HttpResponseBase:
        # With a context of its own: languages, time zones and the like end with the request.
        run = contextvars.copy_context().run
        return await asyncio.get_running_loop().run_in_executor(self.threads, run, self._respond, request)

    def _respond(self, request: HttpRequest) -> HttpResponseBase:
        close_old_connections()  # one that is broken; the signals of a request reach other threads only
        return self.get_response(request)


def _keep_connection() -> None:
    """For this thread alone: those of streams, which are the request's own, end with it."""
    age = settings.DATABASE_CONN_MAX_AGE
    connection.settings_dict = {**connection.settings_dict, "CONN_MAX_AGE": age, "CONN_HEALTH_CHECKS": True}
