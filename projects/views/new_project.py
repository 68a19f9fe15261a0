"""A new project: a page of its own, or the same form in a dialog."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from eventsite.pages import go, page, person, signed_in
from projects import services
from projects.forms import ProjectForm
from projects.views.shown_once import show_once


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new_project(request: HttpRequest) -> HttpResponse:
    form = ProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        created = services.create_project(owner=person(request), **form.cleaned_data)
        response = go(request, "start-here", created.project.pk)
        show_once(response, request, created.project.pk, created.write_key)
        return response
    fragments = {"dialog": "projects/_new.html"}
    status = 422 if form.is_bound else 200
    return page(request, "projects/new.html", {"form": form}, fragments=fragments, status=status)
