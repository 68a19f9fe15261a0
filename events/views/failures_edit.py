"""Edit one letter: checked as it is typed, by the code that accepts and the statement that stores; then sent."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from events import deadletter, rehearsal
from events import replay as replays
from events.models import DeadLetter, LetterState
from events.verdict import Verdict
from events.views.failures import letter_or_404, tree_of, verdict_tone
from eventsite.pages import go, page, person, project_or_404, signed_in
from tasks.replay import begin


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def edit(request: HttpRequest, project_id: int, letter_id: int) -> HttpResponse:
    """GET shows the event as its sender would write it; POST checks it, or sends it where it would be stored."""
    project = project_or_404(request, project_id)
    found = letter_or_404(project, letter_id)
    if found.state != LetterState.WAITING:
        messages.error(request, f"This letter is {found.get_state_display()}: only waiting ones are edited.")
        return go(request, "failures-letter", project.pk, found.pk)
    by, verdict = person(request).get_username(), None
    text = deadletter.client_form(found.sent or found.payload).decode(errors="backslashreplace")
    if request.method == "POST":
        text = sent_text(request)
        if request.POST.get("do") == "send":
            verdict, started = replays.send_edited(found, _bytes(text), by=by)
            if started is not None:
                begin(started.pk)
                return go(
                    request, f"{reverse('failures-letter', args=[project.pk, found.pk])}?replay={started.pk}"
                )
        else:
            verdict = rehearsal.check(found, by=by, document=_bytes(text))
    context: dict[str, Any] = {
        "letter": found,
        "text": text,
        "lines": min(36, max(14, text.count("\n") + 2)),
        "tree": tree_of(found) if deadletter.envelope_of(found.payload) else None,
        "offending": deadletter.offending(found),
    }
    status = 422 if verdict is not None and not verdict.would_store else 200
    return page(
        request, "failures/edit.html", context | told(verdict), project=project, status=status
    )  # fmt: skip


@require_POST
@signed_in
def check_edit(request: HttpRequest, project_id: int, letter_id: int) -> HttpResponse:
    """The verdict alone, while it is typed. Not in the audit log: nothing is taken away and nothing done."""
    project = project_or_404(request, project_id)
    found: DeadLetter = letter_or_404(project, letter_id)
    verdict = rehearsal.letter_verdict(found, _bytes(sent_text(request)))
    return page(request, "failures/_verdict.html", told(verdict), project=project)


def told(verdict: Verdict | None) -> dict[str, Any]:
    detail = verdict.detail.partition(" DETAIL: ")[0] if verdict else ""
    return {"verdict": verdict, "detail": detail, "tone": verdict_tone(verdict) if verdict else ""}


def sent_text(request: HttpRequest) -> str:
    """A form sends lines with CR LF."""
    return request.POST.get("text", "").replace("\r\n", "\n")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
