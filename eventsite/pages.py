"""What every page is made with: who may see it, its place in the navigation, and page or fragment.

How to add one: docs/pages.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, Concatenate, Final, Literal, ParamSpec, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render, resolve_url
from django.urls import NoReverseMatch, reverse
from django.utils.cache import patch_cache_control, patch_vary_headers

from projects.access import projects_of
from projects.codes import MESSAGE, Code
from projects.models import Project, Role

Arguments = ParamSpec("Arguments")
THEMES: Final = ("light", "dark")
TABS: Final = 4  # of a phone; the fifth opens the drawer


@dataclass(frozen=True, slots=True)
class Place:
    """A page of a project in the navigation. `name`: of its URL, which takes a `project_id`; `key`: after `g`."""

    name: str
    label: str
    icon: str
    key: str
    section: Literal["Understand", "Operate"]
    is_tab: bool = False


# In the order they are shown. A place whose URL does not exist is left out: whoever adds the page adds nothing here.
PLACES: Final = (
    Place("overview", "Overview", "gauge", "o", "Understand", is_tab=True),
    Place("events", "Events", "list", "e", "Understand", is_tab=True),
    Place("insights", "Insights", "chart-line", "i", "Understand"),
    Place("dashboards", "Dashboards", "layout-dashboard", "d", "Understand"),
    Place("persons", "Persons", "users", "p", "Understand"),
    Place("catalogue", "Catalogue", "book-open", "c", "Understand"),
    Place("failures", "Failures", "shovel", "f", "Operate", is_tab=True),
    Place("pipeline", "Pipeline", "workflow", "l", "Operate", is_tab=True),
    Place("start-here", "Start here", "rocket", "h", "Operate"),
    Place("settings", "Settings", "settings", "s", "Operate"),
)


def signed_in(
    view: Callable[Concatenate[HttpRequest, Arguments], HttpResponse],
) -> Callable[Concatenate[HttpRequest, Arguments], HttpResponse]:
    """Sends whoever is not signed in to the sign-in page, and back afterwards; a fragment makes the whole page go."""

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> HttpResponse:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if "HX-Request" not in request.headers:
            return redirect_to_login(request.get_full_path())
        shown = urlsplit(request.headers.get("HX-Current-URL", ""))
        login = redirect_to_login(f"{shown.path}?{shown.query}" if shown.query else shown.path)
        return HttpResponse(status=401, headers={"HX-Redirect": login["Location"]})

    return guarded


def person(request: HttpRequest) -> User:
    """Returns who is signed in; for views behind `signed_in`."""
    return cast(User, request.user)


def project_or_404(request: HttpRequest, project_id: int) -> Project:
    """Returns a project of this person's, with its `role`. Another person's is as absent as none."""
    return get_object_or_404(projects_of(request.user), pk=project_id)


def owned_project(request: HttpRequest, project_id: int) -> Project:
    """As `project_or_404`, for what only an owner may do: PermissionDenied (403) for a member."""
    project = project_or_404(request, project_id)
    if not is_owner(project):
        raise PermissionDenied(MESSAGE[Code.NOT_OWNER])
    return project


def is_owner(project: Project) -> bool:
    """Takes a project of `project_or_404`."""
    return bool(project.role == Role.OWNER)  # type: ignore[attr-defined]  # annotated


def page(
    request: HttpRequest,
    template: str,
    context: Mapping[str, Any] | None = None,
    *,
    project: Project | None = None,
    fragments: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    """Answers with a page; to htmx with its `view` block, or with the template that `fragments` has for the target's id.

    `project`: what the page is about, already checked; its navigation is shown around it.
    """
    is_fragment = wants_fragment(request)
    made: dict[str, Any] = {
        **(context or {}),
        "project": project,
        "is_owner": project is not None and is_owner(project),
        "layout": "_fragment.html" if is_fragment else "base.html",
    }
    if is_fragment:
        template = (fragments or {}).get(request.headers.get("HX-Target", ""), template)
    else:
        made |= _around(request, project)
    response = render(request, template, made, status=status)
    patch_vary_headers(response, ["HX-Request", "HX-Target", "Cookie"])
    if "Cache-Control" not in response:
        patch_cache_control(response, private=True, no_cache=True)
    return response


def wants_fragment(request: HttpRequest) -> bool:
    """Says whether htmx asks for a part; Back over its own history needs the whole page."""
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers


def go(request: HttpRequest, to: str, *args: Any, **kwargs: Any) -> HttpResponse:
    """Sends the browser on after a change: htmx would follow a plain redirect inside of the fragment."""
    address = resolve_url(to, *args, **kwargs)
    if wants_fragment(request):
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    response = HttpResponseRedirect(address)
    response.status_code = 303  # the next request is a GET, whatever this one was
    return response


def theme_of(request: HttpRequest) -> str:
    """Returns the theme that was chosen, "" for the system's."""
    chosen = request.COOKIES.get("theme", "")
    return chosen if chosen in THEMES else ""


def _around(request: HttpRequest, project: Project | None) -> dict[str, Any]:
    if project is None:
        return {}
    here = str(request.resolver_match.url_name) if request.resolver_match else ""
    places = [
        {"place": place, "url": reverse(place.name, args=[project.pk]), "is_here": _is_at(place, here)}
        for place in PLACES
        if place_exists(place.name)
    ]
    tabs = [shown for shown in places if cast(Place, shown["place"]).is_tab]
    tabs += [shown for shown in places if shown not in tabs]
    return {
        "places": places,
        "nav_tabs": tabs[:TABS],
        "more_projects": projects_of(request.user).exclude(pk=project.pk)[:20],
    }


def _is_at(place: Place, url_name: str) -> bool:
    """A page below a place has a name that begins with its: settings, settings-keys."""
    return url_name == place.name or url_name.startswith(f"{place.name}-")


@cache
def place_exists(name: str) -> bool:
    """Says whether a page of a project has a URL by this name."""
    try:
        reverse(name, args=[0])
    except NoReverseMatch:
        return False
    return True


def landing(project_id: int) -> str:
    """Returns the address of the first page of a project."""
    return reverse("overview" if place_exists("overview") else "start-here", args=[project_id])


def sign_in_url() -> str:
    return resolve_url(settings.LOGIN_URL)
