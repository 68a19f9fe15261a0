"""Which names of time zones a project may carry."""

import zoneinfo
from functools import cache

from django.core.exceptions import ValidationError

# Files of the system's database that are no places: their meaning differs from machine to machine.
_NO_PLACES = {"localtime", "Factory"}


@cache
def names() -> frozenset[str]:
    """Returns the IANA names this machine knows. Cached: the first call walks a directory tree."""
    return frozenset(zoneinfo.available_timezones() - _NO_PLACES)


def validate_time_zone(name: str) -> None:
    """Raises ValidationError unless `name` is an IANA time zone."""
    if name not in names():
        raise ValidationError(
            "Not a time zone. Give an IANA name such as 'UTC' or 'Europe/Berlin'.", code="invalid_time_zone"
        )
