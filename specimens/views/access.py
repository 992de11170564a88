"""The way from a request to an object: 404 for the invisible, 403 for what a role may not do."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from specimens.models import CellImage, Specimen, User
from specimens.permissions import Action, require, visible_to

P = ParamSpec("P")


def for_people(
    view: Callable[Concatenate[HttpRequest, User, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """Hand the view the signed-in person; accounts of systems have no business on pages."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if not isinstance(request.user, User):
            raise PermissionDenied
        require(request.user, Action.VIEW)
        response = view(request, request.user, *args, **kwargs)
        # After the log-out, the Back button must not bring a patient up again.
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    return cast("Callable[Concatenate[HttpRequest, P], HttpResponse]", wrapped)


def specimen_or_404(user: User, pk: int) -> Specimen:
    specimens = visible_to(user, Specimen)
    return get_object_or_404(
        specimens.select_related("site", "order__patient", "accessioned_by", "assigned_to"), pk=pk
    )


def cell_or_404(user: User, pk: int) -> CellImage:
    images = visible_to(user, CellImage)
    return get_object_or_404(images.select_related("specimen__order__patient", "site"), pk=pk)
