"""An event as it is shown: the same fields, with the same texts, whichever engine it is read from."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

# A row of either engine: its place in the order (`occurred_at` is text of fixed width, so it sorts as time does), then these.
FIELDS: Final = (
    "id", "client_event_id", "name", "user_id", "anonymous_id", "session_id",
    "occurred_at", "received_at", "stored_at", "properties", "context", "raw_base64",
)  # fmt: skip
_PLAIN: Final = ("client_event_id", "name", "user_id", "anonymous_id", "session_id")
_TIMES: Final = ("occurred_at", "received_at", "stored_at")
_JSON: Final = ("properties", "context")


def postgres_columns(*, with_properties: bool = True) -> str:
    """The expressions of FIELDS over `events_event`, after the row's own `id`."""
    times = [f"""to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""" for name in _TIMES]
    large = ["properties::text", "context::text", "translate(encode(raw, 'base64'), E'\\n', '')"]
    return ", ".join(["event_id::text", *_PLAIN, *times, *(large if with_properties else ["NULL"] * 3)])


def lake_columns(*, with_properties: bool = True) -> dict[str, str]:
    """The expressions of FIELDS over a segment's columns, by field."""
    times = {name: f"strftime(make_timestamp(epoch_us({name})), '%Y-%m-%dT%H:%M:%S.%fZ')" for name in _TIMES}
    large = {"properties": "properties", "context": "context", "raw_base64": "to_base64(raw)"}
    return {
        "id": "event_id::varchar",
        **{name: name for name in _PLAIN},
        **times,
        **(large if with_properties else dict.fromkeys(large, "NULL")),
    }


def lake_line() -> str:
    """The expression of one event as a line of NDJSON, put together as text: what was stored keeps all its digits."""
    fields = lake_columns()
    raw = fields.pop("raw_base64")
    values = {
        name: sql if name in _JSON else f"coalesce(to_json({sql})::varchar, 'null')"
        for name, sql in fields.items()
    }
    members = " || ',' || ".join(f"""'"{name}":' || {sql}""" for name, sql in values.items())
    return f"""'{{' || {members} || coalesce(',"raw_base64":"' || {raw} || '"', '') || '}}'"""


def event_of(row: Sequence[Any], *, with_properties: bool = True) -> dict[str, Any]:
    """Takes the values of FIELDS, returns the event; its JSON is passed on as it is stored, digit by digit."""
    event: dict[str, Any] = dict(zip(FIELDS, row, strict=True))
    raw = event.pop("raw_base64")
    for name in _JSON:
        text = event.pop(name)
        if with_properties:
            event[name] = msgspec.Raw(text.encode())
    return event if raw is None else event | {"raw_base64": raw}
