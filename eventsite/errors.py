"""What a bug of ours looks like from outside."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.defaults import server_error as html_server_error

from eventsite.api import error_body

JSON_PREFIXES = ("/api/", "/v1/")


def server_error(request: HttpRequest) -> HttpResponse:
    """JSON where programs call, Django's plain page elsewhere; the details are in the log."""
    if request.path.startswith(JSON_PREFIXES):
        return JsonResponse(error_body("internal_error", "Something went wrong on our side."), status=500)
    return html_server_error(request)
