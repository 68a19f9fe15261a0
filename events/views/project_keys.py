"""Settings, Keys: made, shown once, bound to origins, revoked."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from eventsite.pages import go, is_owner, owned_project, page, person, project_or_404, signed_in
from projects import services
from projects.forms import ChangeKeyForm, KeyForm
from projects.views.shown_once import forget, show_once, shown


@require_safe
@signed_in
def keys(request: HttpRequest, project_id: int) -> HttpResponse:
    project = project_or_404(request, project_id)
    found = sorted(project.keys.select_related("created_by"), key=lambda key: (key.revoked, -key.pk))
    secret = shown(request, project.pk) if is_owner(project) else None
    context = {
        "tab": "keys",
        "keys": found,
        "working": sum(not key.revoked for key in found),
        "secret": secret,
    }
    response = page(request, "settings/keys.html", context, project=project)
    if secret:
        response["Cache-Control"] = "no-store"
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new_key(request: HttpRequest, project_id: int) -> HttpResponse:
    project = owned_project(request, project_id)
    form = KeyForm(request.POST or None, initial={"kind": request.GET.get("kind", "write")})
    if request.method == "POST" and form.is_valid():
        made = services.create_key(project=project, by=person(request), **form.cleaned_data)
        response = go(
            request, "start-here" if request.POST.get("for") == "start" else "settings-keys", project.pk
        )
        show_once(response, request, project.pk, made.secret)
        return response
    context = {"form": form, "tab": "keys", "for": request.GET.get("for", "")}
    fragments = {"dialog": "settings/_new_key.html"}
    status = 422 if form.is_bound else 200
    return page(
        request, "settings/new_key.html", context, project=project, fragments=fragments, status=status
    )


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def change_key(request: HttpRequest, project_id: int, key_id: int) -> HttpResponse:
    project = owned_project(request, project_id)
    key = get_object_or_404(project.keys, pk=key_id)
    now = {"name": key.name, "allowed_origins": "\n".join(key.allowed_origins)}
    form = ChangeKeyForm(request.POST or None, initial=now)
    if request.method == "POST" and form.is_valid():
        services.change_key(key, **form.cleaned_data)
        messages.success(request, f"Key {key.prefix}… saved.")
        return go(request, "settings-keys", project.pk)
    context = {"form": form, "tab": "keys", "key": key}
    fragments = {"dialog": "settings/_change_key.html"}
    status = 422 if form.is_bound else 200
    return page(
        request, "settings/change_key.html", context, project=project, fragments=fragments, status=status
    )


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def revoke_key(request: HttpRequest, project_id: int, key_id: int) -> HttpResponse:
    """GET asks, POST does it."""
    project = owned_project(request, project_id)
    key = get_object_or_404(project.keys, pk=key_id)
    if request.method == "POST":
        services.revoke_key(key)
        messages.success(request, f"Key {key.prefix}… is revoked.")
        return go(request, "settings-keys", project.pk)
    fragments = {"dialog": "settings/_revoke_key.html"}
    return page(
        request, "settings/revoke_key.html", {"key": key, "tab": "keys"}, project=project, fragments=fragments
    )


@require_POST
@signed_in
def saved_new_key(request: HttpRequest, project_id: int) -> HttpResponse:
    """ "I saved it": the key is shown no more."""
    project = project_or_404(request, project_id)
    response = go(request, "settings-keys", project.pk)
    forget(response, project.pk)
    return response
