"""Questions of pages: asked as the API asks them, and what is said where there is no answer."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django import db
from django.db import connection

from events.insights import errors
from events.insights.ask import ask
from events.insights.kinds import KINDS
from projects.models import Project

logger = logging.getLogger(__name__)
NARROW: Final = "Narrow it: a shorter period, one name, or a filter."


@dataclass(frozen=True, slots=True)
class Failure:
    """For _error.html: what happened, what to do, and whether asking again may help; `is_busy`: it most likely will."""

    title: str
    text: str
    may_help: bool = True
    is_busy: bool = False


_SAID: Final = {
    errors.TooSlow: Failure("It took too long and was stopped.", NARROW),
    errors.TooLarge: Failure("It needs more memory than a question may.", NARROW, may_help=False),
    errors.TooManyRows: Failure("It has more rows than an answer may.", NARROW, may_help=False),
    errors.Busy: Failure(
        "Too many questions are under way.", "Others ask too. Try again in a moment.", is_busy=True
    ),
    errors.Away: Failure(
        "Questions cannot be answered at the moment.",
        "The process that answers them is away; it comes back by itself. Events are taken all the same.",
    ),
}
_NO_DATABASE: Final = Failure(
    "The database does not answer.", "Events are taken all the same, and wait in the queue. Try again."
)


def answer(project: Project, kind: str, question: dict[str, Any]) -> dict[str, Any]:
    """Raises what events/insights/errors.py lists."""
    return ask(project, KINDS[kind], question)


def tried(make: Callable[[], dict[str, Any]], *, times: int = 1) -> dict[str, Any]:
    """Returns what it makes, or `failure`: one part of a page that fails leaves the others as they are.

    `times`: so often it is asked where too many ask (it waits in line for seconds each time, events/insights/wire.py).
    """
    try:
        return make()
    except errors.Busy as error:
        return tried(make, times=times - 1) if times > 1 else {"failure": failure(error)}
    except errors.QuestionError as error:
        return {"failure": failure(error)}
    except db.Error:
        logger.exception("a part of a page could not be read")
        connection.close_if_unusable_or_obsolete()  # or whatever asks after this part finds it broken
        return {"failure": _NO_DATABASE}


def failure(error: errors.QuestionError) -> Failure:
    if isinstance(error, errors.BadQuestion):
        return Failure("This cannot be asked.", f"{error.field}: {error.message}", may_help=False)
    if isinstance(error, errors.Invalid):
        logger.error("a question of a page was refused by DuckDB: %s", error.message)
        return Failure("It cannot be computed over these events.", NARROW, may_help=False)
    return _SAID.get(type(error), _SAID[errors.Away])
