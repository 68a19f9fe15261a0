"""The root, the theme, and the admin's door."""

from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from eventsite import pages

THEME_SECONDS = 365 * 86_400


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    return redirect("projects" if request.user.is_authenticated else "sign-in")


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keeps a theme in a cookie, and returns to the page it was chosen on."""
    chosen = request.POST.get("theme", "")
    response = HttpResponseRedirect(back(request))
    if chosen in pages.THEMES:
        # page.js writes it too: not HttpOnly.
        response.set_cookie(
            "theme", chosen, max_age=THEME_SECONDS, samesite="Lax", secure=request.is_secure()
        )
    else:
        response.delete_cookie("theme")
    return response


def back(request: HttpRequest) -> str:
    """Returns the page that a form says it stands on, the root where that is no page of ours."""
    address = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(
        address, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return address if is_ours else "/"


def admin_login(request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:
    """One door for people and staff: the admin has no sign-in page of its own."""
    if request.user.is_authenticated and not request.user.is_staff:
        raise PermissionDenied("The administration is for staff.")
    next_page = request.GET.get("next", "/admin/")
    return HttpResponseRedirect(f"{pages.sign_in_url()}?{urlencode({'next': next_page})}")
