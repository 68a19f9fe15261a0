"""What /api/docs/ shows of dead letters: examples of answers, and of refusals."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample

from eventsite.api import error_response

FAILURE: Final[dict[str, Any]] = {
    "id": 7,
    "event_id": "0190a7c8-1234-7abc-8def-0123456789ab",
    "name": "order_paid",
    "code": "data_error",
    "sqlstate": "23514",
    "field": "amount_is_number",
    "error": 'new row for relation "events_event_20260131" violates check constraint "amount_is_number"',
    "stage": "store",
    "attempts": 2,
    "failures": [
        {
            "attempt": 1,
            "at": "2026-01-31T12:00:00.201Z",
            "sqlstate": "40P01",
            "error": "deadlock detected",
        },
        {
            "attempt": 2,
            "at": "2026-01-31T12:00:01.487333Z",
            "sqlstate": "23514",
            "error": 'new row for relation "events_event_20260131" violates check constraint "amount_is_number"',
        },
    ],
    "received_at": "2026-01-31T12:00:00.123456Z",
    "first_failed_at": "2026-01-31T12:00:00.201Z",
    "last_failed_at": "2026-01-31T12:00:01.487333Z",
    "fingerprint": "9f86d081884c7d65",
    "state": "waiting",
    "outcome": "",
    "note": "",
    "replay": None,
    "replayed_at": None,
    "ended_at": None,
    "ended_by": "",
    "successor": None,
}
EVENT: Final = {"id": "order-7", "name": "order_paid", "properties": {"amount": "19.90"}, "context": {}}
DETAIL: Final = FAILURE | {
    "event": EVENT,
    "event_text": '{\n  "id": "order-7", …\n}',
    "sent_text": None,
    "payload_base64": "eyJwcm9qZWN0X2lkIjox…",
    "offending": ["properties.amount"],
    "curl": 'curl https://events.example.com/v1/events -H "Authorization: Bearer $KEY" …',
    "story": [FAILURE],
}
GROUP: Final = {
    **{name: FAILURE[name] for name in ("fingerprint", "code", "sqlstate", "field", "error")},
    "letters": 23,
    "first_at": FAILURE["first_failed_at"],
    "last_at": FAILURE["last_failed_at"],
    "example": 7,
}
RULE: Final = [{"path": "properties.amount", "do": "to_number"}]
MISS: Final = {
    "letter": 9,
    "outcome": "refused",
    "code": "cannot_mend",
    "field": "properties.amount",
    "detail": "'twelve' is not a number.",
}
REHEARSAL: Final = {"matching": 23, "examined": 23, "would_store": 21, "duplicate": 0, "misses": [MISS]}
REPLAY: Final = {
    "id": 3,
    "state": "sending",
    "note": "",
    "by_name": "ada",
    "created_at": "2026-01-31T13:00:00Z",
    "ended_at": None,
    "filter": {"project_id": 1, "fingerprint": FAILURE["fingerprint"]},
    "rule": RULE,
    "rate": 200,
    "total": 23,
    "progress": {"sent": 20, "on_its_way": 5, "stored": 15, "duplicate": 0, "buried": 0, "skipped": 1},
}
VERDICT: Final = {
    "outcome": "dead",
    "would_store": False,
    "code": "data_error",
    "field": "amount_is_number",
    "detail": FAILURE["error"],
    "sqlstate": "23514",
    "line": None,
    "column": None,
    "warnings": [],
}
AUDIT: Final = {
    "id": 5,
    "at": "2026-01-31T13:00:00Z",
    "by_name": "ada",
    "action": "replay",
    "letters": 23,
    "what": {"replay": 3, "filter": REPLAY["filter"], "rule": RULE},
}


def answers(name: str, value: Any, *statuses: str) -> OpenApiExample:
    return OpenApiExample(name, value, response_only=True, status_codes=list(statuses) or ["200"])


def asks(name: str, value: Any) -> OpenApiExample:
    return OpenApiExample(name, value, request_only=True)


BAD_FILTER = error_response(
    "The filter is not right",
    "invalid",
    'state: "lost" is not a valid choice.',
    state=['"lost" is not a valid choice.'],
)
BAD_SELECTION = error_response(
    "The body is not right",
    "invalid",
    "ids: Give either `ids` or `filter`.",
    ids=["Give either `ids` or `filter`."],
)
NOT_WAITING = error_response(
    "It waits no more", "not_waiting", "This letter is discarded: only waiting ones are sent."
)
ENDED = error_response("It is not in that state", "not_running", "This replay is done.")
