"""What a bug of ours looks like from outside, and a database that is away."""

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import loader
from django.views.defaults import server_error as html_server_error

from eventsite.api import RETRY_AFTER_SECONDS, error_body

JSON_PREFIXES = ("/api/", "/v1/")


def server_error(request: HttpRequest) -> HttpResponse:
    """JSON where programs call, a page elsewhere; the details are in the log. Django calls it where it caught an exception."""
    if request.path.startswith(JSON_PREFIXES):
        return JsonResponse(error_body("internal_error", "Something went wrong on our side."), status=500)
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        page = loader.get_template("503.html").render()  # without the request: who asks is in the database
        return HttpResponse(page, status=503, headers={"Retry-After": RETRY_AFTER_SECONDS})
    return html_server_error(request)
