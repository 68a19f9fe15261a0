"""Events, dead letters, failed drain runs and the ledger, to look at: nothing is edited here, and nothing is counted whole."""

import json
import uuid
from contextlib import suppress
from typing import Any, cast

import msgspec
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from events.models import Batch, DeadLetter, DrainFailure, Event, Ledger

BEFORE = "before"  # the query parameter of a keyset page
PAGE_ROWS = 50
RECENT_ROWS = 5_000  # names to filter by are taken from these


class KeysetChangeList(ChangeList):
    """Pages by id, newest first: page 10,000 costs what page 1 costs, and no row is counted."""

    newest_url: str | None = None
    older_url: str | None = None

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return {name: value for name, value in super().get_filters_params(params).items() if name != BEFORE}

    def get_results(self, request: HttpRequest) -> None:
        before = request.GET.get(BEFORE, "")
        rows = self.queryset.order_by("-pk").defer(*cast("ReadOnlyAdmin", self.model_admin).unlisted)
        if before.isdecimal() and int(before) < 2**63:
            rows = rows.filter(pk__lt=int(before))
            self.newest_url = self.get_query_string(remove=[BEFORE])
        page = list(rows[: PAGE_ROWS + 1])
        if len(page) > PAGE_ROWS:
            self.older_url = self.get_query_string({BEFORE: page[PAGE_ROWS - 1].pk})
        self.result_list = page[:PAGE_ROWS]
        self.result_count = len(self.result_list)
        # Different counts are shown beside the search box, with a way back to all: right for a search on one page only.
        found_all = bool(self.query) and not self.older_url and not self.newest_url
        self.full_result_count = None if found_all else self.result_count
        self.show_full_result_count = self.show_admin_actions = self.can_show_all = self.multi_page = False
        self.paginator = Paginator(self.result_list, PAGE_ROWS)


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """For rows that the pipeline writes."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count
    change_list_template = "admin/events/change_list.html"
    sortable_by = ()
    actions = None
    unlisted: tuple[str, ...] = ()  # columns that may hold a megabyte, read for one row only

    class Media:
        css = {"all": ["events/admin.css"]}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeysetChangeList

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class NameFilter(admin.SimpleListFilter):
    """The names of the latest events; any other can be asked for in the address."""

    title = parameter_name = "name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        recent = model_admin.model.objects.order_by("-pk").values_list("name", flat=True)[:RECENT_ROWS]
        return [(name, name) for name in sorted(set(recent)) if name][:100]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(name=self.value()) if self.value() else queryset


class StateFilter(admin.SimpleListFilter):
    """Failed runs whose batch still waits, or was stored since."""

    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "waiting"), ("healed", "healed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(healed_at__isnull=self.value() == "waiting") if self.value() else queryset


def verbatim(text: str) -> SafeString:
    return format_html('<pre class="verbatim">{}</pre>', text)


def pretty(value: Any) -> SafeString:
    """Takes a JSON value, returns it indented and escaped."""
    return verbatim(json.dumps(value, indent=2, ensure_ascii=False))


def pretty_bytes(value: bytes | memoryview) -> SafeString:
    """Takes bytes that ought to be JSON, returns them indented (numbers as written), or as they are where they are not."""
    data = bytes(value)
    with suppress(msgspec.MsgspecError, RecursionError):
        data = msgspec.json.format(data, indent=2)
    return verbatim(data.decode(errors="backslashreplace"))


def _as_uuid(term: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(term)
    except ValueError:
        return None


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("name", "project", "user_id", "occurred_at", "received_at", "event_id")
    list_filter = ("project", NameFilter, "received_at", "occurred_at")
    list_select_related = ("project",)
    unlisted = ("properties", "context", "raw")
    search_fields = ("event_id",)  # shows the box; get_search_results below does the work
    search_help_text = "An event's id (the UUID, or as it was sent) or a user's id, in full."
    fields = (
        "event_id", "client_event_id", "name", "project", "user_id", "anonymous_id", "session_id", "occurred_at",
        "received_at", "stored_at", "pretty_properties", "pretty_context", "exact_bytes", "batch",
    )  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        # Each of these has an index; one that has none would make every search read every row.
        wanted = Q(user_id=term) | Q(client_event_id=term)
        if event_id := _as_uuid(term):
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


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = ("name", "project", "code", "sqlstate", "last_failed_at", "cause", "event_id")
    list_filter = ("project", "code", "sqlstate", NameFilter, "last_failed_at")
    list_select_related = ("project",)
    unlisted = ("payload",)
    search_fields = ("event_id",)
    search_help_text = "An event's id: the UUID, in full."
    fields = (
        "event_id", "name", "project", "code", "sqlstate", "field", "error", "stage", "attempts", "received_at",
        "first_failed_at", "last_failed_at", "fingerprint", "pretty_payload",
    )  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], search_term: str
    ) -> tuple[QuerySet[DeadLetter], bool]:
        if not search_term.strip():
            return queryset, False
        event_id = _as_uuid(search_term.strip())
        return (queryset.filter(event_id=event_id) if event_id else queryset.none()), False

    @admin.display(description="cause")
    def cause(self, letter: DeadLetter) -> str:
        return letter.error.partition(" DETAIL: ")[0]  # behind it PostgreSQL repeats the row

    @admin.display(description="payload as accepted")
    def pretty_payload(self, letter: DeadLetter) -> SafeString:
        return pretty_bytes(letter.payload)


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
    list_display = ("hour", "project", "accepted", "stored", "duplicate", "dead")
    list_filter = ("project", "hour")
    list_select_related = ("project",)


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    list_display = ("id", "slot", "attempts", "stored_at", "events", "stored", "duplicate", "dead")
    list_filter = ("slot", "stored_at")
