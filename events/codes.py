"""The short stable codes: one enum for the API body, the metric label, the log line and the dead-letter row."""

from enum import StrEnum
from typing import Final

# Before a code, where events that were accepted with that warning are counted beside those that were refused.
OF_WARNED: Final = "warned:"


class Code(StrEnum):
    # the request as a whole
    INVALID_JSON = "invalid_json"
    INVALID_UTF8 = "invalid_utf8"
    INVALID_BODY = "invalid_body"  # JSON, but neither an event, nor an array, nor {"events": [...]}
    EMPTY_BODY = "empty_body"
    NO_EVENTS = "no_events"
    BODY_TOO_LARGE = "body_too_large"
    TOO_MANY_EVENTS = "too_many_events"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    BROKEN_ENCODING = "broken_encoding"  # said to be compressed, and does not inflate
    CONFLICTING_LENGTH = "conflicting_length"
    BODY_TIMEOUT = "body_timeout"
    INCOMPLETE_BODY = "incomplete_body"  # the connection ended before its Content-Length was there
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INVALID_IDEMPOTENCY_KEY = "invalid_idempotency_key"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"  # the key is for pages of other origins
    # one event
    NOT_AN_OBJECT = "not_an_object"
    REQUIRED = "required"
    INVALID_TYPE = "invalid_type"
    BLANK = "blank"
    TOO_LONG = "too_long"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    UNKNOWN_FIELD = "unknown_field"
    INVALID_NUMBER = "invalid_number"  # NaN and Infinity are not JSON
    # a dead letter that is sent again
    ID_CHANGED = "id_changed"  # an edited payload must keep its id
    CANNOT_MEND = "cannot_mend"  # a mending rule does not fit the event
    UNREADABLE = "unreadable"  # its payload is no envelope: only an edit can send it again
    # warnings: accepted, and something had to be altered
    INVALID_TIME = "invalid_time"
    ABSURD_TIME = "absurd_time"
    CLOCK_CORRECTED = "clock_corrected"
    SANITIZED = "sanitized"  # what jsonb cannot hold was replaced; the exact bytes are kept in `raw`
    PLAN_VIOLATION = (
        "plan_violation"  # it does not follow the tracking plan: warned of, refused, or a dead letter
    )
    DUPLICATE_KEY = "duplicate_key"  # twice in one object, the last was taken; or `events` twice: refused
    # backpressure
    RATE_LIMITED = "rate_limited"
    QUOTA_EXCEEDED = "quota_exceeded"
    PROJECT_BACKLOG = "project_backlog"
    QUEUE_FULL = "queue_full"
    TOO_MUCH_IN_FLIGHT = "too_much_in_flight"
    UNAVAILABLE = "unavailable"
    # the store
    DATA_ERROR = "data_error"
    WORKER_KILLED = "worker_killed"
