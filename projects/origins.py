"""Origins of pages, as browsers name them in `Origin`: scheme, host and port, in lower case, nothing behind."""

import re
from collections.abc import Iterable
from typing import Final

from django.core.exceptions import ValidationError

MAX_CHARACTERS: Final = 255
MAX_ORIGINS: Final = 100
_ORIGIN: Final = re.compile(r"null|[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")


def tidy(origins: Iterable[str]) -> list[str]:
    """Takes origins as people write them, returns each once, without white space, capitals and a last slash."""
    return list(dict.fromkeys(map(_as_sent, origins)))


def validate_origin(origin: str) -> None:
    """Raises ValidationError for what no browser would call an origin."""
    if not _ORIGIN.fullmatch(_as_sent(origin)):
        example = "https://shop.example.com"
        raise ValidationError(
            "%(origin)r is no origin; one is like %(example)s.", params={"origin": origin, "example": example}
        )


def _as_sent(origin: str) -> str:
    return origin.strip().lower().rstrip("/")
