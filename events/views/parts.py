"""A part of a page that is asked for by itself, so that a slow or broken one holds nothing up."""

from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest

AGAIN: Final = "again"  # in an address of a part: it was busy a second ago


@dataclass(frozen=True, slots=True)
class Part:
    """`url` answers with it; `context` is None where it is still to be asked for (templates/parts/_part.html).

    `again_url`: where it is asked for once more by itself, should too many questions be under way.
    """

    name: str
    template: str
    url: str
    width: str = ""
    context: dict[str, Any] | None = None
    again_url: str = ""


def asked_alone(request: HttpRequest, name: str, template: str, context: dict[str, Any]) -> Part:
    """A part that this request asks for, and nothing else."""
    url = request.get_full_path()
    again = "" if AGAIN in request.GET else f"{url}{'&' if '?' in url else '?'}{AGAIN}=1"
    return Part(name, template, url, "", context, again)
