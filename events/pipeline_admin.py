"""The pipeline's page in the admin: how it stands, and the orders that operators give, each confirmed and logged."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import redis
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from events import buffer, operate
from events.lake.snapshot import lag
from events.models import Pipeline
from events.purge import PurgeRefused, purge
from eventsite.valkey import sync_client
from projects.models import Project
from tasks.pipeline import ring


class PauseForm(forms.Form):
    reason = forms.CharField(max_length=200, help_text="For whoever finds it paused.")


class ResumeForm(forms.Form):
    bury = forms.BooleanField(required=False, label="Bury whatever fails, however much, for ten minutes")


class PurgeForm(forms.Form):
    project = forms.ModelChoiceField(Project.objects, required=False, empty_label="All projects")


FORMS: Final[dict[str, type[forms.Form]]] = {"pause": PauseForm, "resume": ResumeForm, "purge": PurgeForm}
QUESTIONS: Final[dict[str, str]] = {
    "pause": "Nothing will be drained until somebody resumes. Events are accepted up to the queue's bound.",
    "resume": "Events that wait will be drained again.",
    "purge": "What the queue holds will be written to a file on the server, deleted, and counted as discarded.",
}


class PipelineAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic only in its stubs
    """One page instead of a list: there is one pipeline. For superusers only."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_superuser

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.page)
        return [
            path("", page, name="events_pipeline_changelist"),
            path(
                "<path:object_id>/change/", page, name="events_pipeline_change"
            ),  # the admin's log links there
        ]

    def page(self, request: HttpRequest, object_id: str = "") -> HttpResponse:
        """Shows; or takes an order, asks whether it is meant, and carries it out."""
        if not self.has_module_permission(request):
            raise PermissionDenied
        order = request.POST.get("order", "")
        if request.method != "POST" or order not in FORMS:
            return self._show(request)
        form = FORMS[order](request.POST)
        if not form.is_valid():
            return self._show(request, {order: form})
        if "confirmed" not in request.POST:
            context = {
                "order": order,
                "question": QUESTIONS[order],
                "asked": asked(form),
                "sent": form.data.items(),
            }
            return self._render(request, context)
        try:
            done = ORDERS[order](sync_client(), form.cleaned_data)
        except (redis.RedisError, PurgeRefused, OSError) as error:
            self.message_user(request, f"It could not be done: {error}", messages.ERROR)
        else:
            self.log_change(request, Pipeline.objects.first() or Pipeline(), done)
            self.message_user(request, done)
        return HttpResponseRedirect(reverse("admin:events_pipeline_changelist"))

    def _show(self, request: HttpRequest, bound: dict[str, forms.Form] | None = None) -> HttpResponse:
        forms_shown = {order: (bound or {}).get(order) or form() for order, form in FORMS.items()}
        context: dict[str, Any] = {"forms": forms_shown, "hours": None, "standing": None}
        client = sync_client()
        with suppress(redis.RedisError):
            standing = buffer.standing(client)
            context |= {
                "standing": standing,
                "lines": [
                    *((name, text) for name, text in operate.told(standing) if name),
                    ("lake", f"{lag().total_seconds():.1f} s behind"),
                ],
                "go_on": operate.how_to_go_on(standing),
                "failures": operate.failures(client),
                "hours": operate.hours(client),
            }
        return self._render(request, context)

    def _render(self, request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
        usual = self.admin_site.each_context(request)
        title = {"title": "Pipeline", "opts": self.opts, "media": self.media}
        return TemplateResponse(request, "admin/pipeline.html", usual | title | context)


def asked(form: forms.Form) -> list[tuple[str, Any]]:
    """Returns what was ordered, in words."""
    return [
        (str(form.fields[name].label or name.capitalize()), value or form_empty(form, name))
        for name, value in form.cleaned_data.items()
    ]


def form_empty(form: forms.Form, name: str) -> str:
    field = form.fields[name]
    return str(field.empty_label) if isinstance(field, forms.ModelChoiceField) else "no"


def _pause(client: redis.Redis, asked_for: dict[str, Any]) -> str:
    buffer.pause(client, asked_for["reason"])
    return f"Paused: {asked_for['reason']}"


def _resume(client: redis.Redis, asked_for: dict[str, Any]) -> str:
    buffer.resume(client, bury=asked_for["bury"])
    for slot in operate.slots():
        ring(slot)
    return "Resumed; whatever fails is buried for ten minutes." if asked_for["bury"] else "Resumed."


def _purge(client: redis.Redis, asked_for: dict[str, Any]) -> str:
    project = asked_for["project"]
    file = settings.VAR_DIR / "purged" / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.ndjson"
    purged = purge(client, to=file, project_id=None if project is None else project.pk)
    of = "all projects" if project is None else str(project)
    return f"Purged {purged.events:,} events of {of} into {purged.path}."


ORDERS: Final[dict[str, Callable[[redis.Redis, dict[str, Any]], str]]] = {
    "pause": _pause,
    "resume": _resume,
    "purge": _purge,
}
