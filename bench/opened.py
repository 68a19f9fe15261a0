"""Opens pages as a browser does: the page, then what it asks for by itself. Needs Django's settings."""

import copy
import gzip
import http.client
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from events.insights import client as questions

FRESH: Final = "@name:ne:nobody-"  # a filter that changes no answer, and each time another question
_NUMBER: Final = re.compile(r"/?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|/\d+")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `target`: the id that htmx would swap, None for a whole page; `form`, `question`: what is posted."""

    path: str
    target: str | None = None
    form: dict[str, str] | None = None
    question: Any = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.target is None else {"HX-Request": "true", "HX-Target": self.target}


@dataclass(slots=True)
class Opened:
    """What a request was answered with. `seconds`: of each time it was asked."""

    status: int
    bytes: int
    gzipped: int
    seconds: list[float] = field(default_factory=list)
    queries: int = 0
    questions: int = 0  # to the lake


class Browser:
    """Somebody who is signed in, over one kept connection; and the same requests within this process, to count what they ask."""

    def __init__(self, url: str, user: User) -> None:
        host = urlsplit(url).netloc
        self._web = http.client.HTTPConnection(host, timeout=60)
        self._inside = Client(raise_request_exception=False, HTTP_HOST=host)
        self._inside.force_login(user)
        self.cookie = f"sessionid={self._inside.cookies['sessionid'].value}"
        self._token = ""

    def another(self) -> "Browser":
        """The same person in another tab: a connection of its own."""
        made = copy.copy(self)
        made._web = http.client.HTTPConnection(self._web.host, self._web.port, timeout=60)
        return made

    def open(self, asked: Asked) -> tuple[int, bytes, float]:
        """Returns status, body and seconds until its last byte."""
        if (asked.form or asked.question) and not self._token:
            self.open(Asked("/projects"))
        headers = {"Cookie": self.cookie, **asked.headers}
        begin = time.perf_counter()
        if asked.form is None and asked.question is None:
            self._web.request("GET", asked.path, headers=headers)
        else:
            kind = "x-www-form-urlencoded" if asked.question is None else "json"
            headers |= {"Content-Type": f"application/{kind}", "X-CSRFToken": self._token}
            headers["Cookie"] += f"; csrftoken={self._token}"
            sent = urlencode(asked.form or {}) if asked.question is None else json.dumps(asked.question)
            self._web.request("POST", asked.path, sent, headers)
        answer = self._web.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - begin
        for cookie in answer.headers.get_all("Set-Cookie", []):
            if cookie.startswith("csrftoken="):
                self._token = cookie.partition("=")[2].partition(";")[0]
        return answer.status, body, seconds

    def count(self, asked: Asked) -> tuple[int, int]:
        """Returns how often PostgreSQL and the lake were asked."""
        with CaptureQueriesContext(connection) as queries, _counted() as count:
            if asked.form is None:
                self._inside.get(asked.path, headers=asked.headers)
            else:
                self._inside.post(asked.path, asked.form, headers=asked.headers)
        return len(queries), len(count)


@contextmanager
def _counted() -> Iterator[list[Any]]:
    """Notes each question to the question process."""
    seen: list[Any] = []
    ask = questions._ask

    def noted(request: Any, *rest: Any) -> Any:
        seen.append(request)
        return ask(request, *rest)

    questions._ask = noted  # type: ignore[assignment]  # the same, less said
    try:
        yield seen
    finally:
        questions._ask = ask


def weigh(body: bytes) -> int:
    return len(gzip.compress(body, 6))


def label(asked: Asked, page: str) -> str:
    """What a request is called: the same each time, without what is another each time. `page`: the pattern it comes from."""
    path = re.sub(rf"[?&]f={quote(FRESH, safe='')}\d+|[?&]f={FRESH}\d+", "", asked.path)
    path = re.sub(r"after=[\w-]+", "after=…", path)
    if "{n}" in page:
        path = re.sub(r"(who=\w+)\d", r"\1·", path)
    place, _, query = path.partition("?") if "?" in path else path.partition("&")
    place, query = (
        _NUMBER.sub(lambda found: "/·" if found[0].startswith("/") else "·", part) for part in (place, query)
    )
    place = place.removeprefix("/projects/·/").removeprefix("/")
    return place + (f"?{unquote(query)}" if query else "") + (" (part)" if asked.target is not None else "")


class _Found(HTMLParser):
    """Collects what a page asks for: at once, every so often, or in a dialog; not what swaps the whole view."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self._area: tuple[str, str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        target = known.get("hx-target", f"#{known.get('id', '')}")
        if "hx-get" in known and target != "#view":
            self.asked.append(Asked(known["hx-get"], target[1:] if target.startswith("#") else ""))
        if tag == "textarea" and "load" in known.get("hx-trigger", ""):
            self._area = known["hx-post"], known["name"], target[1:]

    def handle_data(self, data: str) -> None:
        if self._area:
            path, name, target = self._area
            self.asked.append(Asked(path, target, {name: data}))
            self._area = None


def fragments(body: bytes) -> list[Asked]:
    found = _Found()
    found.feed(body.decode(errors="replace"))
    return found.asked
