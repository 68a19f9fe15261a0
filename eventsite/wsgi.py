"""WSGI entry: the same ingest contract through the DRF view, at Django's speed."""

import os
from collections.abc import Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "eventsite.settings")
django_application = get_wsgi_application()

from eventsite import metrics  # noqa: E402  needs configured settings

metrics.share()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Django, for which a charset that is no text encoding (rot13, base64) is an error before any view is asked."""
    content_type, _, charset = environ.get("CONTENT_TYPE", "").partition("charset=")
    try:
        b" ".decode(charset.split(";")[0].strip(" \"'") or "utf-8")
    except (LookupError, ValueError):
        environ["CONTENT_TYPE"] = content_type.rstrip("; ")
    return django_application(environ, start_response)
