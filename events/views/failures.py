"""Failures: what was buried, by cause; one letter with its error; a mending rule tried dry; replays on their way."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from events import deadletter, rehearsal
from events import replay as replays
from events.deadletter import Wanted
from events.models import DeadLetter, LetterState, Replay
from events.replay_api import concerning
from events.verdict import Verdict
from events.views.failures_filter import Asked, asked
from events.views.failures_form import ActForm, suggestion
from events.views.failures_trend import HOURS, trends
from eventsite import json_tree
from eventsite.pages import go, is_owner, page, person, project_or_404, signed_in
from projects.codes import MESSAGE, Code
from projects.models import Project
from tasks.replay import begin

LETTERS: Final = 50  # of one page
STOP_POLLING: Final = 286  # htmx's
STATES: Final = (
    (LetterState.WAITING, "Waiting"),
    (LetterState.REPLAYING, "Sent"),
    (LetterState.REPLAYED, "Replayed"),
    (LetterState.DISCARDED, "Discarded"),
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that failed; `seconds` since the one before."""

    number: int
    at: datetime
    seconds: float | None
    sqlstate: str
    error: str


@require_safe
@signed_in
def failures(request: HttpRequest, project_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    found = asked(request, project.pk)
    groups = deadletter.groups(found.wanted) if not found.errors else deadletter.Groups([], False)
    context = {
        "asked": found,
        "states": STATES,
        "groups": groups.groups,
        "is_partial": groups.is_partial,
        "letters": sum(group.letters for group in groups.groups),
        "trends": trends(found.wanted, [group.fingerprint for group in groups.groups]),
        "hours": HOURS,
        "running": _progress_of(concerning(project.pk).filter(state__in=replays.ACTIVE)[:5], project),
        "latest": concerning(project.pk).order_by("-id")[:5],
        "ever": groups.groups or DeadLetter.objects.filter(project_id=project.pk).exists(),
    }
    return page(request, "failures/page.html", context, project=project)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def letters(request: HttpRequest, project_id: int) -> HttpResponse:
    """Letters that match, of one cause mostly, and what can be done to them: tried, mended, sent again, discarded."""
    project = project_or_404(request, project_id)
    found = asked(request, project.pk)
    form = ActForm(request.POST if request.method == "POST" else None)
    tried: rehearsal.Rehearsal | None = None
    if request.method == "POST" and form.is_valid() and not found.errors:
        wanted = form.wanted(found.wanted)
        do = form.cleaned_data["do"]
        if do == "discard":
            return _discard(request, project, wanted, form.cleaned_data["reason"])
        if do == "replay":
            return _start(request, project, wanted, form)
        tried = rehearsal.rehearse(wanted, form.rule, by=person(request).get_username())
    if request.headers.get("HX-Target") == "tried":
        shown: dict[str, Any] = {"form": form, "tried": tried}
        return page(
            request, "failures/_tried.html", shown, project=project, status=422 if form.errors else 200
        )
    context = _of_letters(request, project, found) | {"form": form, "tried": tried}
    status = 422 if form.is_bound and form.errors else 200
    return page(request, "failures/letters.html", context, project=project, status=status)


def _of_letters(request: HttpRequest, project: Project, found: Asked) -> dict[str, Any]:
    rows = found.wanted.rows().defer("payload", "sent").order_by("-id")
    if found.errors:
        rows = rows.none()
    if found.before:
        rows = rows.filter(id__lt=found.before)
    shown = list(rows[: LETTERS + 1])
    group = deadletter.groups(found.wanted).groups if found.wanted.fingerprint and shown else []
    example = DeadLetter.objects.filter(pk=shown[0].pk).first() if shown else None
    hours = trends(found.wanted, [found.wanted.fingerprint]) if group else {}
    return {
        "asked": found,
        "states": STATES,
        "rows": shown[:LETTERS],
        "next": shown[LETTERS - 1].pk if len(shown) > LETTERS else None,
        "group": group[0] if group else None,
        "hours": hours.get(found.wanted.fingerprint),
        "count": group[0].letters if group else found.wanted.rows().count() if not found.errors else 0,
        "suggested": suggestion(example) if example else None,
        "acts": found.wanted.state == LetterState.WAITING and bool(shown),
    }


def _discard(request: HttpRequest, project: Project, wanted: Wanted, reason: str) -> HttpResponse:
    if not is_owner(project):
        raise PermissionDenied(MESSAGE[Code.NOT_OWNER])
    gone = deadletter.discard(wanted, reason=reason, by=person(request).get_username())
    messages.success(request, f"Discarded: {gone:,}. They can be read until they expire.")
    return go(request, "failures", project.pk)


def _start(request: HttpRequest, project: Project, wanted: Wanted, form: ActForm) -> HttpResponse:
    rate = form.cleaned_data["rate"]
    started = replays.start(wanted, by=person(request).get_username(), rule=form.rule, rate=rate)
    begin(started.pk)
    return go(request, "failures-replay", project.pk, started.pk)


@require_safe
@signed_in
def letter(request: HttpRequest, project_id: int, letter_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    found = letter_or_404(project, letter_id)
    moves = _moves(request, project, found)
    if request.headers.get("HX-Target") == "fate" and not moves:
        return HttpResponse(
            status=204, headers={"HX-Refresh": "true"}
        )  # its buttons and its state are others now
    envelope = deadletter.envelope_of(found.payload)
    waiting = DeadLetter.objects.filter(
        project_id=project.pk, fingerprint=found.fingerprint, state=LetterState.WAITING
    )
    context = {
        "letter": found,
        "moves": moves,
        "tree": tree_of(found) if envelope else None,
        "raw": None if envelope else bytes(found.payload).decode(errors="backslashreplace"),
        "sent": deadletter.client_form(found.sent).decode(errors="backslashreplace") if found.sent else None,
        "offending": deadletter.offending(found),
        "attempts": attempts(found),
        "story": deadletter.story(found),
        "curl": deadletter.curl(found),
        "same": waiting.order_by()[:1_000].count(),
        "waits": found.state == LetterState.WAITING and not moves,
        "earlier": waiting.filter(id__lt=found.pk).order_by("-id").values_list("id", flat=True).first(),
        "later": waiting.filter(id__gt=found.pk).order_by("id").values_list("id", flat=True).first(),
        "trace": trace_url(project, found),
        "group_url": group_url(found),
    }  # fmt: skip
    fragments = {"fate": "failures/_fate.html"}
    return page(request, "failures/letter.html", context, project=project, fragments=fragments)


def group_url(found: DeadLetter) -> str:
    """Where its cause is shown, with the letters that are in the same state."""
    query = {"fingerprint": found.fingerprint}
    if found.state != LetterState.WAITING:
        query["state"] = found.state
    return f"{reverse('failures-letters', args=[found.project_id])}?{urlencode(query)}"


def _moves(request: HttpRequest, project: Project, found: DeadLetter) -> bool:
    """Whether it is on its way, or about to be: a replay that has just begun is named by the address."""
    if found.state == LetterState.REPLAYING:
        return True
    begun = request.GET.get("replay", "")
    if found.state != LetterState.WAITING or not begun.isdecimal() or int(begun) >= 2**63:
        return False
    return Replay.objects.filter(pk=int(begun), project_id=project.pk, state__in=replays.ACTIVE).exists()


def letter_or_404(project: Project, letter_id: int) -> DeadLetter:
    if letter_id >= 2**63:
        raise Http404
    return get_object_or_404(DeadLetter, project_id=project.pk, pk=letter_id)


def tree_of(found: DeadLetter) -> json_tree.Node:
    """The event as its sender wrote it, the places marked that the error is about."""
    document = msgspec.json.decode(deadletter.client_form(found.payload))
    return json_tree.tree(document, marked=deadletter.offending(found))


def attempts(found: DeadLetter) -> list[Attempt]:
    told: list[Attempt] = []
    for number, one in enumerate(found.failures, 1):
        at = datetime.fromisoformat(one["at"])
        since = (at - told[-1].at).total_seconds() if told else (at - found.received_at).total_seconds()
        told.append(Attempt(number, at, since, one.get("sqlstate", ""), _plain(one.get("error", ""))))
    return told


def _plain(error: str) -> str:
    """Without what PostgreSQL repeats of the row: the payload stands beside it."""
    return error.partition(" DETAIL: ")[0]


def trace_url(project: Project, found: DeadLetter) -> str:
    """Where the way of this event is shown; "" where it has no id to ask for."""
    return f"{reverse('events-trace', args=[project.pk])}?id={found.event_id}" if found.event_id else ""


# --- replays ----------------------------------------------------------------------------------------------------------


@require_safe
@signed_in
def replay(request: HttpRequest, project_id: int, replay_id: int) -> HttpResponse:
    """How far a replay is; asked for every second until it has ended, and the same after a reload."""
    project = project_or_404(request, project_id)
    found = replay_or_404(project, replay_id)
    is_active = found.state in replays.ACTIVE
    (job,) = _progress_of([found], project)
    context = {"job": job, "letters": _where_they_went(found, project)}
    fragments = {f"job-{found.pk}": "failures/_job.html", "went": "failures/_went.html"}
    is_part = request.headers.get("HX-Target") in fragments
    status = STOP_POLLING if is_part and not is_active else 200
    return page(request, "failures/replay.html", context, project=project, fragments=fragments, status=status)


@require_POST
@signed_in
def turn_replay(request: HttpRequest, project_id: int, replay_id: int) -> HttpResponse:
    """Stops a replay, or lets a stopped one go on."""
    project = project_or_404(request, project_id)
    if replay_id >= 2**63:
        raise Http404
    found = get_object_or_404(Replay, project_id=project.pk, pk=replay_id)
    by = person(request).get_username()
    if request.POST.get("do") == "stop":
        turned = replays.stop(found, by=by)
    elif turned := replays.resume(found, by=by):
        begin(found.pk)
    if not turned:
        messages.error(request, f"This replay is {found.state}.")
    return go(request, "failures-replay", project.pk, found.pk)


def replay_or_404(project: Project, replay_id: int) -> Replay:
    if replay_id >= 2**63:
        raise Http404
    return get_object_or_404(concerning(project.pk), pk=replay_id)


def _progress_of(found: Any, project: Project) -> list[Mapping[str, Any]]:
    """Each replay with its counts; of one over several projects only this one's letters are counted."""
    jobs: list[Mapping[str, Any]] = []
    for one in found:
        own = None if one.project_id == project.pk else project.pk
        counts = replays.progress(one, project_id=own)
        done = counts["stored"] + counts["duplicate"] + counts["buried"]
        jobs.append({
            "replay": one,
            "counts": counts,
            "done": done,
            "total": one.total if own is None else counts["sent"] + counts["skipped"],
            "is_active": one.state in replays.ACTIVE,
            "is_ours": own is None,
            "tone": "bad" if counts["buried"] else "",
        })  # fmt: skip
    return jobs


def _where_they_went(found: Replay, project: Project) -> list[DeadLetter]:
    rows = DeadLetter.objects.filter(replay_id=found.pk, project_id=project.pk)
    return list(rows.defer("payload", "sent").order_by("-ended_at", "id")[:LETTERS])


def verdict_tone(found: Verdict) -> str:
    return "good" if found.would_store else "warn" if found.outcome == "duplicate" else "bad"
