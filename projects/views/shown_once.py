"""A new key's secret on its way to the one page that shows it: in a signed cookie of the browser, and nowhere of ours.

It stays there until "I saved it" or for an hour, so that a reload does not lose it. Neither scripts nor other paths get it.
"""

from typing import Final

from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse

from projects import keys

COOKIE: Final = "new_key"
SECONDS: Final = 3_600


def show_once(response: HttpResponse, request: HttpRequest, project_id: int, secret: str) -> None:
    """Hands a secret to the pages of its project, for whoever made it."""
    response.set_signed_cookie(
        COOKIE, secret, salt=_salt(request, project_id), max_age=SECONDS, path=_path(project_id),
        httponly=True, samesite="Strict", secure=request.is_secure(),
    )  # fmt: skip


def shown(request: HttpRequest, project_id: int) -> str | None:
    """Returns the secret that is to be shown, None where there is none, or it is another person's."""
    try:
        secret = request.get_signed_cookie(COOKIE, salt=_salt(request, project_id), max_age=SECONDS)
    except (KeyError, BadSignature):
        return None
    return secret if secret and keys.kind_of(secret) else None


def forget(response: HttpResponse, project_id: int) -> None:
    response.delete_cookie(COOKIE, path=_path(project_id), samesite="Strict")


def _salt(request: HttpRequest, project_id: int) -> str:
    return f"new key of {project_id} for {request.user.pk}"


def _path(project_id: int) -> str:
    return f"/projects/{project_id}/"
