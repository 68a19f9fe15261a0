"""A part of a page that is asked for by itself, so that a slow or broken one holds nothing up."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """`url` answers with it; `context` is None where it is still to be asked for (templates/parts/_part.html)."""

    name: str
    template: str
    url: str
    width: str = ""
    context: dict[str, Any] | None = None
