"""A client as an application would write one: keep-alive, gzip, chunked, many threads."""

import base64
import gzip
import http.client
import http.cookiejar
import json
import re
import threading
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

INGEST_PATH = "/v1/events?receipts=full"
PAYLOAD = "words that no log may repeat"


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body)
        return value


class Client:
    """One keep-alive connection with a write key. Opened again where the server closed it."""

    def __init__(self, credentials: Mapping[str, Any]) -> None:
        address = urllib.parse.urlsplit(credentials["url"])
        assert address.hostname and address.port
        self._connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
        self._headers = {
            "Authorization": f"Bearer {credentials['write_key']}",
            "Content-Type": "application/json",
        }

    def post(self, body: bytes, *, form: str = "plain") -> Reply:
        """Posts a body plain, as `gzip`, or `chunked`. Errors: OSError, http.client.HTTPException."""
        headers, sent = dict(self._headers), FORMS[form](body)
        if form == "gzip":
            headers["Content-Encoding"] = "gzip"
        try:
            self._connection.request("POST", INGEST_PATH, sent, headers, encode_chunked=form == "chunked")
            answer = self._connection.getresponse()
            return Reply(answer.status, answer.read())
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()


def _chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 7_001):  # through the middle of characters and numbers
        yield body[start : start + 7_001]


FORMS: dict[str, Callable[[bytes], Any]] = {"plain": bytes, "gzip": gzip.compress, "chunked": _chunks}


def post_all(
    credentials: Mapping[str, Any], posts: Iterable[tuple[bytes, str]], *, threads: int
) -> list[Reply]:
    """Posts bodies in the given forms from many threads, one connection each; returns the replies in order."""
    local, clients = threading.local(), []

    def send(post: tuple[bytes, str]) -> Reply:
        if not hasattr(local, "client"):
            local.client = Client(credentials)
            clients.append(local.client)
        reply: Reply = local.client.post(post[0], form=post[1])
        return reply

    with ThreadPoolExecutor(threads) as pool:
        replies = list(pool.map(send, posts))
    for client in clients:
        client.close()
    return replies


class Load:
    """Threads that post small events with ids of their own until told to stop, as SDKs do: what fails is sent again."""

    def __init__(self, credentials: Mapping[str, Any], *, threads: int = 4, batch: int = 5) -> None:
        self.acknowledged: list[str] = []
        self.refused = 0
        self._credentials, self._batch = credentials, batch
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def _run(self) -> None:
        client = Client(self._credentials)
        ids: list[str] = []
        while not self._stop.is_set():
            ids = ids or [str(uuid.uuid4()) for _ in range(self._batch)]
            body = json.dumps(
                [{"id": event_id, "name": "load", "properties": {"said": PAYLOAD}} for event_id in ids]
            )
            try:
                accepted = client.post(body.encode()).status == 202
            except (OSError, http.client.HTTPException):
                accepted = False
            if accepted:
                self.acknowledged += ids
                ids = []
            else:
                self.refused += 1
            self._stop.wait(0.01 if accepted else 0.2)
        client.close()

    @contextmanager
    def running(self) -> Iterator["Load"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


# --- pages --------------------------------------------------------------------------------------------------------


def get(url: str, *, login: tuple[str, str] | None = None) -> Reply:
    request = urllib.request.Request(url)
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return Reply(answer.status, answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return Reply(refused.code, refused.read())


class Browser:
    """Follows redirects, keeps cookies, fills in Django's hidden token."""

    def __init__(self) -> None:
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(cookies)

    def get(self, url: str) -> str:
        with self._opener.open(url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def submit(self, url: str, **fields: str) -> str:
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(url))
        assert token, f"no form at {url}"
        form = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": token[1]}).encode()
        with self._opener.open(urllib.request.Request(url, form, {"Referer": url}), timeout=10) as answer:
            text: str = answer.read().decode()
            return text
