"""The limits of one request, read from the settings once: Django's settings object costs 2 µs an attribute."""

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, `body_seconds` in seconds, `depth` in levels of brackets."""

    event_bytes: int
    request_events: int
    compressed_bytes: int
    body_bytes: int
    depth: int
    in_flight_bytes: int
    body_seconds: float

    @classmethod
    def from_settings(cls) -> "Limits":
        return cls(
            event_bytes=settings.EVENTS_MAX_EVENT_BYTES,
            request_events=settings.EVENTS_MAX_REQUEST_EVENTS,
            compressed_bytes=settings.EVENTS_MAX_COMPRESSED_BYTES,
            body_bytes=settings.EVENTS_MAX_BODY_BYTES,
            depth=settings.EVENTS_MAX_DEPTH,
            in_flight_bytes=settings.EVENTS_MAX_IN_FLIGHT_BYTES,
            body_seconds=settings.EVENTS_BODY_TIMEOUT_SECONDS,
        )
