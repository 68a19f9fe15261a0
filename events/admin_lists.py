"""What lists in the admin share: read-only rows, pages by id, nothing counted, a limit on what a filter may cost; and JSON."""

import json
import uuid
from contextlib import suppress
from typing import Any, ClassVar, Final, cast

import msgspec
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import OperationalError, connection, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString

BEFORE = "before"  # the query parameter of a keyset page: an id, or a time and an id
AND: Final = "~"
PAGE_ROWS = 50
RECENT_ROWS = 5_000  # names to filter by are taken from these
LIST_SECONDS: Final = 2
QUERY_CANCELED: Final = "57014"


def within_time(rows: QuerySet[Any]) -> list[Any] | None:
    """Returns what a query finds, None where that takes longer than anybody waits."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = '{LIST_SECONDS}s'")
            return list(rows)
    except OperationalError as error:
        if getattr(error.__cause__, "pgcode", None) != QUERY_CANCELED:
            raise
        return None


class KeysetChangeList(ChangeList):
    """Pages by id, newest first: page 10,000 costs what page 1 costs, and no row is counted."""

    too_slow = False  # said by the page, instead of hanging
    newest_url: str | None = None
    older_url: str | None = None

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return {name: value for name, value in super().get_filters_params(params).items() if name != BEFORE}

    def get_results(self, request: HttpRequest) -> None:
        time_field = self.time_field()
        order = [f"-{time_field}", "-pk"] if time_field else ["-pk"]
        rows = self.queryset.order_by(*order).defer(*cast("ReadOnlyAdmin", self.model_admin).unlisted)
        if (older := _older(rows, request.GET.get(BEFORE, ""), time_field)) is not None:
            rows = older
            self.newest_url = self.get_query_string(remove=[BEFORE])
        found = within_time(rows[: PAGE_ROWS + 1])
        self.too_slow, page = found is None, found or []
        if len(page) > PAGE_ROWS:
            last = page[PAGE_ROWS - 1]
            at = f"{getattr(last, time_field).isoformat()}{AND}" if time_field else ""
            self.older_url = self.get_query_string({BEFORE: f"{at}{last.pk}"})
        self.result_list = page[:PAGE_ROWS]
        self.result_count = len(self.result_list)
        # Different counts are shown beside the search box, with a way back to all: right for a search on one page only.
        found_all = bool(self.query) and not self.older_url and not self.newest_url
        self.full_result_count = None if found_all else self.result_count
        self.show_full_result_count = self.show_admin_actions = self.can_show_all = self.multi_page = False
        self.paginator = Paginator(self.result_list, PAGE_ROWS)

    def time_field(self) -> str:
        """A time to page by before the id, where an index has the rows in its order; "" for the id alone."""
        return ""


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """For rows that the pipeline writes."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count
    change_list_template = "admin/events/change_list.html"
    sortable_by = ()
    actions = None
    unlisted: tuple[str, ...] = ()  # columns that may hold a megabyte, read for one row only

    class Media:
        css: ClassVar[dict[str, list[str]]] = {"all": ["events/admin.css"]}

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
        latest = model_admin.model.objects.order_by("-pk").values_list("name", flat=True)[:RECENT_ROWS]
        recent = within_time(latest) or []
        return [(name, name) for name in sorted(set(recent)) if name][:100]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(name=self.value()) if self.value() else queryset


def _older(rows: QuerySet[Any], before: str, time_field: str) -> QuerySet[Any] | None:
    """The rows behind a page's last one; None where `before` names none."""
    stamp, _, number = before.rpartition(AND)
    if not (number.isascii() and number.isdecimal() and int(number) < 2**63):
        return None
    if not time_field:
        return None if stamp else rows.filter(pk__lt=int(number))
    try:
        at = parse_datetime(stamp)
    except ValueError:
        return None
    if at is None or at.tzinfo is None:
        return None
    # The first condition is what an index begins at, the second leaves out what the page before has shown.
    return rows.filter(**{f"{time_field}__lte": at}).exclude(**{time_field: at, "pk__gte": int(number)})


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


def as_uuid(term: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(term)
    except ValueError:
        return None
