"""What the root URL configuration answers with when an error happens outside of a view.

Below /api/v1/ a problem, below /fhir/ an OperationOutcome, below /api/ the shape of the predict
calls, elsewhere Django's own pages.
"""

import sys

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import loader
from django.views import defaults

from specimens.api.errors import DATABASE_AWAY, ApiError, as_api_error, retry_after
from specimens.api.fhir.outcomes import outcome_of
from specimens.api.problems import MEDIA_TYPE, problem_body
from specimens.interop.fhir.wire import MEDIA_TYPE as FHIR_JSON


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith(("/api/", "/v2/", "/fhir/"))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request no view was asked about: a wrong Host header, for example."""
    if not _is_api(request):
        return defaults.bad_request(request, exception)
    text = "The server does not take this request; look at its Host header and its address."
    return _answer(request, ApiError(400, "bad_request", text))


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an error that no view could answer: the database was away in a middleware.

    A page that cannot be shown because the database is away is no fault of the page: 503, and when
    to come again.
    """
    cause = sys.exc_info()[1]
    if _is_api(request):
        response = _answer(request, as_api_error(cause))
    elif isinstance(cause, DATABASE_AWAY):
        # Without the context processors, which would ask the database who is looking.
        response = HttpResponse(loader.get_template("503.html").render(), status=503)
    else:
        return defaults.server_error(request)
    if seconds := retry_after(cause):
        response.headers["Retry-After"] = str(seconds)
    return response


def _answer(request: HttpRequest, error: ApiError) -> HttpResponse:
    if request.path_info.startswith("/api/v1/"):
        body, media_type = problem_body(error), MEDIA_TYPE
    elif request.path_info.startswith("/fhir/"):
        body, media_type = outcome_of(error), FHIR_JSON
    elif request.path_info.startswith("/v2/"):
        body, media_type = {"error": error.text}, "application/json"
    else:
        body, media_type = error.body, "application/json"
    return JsonResponse(body, status=error.status_code, content_type=media_type)
