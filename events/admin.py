"""Events, dead letters, failed drain runs and the ledger, to look at: nothing is edited here, and nothing is counted whole."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils.dateparse import parse_datetime
from django.utils.safestring import SafeString

from events import times
from events.admin_lists import (
    PAGE_ROWS,
    KeysetChangeList,
    NameFilter,
    ReadOnlyAdmin,
    as_uuid,
    pretty,
    verbatim,
)
from events.deadletter_admin import DeadLetterAdmin
from events.models import AuditEntry, Batch, DeadLetter, DrainFailure, Event, Ledger, Pipeline, Replay
from events.pipeline_admin import PipelineAdmin
from events.replay_admin import AuditEntryAdmin, ReplayAdmin
from events.trace_admin import trace_view

__all__ = ["PAGE_ROWS", "EventAdmin"]


class EventChangeList(KeysetChangeList):
    """Events that occurred at some time are scattered over the ids: within a project an index has them by that time."""

    def time_field(self) -> str:
        asked = self.get_filters_params()
        by_time = any(name.startswith("occurred_at") for name in asked)
        return "occurred_at" if by_time and any(name.startswith("project") for name in asked) else ""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """What occurred since some time was received since then, by a day at most: earlier partitions are left out."""
        rows = super().get_queryset(request, exclude_parameters)
        since = parse_datetime(request.GET.get("occurred_at__gte", ""))
        earliest = times.shifted(since, -times.MAX_AHEAD) if since and since.tzinfo else None
        return rows.filter(received_at__gte=earliest) if earliest else rows


class StateFilter(admin.SimpleListFilter):
    """Failed runs whose batch still waits, or was stored since."""

    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "waiting"), ("healed", "healed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(healed_at__isnull=self.value() == "waiting") if self.value() else queryset


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("name", "project", "user_id", "occurred_at", "received_at", "event_id")
    list_filter = ("project", NameFilter, "received_at", "occurred_at")
    list_select_related = ("project",)
    change_list_template = "admin/events/event/change_list.html"
    change_form_template = "admin/events/event/change_form.html"
    unlisted = ("properties", "context", "raw")
    search_fields = ("event_id",)  # shows the box; get_search_results below does the work
    search_help_text = "An event's id (the UUID, or as it was sent) or a user's id, in full."
    fields = (
        "event_id", "client_event_id", "name", "project", "user_id", "anonymous_id", "session_id", "occurred_at",
        "received_at", "stored_at", "pretty_properties", "pretty_context", "exact_bytes", "batch",
    )  # fmt: skip

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return EventChangeList

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(trace_view(self))
        return [path("trace/", view, name="events_event_trace"), *super().get_urls()]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        # Each of these has an index; one that has none would make every search read every row.
        wanted = Q(user_id=term) | Q(client_event_id=term)
        if event_id := as_uuid(term):
            wanted |= Q(event_id=event_id)
        return queryset.filter(wanted), False

    @admin.display(description="properties")
    def pretty_properties(self, event: Event) -> SafeString:
        return pretty(event.properties)

    @admin.display(description="context")
    def pretty_context(self, event: Event) -> SafeString:
        return pretty(event.context)

    @admin.display(description="exact bytes sent")
    def exact_bytes(self, event: Event) -> str:
        if event.raw is None:
            return "as above"
        return verbatim(bytes(event.raw).decode(errors="backslashreplace"))


@admin.register(DrainFailure)
class DrainFailureAdmin(ReadOnlyAdmin):
    """Failed drain runs: what Flower forgets."""

    list_display = ("first_at", "slot", "state", "attempts", "sqlstate", "last_at", "healed_at", "error")
    list_filter = (StateFilter, "sqlstate", "first_at")

    @admin.display(description="state")
    def state(self, failure: DrainFailure) -> str:
        return "healed" if failure.healed_at else "waiting"


@admin.register(Ledger)
class LedgerAdmin(ReadOnlyAdmin):
    list_display = (
        "hour", "project", "accepted", "stored", "duplicate", "dead", "discarded", "replayed", "refused", "set_back",
    )  # fmt: skip
    list_filter = ("project", "hour")
    list_select_related = ("project",)

    @admin.display(description="refused")
    def refused(self, row: Ledger) -> str:
        return ", ".join(f"{count} {code}" for code, count in sorted(row.rejected.items())) or "-"


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    list_display = ("id", "slot", "attempts", "stored_at", "events", "stored", "duplicate", "dead")
    list_filter = ("slot", "stored_at")


admin.site.register(Pipeline, PipelineAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Replay, ReplayAdmin)
admin.site.register(AuditEntry, AuditEntryAdmin)
