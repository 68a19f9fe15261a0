"""Dead letters as NDJSON: each with what its sender would send again, and with its envelope as it lay in the queue."""

import base64
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from events.audit import audit, only_project
from events.deadletter import Wanted, client_form, envelope_of
from events.models import DeadLetter

EXPORT_PAGE: Final = 200


def begin(wanted: Wanted, *, by: str) -> None:
    """Keeps who takes letters away, before the first is gone."""
    rows = wanted.rows()
    project_id = wanted.project_id or only_project(rows)
    audit("export", by=by, project_id=project_id, letters=rows.count(), what={"filter": wanted.as_json()})


def export_page(wanted: Wanted, after_id: int) -> tuple[bytes, int | None]:
    """Returns the next letters as NDJSON, oldest first, and the id to go on after, None at the end."""
    page = list(wanted.rows().filter(id__gt=after_id).order_by("id")[:EXPORT_PAGE])
    lines = b"".join(msgspec.json.encode(_exported(letter)) + b"\n" for letter in page)
    return lines, page[-1].pk if len(page) == EXPORT_PAGE else None


def export(wanted: Wanted) -> Iterator[bytes]:
    """Yields NDJSON page by page; holds no more than a page."""
    after: int | None = 0
    while after is not None:
        lines, after = export_page(wanted, after)
        yield lines


def _exported(letter: DeadLetter) -> dict[str, Any]:
    """`event` is what its sender would send again; the payload stands in base64 where it is no envelope."""
    payload = bytes(letter.payload)
    is_event = envelope_of(payload) is not None
    event = msgspec.Raw(msgspec.json.format(client_form(payload), indent=-1)) if is_event else None
    names = (
        "id", "project_id", "event_id", "name", "code", "sqlstate", "field", "error", "stage", "attempts",
        "failures", "received_at", "first_failed_at", "last_failed_at", "fingerprint", "state", "outcome", "note",
    )  # fmt: skip
    fields = {name: getattr(letter, name) for name in names}
    envelope = msgspec.Raw(payload) if is_event else None
    return fields | {
        "event": event,
        "envelope": envelope,
        "payload_base64": None if is_event else base64.b64encode(payload).decode(),
    }
