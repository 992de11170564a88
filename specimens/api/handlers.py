"""What the root URL configuration answers with when an error happens outside of a view.

Below /api/ the one shape of an error, elsewhere Django's own pages.
"""

import sys

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from specimens.api.errors import ApiError, as_api_error, error_body, retry_after


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request no view was asked about: a wrong Host header, for example."""
    if not _is_api(request):
        return defaults.bad_request(request, exception)
    text = "The server does not take this request; look at its Host header and its address."
    return JsonResponse(error_body("bad_request", text), status=400)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an error that no view could answer: the database was away in a middleware."""
    if not _is_api(request):
        return defaults.server_error(request)
    cause = sys.exc_info()[1]
    error: ApiError = as_api_error(cause)
    response = JsonResponse(error.body, status=error.status_code)
    if seconds := retry_after(cause):
        response.headers["Retry-After"] = str(seconds)
    return response
