"""The one message that crosses every seam, from accept to store."""

from typing import Final

import msgspec

VERSION: Final = 1
EMPTY: Final = msgspec.Raw(b"{}")


class Envelope(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An accepted event, as it lies in the queue: JSON whose names are the columns that `store` writes.

    Times are RFC 3339 in UTC with microseconds. `properties` and `context` are JSON objects passed through as bytes.
    `raw` (base64) holds the event exactly as it came when PostgreSQL could not hold it faithfully.
    """

    project_id: int
    event_id: str
    name: str
    occurred_at: str
    received_at: str
    properties: msgspec.Raw
    context: msgspec.Raw
    client_event_id: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    session_id: str | None = None
    raw: str | None = None


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Envelope).decode
split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with one event of a request: its place, the client's id where it could be read, code and field."""

    index: int
    id: str | None
    code: str
    field: str | None
    detail: str


class Refused(Exception):
    """A request refused as a whole. `status` is the HTTP status, `retry_after` whole seconds."""

    def __init__(
        self, status: int, code: str, detail: str, *, field: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.retry_after = retry_after
