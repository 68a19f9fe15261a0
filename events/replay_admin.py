"""Replays and the audit log in the admin."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from events import replay
from events.admin_lists import ReadOnlyAdmin, pretty
from events.letters_admin import REPLAY, LettersAdmin
from events.models import AuditEntry, Replay, ReplayState
from tasks.replay import begin


class ReplayAdmin(LettersAdmin):
    list_display = ("id", "created_at", "by_name", "project", "state", "total", "went", "note")
    list_filter = ("state", "project", "created_at")
    list_select_related = ("project",)
    change_form_template = "admin/events/replay/change_form.html"
    fields = (
        "state",
        "note",
        "progress",
        "by_name",
        "project",
        "created_at",
        "ended_at",
        "rate",
        "which",
        "mended",
    )

    def get_urls(self) -> list[URLPattern]:
        turn = self.admin_site.admin_view(require_POST(self.turn_view))
        return [path("<int:replay_id>/turn/", turn, name="events_replay_turn"), *super().get_urls()]

    @admin.display(description="went")
    def went(self, started: Replay) -> str:
        return _told(replay.progress(started))

    @admin.display(description="progress")
    def progress(self, started: Replay) -> SafeString:
        counts = replay.progress(started)
        done = counts["stored"] + counts["duplicate"] + counts["buried"] + counts["skipped"]
        return format_html(
            '<progress max="{}" value="{}"></progress> {} of {}: {}',
            max(1, started.total), done, done, started.total, _told(counts),
        )  # fmt: skip

    @admin.display(description="which letters")
    def which(self, started: Replay) -> SafeString:
        return pretty(started.filter)

    @admin.display(description="mended by")
    def mended(self, started: Replay) -> SafeString | str:
        return pretty(started.rule) if started.rule else "nothing"

    def more(self, request: HttpRequest, row: Replay) -> dict[str, Any]:
        runs, may = row.state in replay.ACTIVE, request.user.has_perm(REPLAY)
        return {
            "started": row,
            "runs": runs,
            "may_stop": runs and may,
            "may_resume": row.state == ReplayState.STOPPED and may,
        }

    def turn_view(self, request: HttpRequest, replay_id: int) -> HttpResponse:
        """Stops or resumes."""
        if not request.user.has_perm(REPLAY):
            raise PermissionDenied
        found = get_object_or_404(Replay, pk=min(replay_id, 2**63 - 1))
        by = request.user.get_username()
        stops = request.POST.get("do") == "stop"
        if not (replay.stop(found, by=by) if stops else replay.resume(found, by=by)):
            self.message_user(request, f"Nothing changed: it is {found.state}.", messages.WARNING)
        elif not stops:
            begin(found.pk)
        return HttpResponseRedirect(reverse("admin:events_replay_change", args=[found.pk]))


def _told(counts: dict[str, int]) -> str:
    return (
        ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
        or "nothing yet"
    )


class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "by_name", "action", "letters", "project", "what")
    list_filter = ("action", "project", "at")
    list_select_related = ("project",)
    fields = ("at", "by_name", "action", "letters", "project", "pretty_what")

    @admin.display(description="what")
    def pretty_what(self, entry: AuditEntry) -> SafeString:
        return pretty(entry.what)
