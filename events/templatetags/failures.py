"""What templates of failures look up by a name that is a value."""

import re
from collections.abc import Mapping
from typing import Any, Final

from django import template

register = template.Library()
_RELATION: Final = re.compile(r'^new row for relation "[^"]*" violates ')


@register.filter
def of(found: Mapping[str, Any], name: str) -> Any:
    """The value by this name, "" where there is none."""
    return found.get(name, "")


@register.filter
def headline(error: str) -> str:
    """A cause without the name of the day's partition, what matters first: it stands in a narrow column."""
    return _RELATION.sub("Violates ", error)
