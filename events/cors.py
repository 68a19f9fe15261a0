"""CORS of the ingest path, so that a page of any origin can send events and read every answer, errors too.

The answer to all is `*`, without credentials: no cookie is looked at here, and an answer tells a page nothing that its
server could not learn by asking. Which origins may send with a key is decided where events are taken: a 403 that the
page can read.
"""

import re
from collections.abc import Collection
from typing import Final

from events.codes import Code
from events.envelope import Refused

Headers = list[tuple[bytes, bytes]]

METHODS: Final = b"POST, OPTIONS"
HEADERS: Final = b"authorization, content-encoding, content-type, idempotency-key, x-api-key"
MAX_AGE_SECONDS: Final = b"86400"  # the longest that any browser goes by
_NAMES: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]{1,1000}")

ANSWER: Final[Headers] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"retry-after"),
]


def preflight(requested_headers: bytes | None) -> Headers:
    """Takes `Access-Control-Request-Headers`, returns the headers of the answer: whatever a page wants to send, it may."""
    mirrored = requested_headers if requested_headers and _NAMES.fullmatch(requested_headers) else HEADERS
    return [
        ANSWER[0],
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", mirrored),
        (b"access-control-max-age", MAX_AGE_SECONDS),
        (b"vary", b"access-control-request-headers"),
    ]


def check_origin(origin: bytes | None, allowed: Collection[str]) -> None:
    """Raises Refused (403) for a page whose origin is not among `allowed`. What names no origin is no page."""
    if origin is not None and origin.decode("latin-1").lower() not in allowed:
        detail = "This key is not for pages of this origin; the project's owner lists them."
        raise Refused(403, Code.ORIGIN_NOT_ALLOWED, detail)
