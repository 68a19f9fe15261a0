"""The WSGI entry, called as a server calls it."""

import io
import sys
from typing import Any

import pytest
import redis

from eventsite.wsgi import application


def post(path: str, query: str, content_type: str) -> str:
    answered: list[str] = []
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": "2",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "wsgi.input": io.BytesIO(b"{}"),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }
    b"".join(application(environ, lambda status, headers, error=None: answered.append(status)))
    return answered[0]


@pytest.mark.django_db
@pytest.mark.parametrize("charset", ["rot13", "base64", "nonsense", "utf-16", '"rot13"', "a\0b", ""])
@pytest.mark.parametrize("path", ["/v1/events", "/api/projects/"])
def test_no_charset_is_an_error_of_ours(path: str, charset: str, valkey: redis.Redis) -> None:
    assert post(path, "a=b", f"application/json; charset={charset}").startswith("401 ")
