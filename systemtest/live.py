"""A reader of live events, as a program without EventSource would write one."""

import http.client
import json
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any


class Stream:
    """An open answer, read frame by frame. `last_id` is what to go on after."""

    def __init__(self, url: str, path: str, **headers: str) -> None:
        address = urllib.parse.urlsplit(url)
        assert address.hostname and address.port
        self.connection = http.client.HTTPConnection(address.hostname, address.port, timeout=15)
        sent = {
            "Accept": "text/event-stream",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        self.connection.request("GET", path, headers=sent)
        self.response = self.connection.getresponse()
        self.last_id = ""

    def hello(self) -> "Stream":
        """Waits until it has begun."""
        while not self.last_id:
            self._field()
        return self

    def next(self) -> tuple[str, Any]:
        """The next frame with data: its event and what it says. Raises EOFError at the end."""
        event, data = "", None
        while True:
            field, value = self._field()
            if field == "event":
                event = value
            elif field == "data":
                data = json.loads(value)
            elif not field and data is not None:
                return event, data

    def of(self, *events: str) -> tuple[str, Any]:
        """The next frame of one of these."""
        while (found := self.next())[0] not in events:
            pass
        return found

    def close(self) -> None:
        self.response.close()
        self.connection.close()

    def _field(self) -> tuple[str, str]:
        line = self.response.readline().decode()
        if not line:
            raise EOFError
        field, _, value = line.rstrip("\n").partition(": ")
        if field == "id":
            self.last_id = value
        return field, value


def token(credentials: Mapping[str, Any]) -> str:
    """Logs in as the first admin."""
    body = {"username": "admin", "password": credentials["admin_password"]}
    request = urllib.request.Request(
        f"{credentials['url']}/api/auth/login/",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.loads(answer.read())["token"])


def project_of(credentials: Mapping[str, Any], login: str) -> int:
    """The demo project's id."""
    request = urllib.request.Request(
        f"{credentials['url']}/api/projects/", headers={"Authorization": f"Token {login}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(json.loads(answer.read())["results"][0]["id"])
