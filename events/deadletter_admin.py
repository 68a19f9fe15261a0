"""Dead letters in the admin: by cause, one by one, edited, mended, sent again, discarded."""

import re
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from events import deadletter, rehearsal, replay
from events.admin_lists import KeysetChangeList, NameFilter, as_uuid, verbatim
from events.deadletter import Wanted
from events.deadletter_forms import ActForm, LetterStateFilter
from events.letters_admin import DISCARD, REPLAY, LettersAdmin
from events.marked import around, marked
from events.models import DeadLetter, LetterState
from events.verdict import Verdict
from tasks.replay import begin

EXAMPLES: Final = 5


class DeadLetterChangeList(KeysetChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.show_admin_actions = True


class DeadLetterAdmin(LettersAdmin):
    list_display = (
        "name",
        "project",
        "code",
        "sqlstate",
        "last_failed_at",
        "state",
        "outcome",
        "cause",
        "event_id",
    )
    list_filter = (LetterStateFilter, "project", "code", "sqlstate", NameFilter, "last_failed_at")
    list_select_related = ("project",)
    change_list_template = "admin/events/deadletter/change_list.html"
    change_form_template = "admin/events/deadletter/change_form.html"
    unlisted = ("payload", "sent", "failures")
    search_fields = ("event_id",)
    search_help_text = "An event's id (the UUID), or a fingerprint, in full."
    actions = ("replay_selected", "discard_selected")  # type: ignore[assignment]
    fields = (
        "event_id", "name", "project", "state", "outcome", "note", "code", "sqlstate", "field", "error",
        "pretty_payload", "stage", "attempts", "received_at", "first_failed_at", "last_failed_at", "replayed_at",
        "replay", "ended_at", "ended_by", "fingerprint", "pretty_sent", "curl_line",
    )  # fmt: skip

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DeadLetterChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], search_term: str
    ) -> tuple[QuerySet[DeadLetter], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if re.fullmatch(r"[0-9a-f]{16}", term):
            return queryset.filter(fingerprint=term), False
        event_id = as_uuid(term)
        return (queryset.filter(event_id=event_id) if event_id else queryset.none()), False

    def get_urls(self) -> list[URLPattern]:
        def route(place: str, view: Any, name: str) -> Any:
            return path(place, self.admin_site.admin_view(view), name=f"events_deadletter_{name}")

        return [
            route("groups/", self.groups_view, "groups"),
            route("act/", self.act_view, "act"),
            route("<int:letter_id>/edit/", self.edit_view, "edit"),
            *super().get_urls(),
        ]

    # --- columns ---------------------------------------------------------------------------------------------------

    @admin.display(description="payload as accepted")
    def pretty_payload(self, letter: DeadLetter) -> SafeString:
        return marked(bytes(letter.payload), deadletter.offending(letter))

    @admin.display(description="sent again as")
    def pretty_sent(self, letter: DeadLetter) -> SafeString | str:
        return "as accepted" if letter.sent is None else marked(bytes(letter.sent), ())

    @admin.display(description="from a shell")
    def curl_line(self, letter: DeadLetter) -> SafeString | str:
        line = deadletter.curl(letter)
        return verbatim(line) if line else "Its payload is no event."

    # --- actions on a selection: they lead to the page that asks ----------------------------------------------------

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(REPLAY)

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(DISCARD)

    @admin.action(description="Send selected dead letters again", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        return self._to_act(queryset)

    @admin.action(description="Discard selected dead letters", permissions=["discard"])
    def discard_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        return self._to_act(queryset)

    def _to_act(self, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        ids = ",".join(str(pk) for pk in queryset.values_list("pk", flat=True)[:1_000])
        return HttpResponseRedirect(f"{reverse('admin:events_deadletter_act')}?{urlencode({'ids': ids})}")

    # --- pages -----------------------------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        top = deadletter.groups(Wanted(state=LetterState.WAITING)).groups[:10] if not request.GET else []
        return super().changelist_view(request, {"top_groups": top} | (extra_context or {}))

    def more(self, request: HttpRequest, row: DeadLetter) -> dict[str, Any]:
        waits = row.state == LetterState.WAITING
        return {
            "letter": row,
            "story": deadletter.story(row),
            "attempts": _attempts(row),
            "may_act": waits and (request.user.has_perm(REPLAY) or request.user.has_perm(DISCARD)),
            "may_edit": waits and request.user.has_perm(REPLAY),
        }

    def groups_view(self, request: HttpRequest) -> HttpResponse:
        """Waiting letters by cause."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = deadletter.groups(Wanted(state=LetterState.WAITING))
        return self._page(request, "groups", "Dead letters by cause", groups=found)

    def act_view(self, request: HttpRequest) -> HttpResponse:
        """Says which letters are meant, tries a rule over them, and does what is confirmed."""
        may_replay, may_discard = request.user.has_perm(REPLAY), request.user.has_perm(DISCARD)
        if not (may_replay or may_discard):
            raise PermissionDenied
        form = ActForm(request.POST if request.method == "POST" else request.GET)
        tried = None
        do = request.POST.get("do") if request.method == "POST" else None
        if form.is_valid() and do == "discard" and not form.cleaned_data["reason"].strip():
            form.add_error("reason", "Say why: it stays with the letters.")
        if not form.is_valid():
            tried, wanted = None, Wanted(ids=(0,))
        else:
            wanted = form.wanted()
            if (do in ("try", "replay") and not may_replay) or (do == "discard" and not may_discard):
                raise PermissionDenied
            if do == "try":
                rule, by = form.cleaned_data["rule"], request.user.get_username()
                tried = rehearsal.rehearse(wanted, rule, by=by)
            elif do in ("replay", "discard"):
                return self._act(request, do, wanted, form.cleaned_data)
        return self._page(
            request, "act", "Send again or discard", form=form, tried=tried, may_replay=may_replay,
            may_discard=may_discard, count=wanted.rows().count(), wanted=wanted.as_json(),
            letters=wanted.rows().defer("payload", "sent").order_by("-id")[:EXAMPLES],
        )  # fmt: skip

    def _act(self, request: HttpRequest, do: str, wanted: Wanted, fields: dict[str, Any]) -> HttpResponse:
        by = request.user.get_username()
        if do == "discard":
            discarded = deadletter.discard(wanted, reason=fields["reason"].strip(), by=by)
            self.message_user(request, f"Discarded: {discarded}.", messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:events_deadletter_changelist"))
        started = replay.start(wanted, by=by, rule=fields["rule"], rate=fields["rate"])
        begin(started.pk)
        return HttpResponseRedirect(reverse("admin:events_replay_change", args=[started.pk]))

    def edit_view(self, request: HttpRequest, letter_id: int) -> HttpResponse:
        """The event as its sender would write it, to be edited; checked by what accepts and stores, then sent."""
        if not request.user.has_perm(REPLAY):
            raise PermissionDenied
        letter = get_object_or_404(DeadLetter, pk=letter_id) if letter_id < 2**63 else None
        if letter is None:
            raise Http404
        text = deadletter.client_form(letter.sent or letter.payload).decode(errors="backslashreplace")
        found: Verdict | None = None
        if request.method == "POST":
            text = request.POST.get("text", "").replace("\r\n", "\n")
            document = text.encode(errors="surrogatepass")
            if request.POST.get("do") == "send" and letter.state == LetterState.WAITING:
                found, started = replay.send_edited(letter, document, by=request.user.get_username())
                if started is not None:
                    begin(started.pk)
                    return HttpResponseRedirect(reverse("admin:events_replay_change", args=[started.pk]))
            else:
                found = rehearsal.check(letter, by=request.user.get_username(), document=document)
        return self._page(
            request, "edit", f"Edit {letter.name or 'event'}", letter=letter, text=text, verdict=found,
            around=around(text, found), rows=min(40, max(12, text.count("\n") + 3)),
            waits=letter.state == LetterState.WAITING,
        )  # fmt: skip

    def _page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        shared = self.admin_site.each_context(request) | {
            "opts": self.opts,
            "title": title,
            "media": self.media,
        }
        return TemplateResponse(request, f"admin/events/deadletter/{template}.html", shared | context)


def _attempts(letter: DeadLetter) -> list[dict[str, Any]]:
    """Every attempt that failed, with the seconds since the one before."""
    told: list[dict[str, Any]] = []
    for one in letter.failures:
        at = datetime.fromisoformat(one["at"])
        since = (at - told[-1]["at"]).total_seconds() if told else None
        told.append(one | {"at": at, "seconds": since})
    return told
