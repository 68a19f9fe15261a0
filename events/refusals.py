"""The codes of refusals in words: what was wrong, and what to do. For pages; the API tells each client its own detail."""

from typing import Final

from events.codes import Code

REASONS: Final[dict[str, str]] = {
    Code.INVALID_JSON: "The body is not JSON.",
    Code.INVALID_UTF8: "The body is not UTF-8.",
    Code.INVALID_BODY: 'The body is neither an event, nor an array, nor {"events": […]}.',
    Code.EMPTY_BODY: "The body is empty.",
    Code.NO_EVENTS: "The list of events is empty.",
    Code.BODY_TOO_LARGE: "The body is too large: send fewer events at a time.",
    Code.TOO_MANY_EVENTS: "Too many events in one request: send fewer at a time.",
    Code.UNSUPPORTED_ENCODING: "This Content-Encoding is not known: gzip, br, zstd and deflate are.",
    Code.BROKEN_ENCODING: "The body does not inflate as its Content-Encoding says.",
    Code.CONFLICTING_LENGTH: "Content-Length and Transfer-Encoding exclude each other.",
    Code.BODY_TIMEOUT: "The body came too slowly.",
    Code.INCOMPLETE_BODY: "The connection ended before the body was there.",
    Code.INVALID_IDEMPOTENCY_KEY: "The Idempotency-Key is empty or too long.",
    Code.ORIGIN_NOT_ALLOWED: "The key is for pages of other origins: Settings, Keys.",
    Code.NOT_AN_OBJECT: "An event must be a JSON object.",
    Code.REQUIRED: "A field is missing: every event needs a name.",
    Code.INVALID_TYPE: "A field has the wrong type: name and ids are text, properties and context objects.",
    Code.BLANK: "A field is empty: the name must not be blank.",
    Code.TOO_LONG: "A field is too long: name and ids may have 200 characters.",
    Code.TOO_LARGE: "An event is too large.",
    Code.TOO_DEEP: "An event is nested too deeply.",
    Code.UNKNOWN_FIELD: "A field is not known: what is yours belongs into properties.",
    Code.INVALID_NUMBER: "NaN and Infinity are not JSON.",
    Code.DUPLICATE_KEY: "`events` stands twice in the body.",
    Code.RATE_LIMITED: "More events a second than this project's quota allows.",
    Code.QUOTA_EXCEEDED: "The day's quota of this project is used up.",
    Code.PROJECT_BACKLOG: "This project holds its share of the queue: send again later.",
    Code.QUEUE_FULL: "The queue is full: send again later.",
    Code.TOO_MUCH_IN_FLIGHT: "Too much was on its way at once: send again later.",
    Code.UNAVAILABLE: "The queue did not answer: send again later.",
}


def reason(code: str) -> str:
    """Returns a sentence for a code; the code itself where there is none."""
    return REASONS.get(code, code)
