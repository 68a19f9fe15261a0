"""Rehearsal: what would become of letters, as they are, as edited, or as a rule would mend them. Nothing is sent."""

from dataclasses import dataclass
from typing import Any, Final

from events import mending, verdict
from events.audit import audit, only_project
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


def check(
    letter: DeadLetter, *, by: str, document: bytes | None = None, rule: mending.Rule | None = None
) -> Verdict:
    """Says to a person what would become of a letter: as edited, as mended, or as it is. Kept in the audit log."""
    found = mended_verdict(letter, rule) if document is None else letter_verdict(letter, document)
    what: dict[str, Any] = {"letter": letter.pk, "outcome": found.outcome, "edited": document is not None}
    _audit(what, rule, by=by, project_id=letter.project_id, letters=1)
    return found


def rehearse(wanted: Wanted, rule: mending.Rule | None = None, *, by: str) -> Rehearsal:
    """Tries the first of the waiting letters that match, mended by the rule, and sends none. Kept in the audit log."""
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
    what = {"filter": wanted.as_json(), "examined": examined, "would_store": would_store}
    _audit(what, rule, by=by, project_id=wanted.project_id or only_project(waiting), letters=matching)
    return Rehearsal(matching, examined, would_store, duplicate, misses)


def _audit(
    what: dict[str, Any], rule: mending.Rule | None, *, by: str, project_id: int | None, letters: int
) -> None:
    kept = what | ({"rule": mending.plain(rule)} if rule else {})
    audit("check", by=by, project_id=project_id, letters=letters, what=kept)
