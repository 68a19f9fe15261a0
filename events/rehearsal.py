"""Rehearsal: what would become of letters, as they are, as edited, or as a rule would mend them. Nothing is sent."""

from dataclasses import dataclass
from typing import Final

from events import mending, verdict
from events.codes import Code
from events.deadletter import Wanted, client_form, envelope_of
from events.models import DeadLetter, LetterState
from events.verdict import Verdict

REHEARSED: Final = 500
EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class Miss:
    """A letter that would not be stored, and why."""

    letter: int
    outcome: str
    code: str
    field: str
    detail: str


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a replay would do to the first `examined` of `matching` letters. Nothing was sent."""

    matching: int
    examined: int
    would_store: int
    duplicate: int
    misses: list[Miss]


def letter_verdict(letter: DeadLetter, document: bytes) -> Verdict:
    """Takes a letter and its event as edited, returns what would become of it."""
    return verdict.check(
        document,
        project_id=letter.project_id or 0,
        received_at=letter.received_at,
        event_id=str(letter.event_id) if letter.event_id else None,
        original=envelope_of(letter.payload),
    )


def mended_verdict(letter: DeadLetter, rule: mending.Rule | None) -> Verdict:
    """The same for a letter as a rule would mend it."""
    document = client_form(letter.sent or letter.payload)
    try:
        return letter_verdict(letter, mending.mend(document, rule) if rule else document)
    except mending.CannotMend as error:
        return Verdict("refused", Code.CANNOT_MEND, error.path, error.detail)


def rehearse(wanted: Wanted, rule: mending.Rule | None = None) -> Rehearsal:
    """Tries the first of the waiting letters that match, mended by the rule, and sends none."""
    waiting = wanted.rows().filter(state=LetterState.WAITING)
    examined = would_store = duplicate = 0
    misses: list[Miss] = []
    for letter in waiting.order_by("id")[:REHEARSED].iterator(chunk_size=50):
        examined += 1
        found = mended_verdict(letter, rule)
        would_store += found.would_store
        duplicate += found.outcome == "duplicate"
        if found.outcome in ("refused", "dead") and len(misses) < EXAMPLES:
            misses.append(Miss(letter.pk, found.outcome, str(found.code), found.field, found.detail))
    matching = examined if examined < REHEARSED else waiting.count()
    return Rehearsal(matching, examined, would_store, duplicate, misses)
