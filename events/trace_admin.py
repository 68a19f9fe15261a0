"""The admin's page on one event's way."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from events.trace import trace
from eventsite.valkey import sync_client
from projects.access import alive


class TraceForm(forms.Form):
    project = forms.ModelChoiceField(alive().order_by("name"))
    id = forms.CharField(max_length=200, label="Event", help_text="The UUID, or the id as sent.")


def trace_view(model_admin: Any) -> Callable[[HttpRequest], HttpResponse]:
    """Returns the view for the admin of events."""

    def view(request: HttpRequest) -> HttpResponse:
        if not model_admin.has_view_permission(request):
            raise PermissionDenied
        form = TraceForm(request.GET or None)
        found = None
        if form.is_valid():
            found = trace(sync_client(), form.cleaned_data["project"].pk, form.cleaned_data["id"])
        context = model_admin.admin_site.each_context(request) | {
            "opts": model_admin.opts, "title": "Trace one event", "media": model_admin.media, "form": form, "trace": found,
        }  # fmt: skip
        return TemplateResponse(request, "admin/events/event/trace.html", context)

    return view
