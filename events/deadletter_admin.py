"""Dead letters in the admin: by cause, one by one, edited, mended, sent again, discarded."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

import msgspec
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from events import deadletter, mending, rehearsal, replay
from events.admin_lists import KeysetChangeList, NameFilter, ReadOnlyAdmin, as_uuid, verbatim
from events.deadletter import Wanted
from events.models import DeadLetter, LetterState
from events.verdict import Verdict
from tasks.replay import begin

EXAMPLES: Final = 5
_KEY: Final = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)": )?(.*)')
REPLAY: Final = "events.change_deadletter"
DISCARD: Final = "events.delete_deadletter"


def marked(payload: bytes, paths: Sequence[str]) -> SafeString:
    """Takes bytes that ought to be JSON, returns them indented, the lines of these paths marked; else as they are."""
    try:
        lines = msgspec.json.format(payload, indent=2).decode().splitlines()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return verbatim(payload.decode(errors="backslashreplace"))
    wanted = tuple(paths)
    shown = (
        format_html("<mark>{}</mark>", line) if _is_within(place, wanted) else format_html("{}", line)
        for line, place in zip(lines, _places(lines), strict=True)
    )
    return format_html(
        '<pre class="verbatim">{}</pre>', format_html_join("\n", "{}", ((line,) for line in shown))
    )


def _is_within(place: str, wanted: tuple[str, ...]) -> bool:
    return any(place == path or place.startswith(f"{path}.") for path in wanted)


def _places(lines: list[str]) -> Iterator[str]:
    """The path of the value that each line of indented JSON begins, continues or ends."""
    names: list[str] = []
    counts: list[int | None] = []  # of the elements of an array; None in an object
    for line in lines:
        text = line.strip().rstrip(",")
        if text in ("}", "]"):
            yield ".".join(names)
            counts.pop()
            if names:
                names.pop()
            continue
        match = _KEY.fullmatch(line)
        key, value = (match[1], match[2].rstrip(",")) if match else (None, text)
        name = key
        if counts and counts[-1] is not None:
            name, counts[-1] = str(counts[-1]), counts[-1] + 1
        place = [*names, name] if name is not None else names
        yield ".".join(place)
        if value in ("{", "["):
            if name is not None:
                names.append(name)
            counts.append(0 if value == "[" else None)


class DeadLetterChangeList(KeysetChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.show_admin_actions = True


class LetterStateFilter(admin.SimpleListFilter):
    """Those that wait are what there is to do: they are shown unless others are asked for."""

    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("all", "All"),
            *((state.value, str(state.label)) for state in LetterState if state != "waiting"),
        ]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        waiting, *others = super().choices(changelist)
        yield {**waiting, "display": "waiting"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        # A cause or an id that is asked for is shown whatever became of it.
        if self.value() is None and ("q" in request.GET):
            return queryset
        return queryset.filter(state=self.value() or LetterState.WAITING)


class ActForm(forms.Form):
    """Which letters (hidden), and what to do."""

    ids = forms.CharField(required=False, widget=forms.HiddenInput)
    project_id = forms.IntegerField(required=False, widget=forms.HiddenInput)
    fingerprint = forms.CharField(required=False, max_length=16, widget=forms.HiddenInput)
    code = forms.CharField(required=False, max_length=40, widget=forms.HiddenInput)
    name = forms.CharField(required=False, max_length=200, strip=False, widget=forms.HiddenInput)
    rule = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 4, "cols": 80, "spellcheck": "false"})
    )
    rate = forms.IntegerField(required=False, min_value=1, max_value=10_000, label="Events a second")
    reason = forms.CharField(required=False, max_length=1_000, widget=forms.TextInput(attrs={"size": 80}))

    def clean_ids(self) -> list[int]:
        ids = [part for part in str(self.cleaned_data["ids"]).split(",") if part]
        if not all(part.isdecimal() and int(part) < 2**63 for part in ids) or len(ids) > 1_000:
            raise forms.ValidationError("These are no letters.")
        return [int(part) for part in ids]

    def clean_rule(self) -> mending.Rule | None:
        try:
            return mending.read(self.cleaned_data["rule"]) if self.cleaned_data["rule"].strip() else None
        except mending.BadRule as error:
            raise forms.ValidationError(str(error)) from None

    def wanted(self) -> Wanted:
        """An empty selection is all that wait: the page says so, with their number."""
        fields = self.cleaned_data
        names = ("project_id", "fingerprint", "code", "name")
        return Wanted(
            state=LetterState.WAITING,
            ids=fields["ids"],
            **{name: fields[name] for name in names if fields[name]},
        )


class DeadLetterAdmin(ReadOnlyAdmin):
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
    unlisted = ("payload", "sent")
    search_fields = ("event_id",)
    search_help_text = "An event's id (the UUID), or a fingerprint, in full."
    actions = ("replay_selected", "discard_selected")  # type: ignore[assignment]
    fields = (
        "event_id", "name", "project", "state", "outcome", "note", "code", "sqlstate", "field", "error",
        "pretty_payload", "stage", "attempts", "received_at", "first_failed_at", "last_failed_at", "replayed_at",
        "replay", "ended_at", "ended_by", "fingerprint", "pretty_sent", "curl_line",
    )  # fmt: skip

    class Media:
        css: ClassVar[dict[str, list[str]]] = {"all": ["events/deadletters.css"]}

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

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        letter = self.get_object(request, object_id)
        more: dict[str, Any] = {}
        if isinstance(letter, DeadLetter):
            waits = letter.state == LetterState.WAITING
            more = {
                "letter": letter,
                "story": deadletter.story(letter),
                "may_act": waits and (request.user.has_perm(REPLAY) or request.user.has_perm(DISCARD)),
                "may_edit": waits and request.user.has_perm(REPLAY),
            }
        return super().change_view(request, object_id, form_url, more | (extra_context or {}))

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
                tried = rehearsal.rehearse(wanted, form.cleaned_data["rule"])
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
                found = rehearsal.letter_verdict(letter, document)
        return self._page(
            request, "edit", f"Edit {letter.name or 'event'}", letter=letter, text=text, verdict=found,
            around=_around(text, found), rows=min(40, max(12, text.count("\n") + 3)),
            waits=letter.state == LetterState.WAITING,
        )  # fmt: skip

    def _page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        shared = self.admin_site.each_context(request) | {
            "opts": self.opts,
            "title": title,
            "media": self.media,
        }
        return TemplateResponse(request, f"admin/events/deadletter/{template}.html", shared | context)


def _around(text: str, found: Verdict | None) -> str:
    """The line that a verdict names, with a caret below its column."""
    lines = text.splitlines()
    if found is None or found.line is None or not 0 < found.line <= len(lines):
        return ""
    line, column = lines[found.line - 1], found.column or 1
    start = max(0, column - 60)
    return f"{found.line:>5} | {line[start : start + 120]}\n        {' ' * (column - 1 - start)}^"
