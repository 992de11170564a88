"""Refusals as JSON for pages that talk to the server by script: one status for each kind."""

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Concatenate, ParamSpec, cast

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from specimens.services.errors import Conflict, StaleReview
from specimens.workflow import NotAllowedInState

P = ParamSpec("P")


def refusals_as_json(
    view: Callable[Concatenate[HttpRequest, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """Answer what a service refuses with `{"code", "message"}` instead of a page."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except ValidationError as refusal:
            return refused(HTTPStatus.BAD_REQUEST, "invalid", " ".join(refusal.messages))
        except PermissionDenied as refusal:
            return refused(HTTPStatus.FORBIDDEN, "not_allowed", str(refusal))
        except Http404:
            return refused(HTTPStatus.NOT_FOUND, "not_found", "This case does not exist.")
        except StaleReview:
            raise  # the view knows the cells in question
        except (Conflict, NotAllowedInState) as refusal:
            return refused(HTTPStatus.CONFLICT, "not_now", str(refusal))

    return cast("Callable[Concatenate[HttpRequest, P], HttpResponse]", wrapped)


def refused(status: HTTPStatus, code: str, text: str, **more: object) -> JsonResponse:
    return JsonResponse({"code": code, "message": text} | more, status=status)
