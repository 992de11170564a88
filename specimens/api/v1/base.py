"""What the resources have in common: the rules of docs/api.md, in one place."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404
from rest_framework import serializers, status
from rest_framework.parsers import JSONParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from specimens.api.base import ApiView
from specimens.api.problems import invalid, problem_handler
from specimens.api.v1.conditions import etag_of, is_known, precondition
from specimens.models import User

M = TypeVar("M", bound=Model)


class ResourceView(ApiView):
    """Errors as problems, an ETag on what is read, 304 for who knows it already."""

    parser_classes = [JSONParser]

    def get_exception_handler(self) -> Callable[..., Response]:
        """Answer errors in the shape of this version."""
        return problem_handler

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        """Tag what was read; leave the body out where the sender has it."""
        if request.method in ("GET", "HEAD") and response.status_code == status.HTTP_200_OK:
            response = _tagged(request, response)
        finished = super().finalize_response(request, response, *args, **kwargs)
        # The data of a patient stays in no shared cache, and is asked for again each time.
        finished.headers.setdefault("Cache-Control", "private, no-cache")
        return finished


class NothingHereView(ResourceView):
    """Any other address below /api/v1/."""

    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Answer 404 whatever the method."""
        raise Http404


def _tagged(request: Request, response: Response) -> Response:
    tag = response.headers.get("ETag") or etag_of(response.data)
    headers = {name: response[name] for name in ("Link", "Cache-Control") if name in response}
    if is_known(request, tag):
        return Response(status=status.HTTP_304_NOT_MODIFIED, headers={**headers, "ETag": tag})
    response["ETag"] = tag
    return response


def person(request: Request) -> User:
    """Return who asks; the permission class has seen to it that it is an account."""
    assert isinstance(request.user, User)  # noqa: S101 - narrows the type
    return request.user


def found(rows: "QuerySet[M]", pk: int) -> M:
    """Return the row out of those that are visible, or raise 404."""
    row = rows.filter(pk=pk).first()
    if row is None:
        raise Http404
    return row


def checked(shape: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the values of a JSON body, or raise 400 with every fault by its field."""
    if not isinstance(request.data, Mapping):
        raise invalid({"request": "Send a JSON object."})
    form = shape(data=request.data)
    _refuse_unknown(form, request.data)
    form.is_valid(raise_exception=True)
    return dict(form.validated_data)


def checked_query(shape: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the values of the query; an unknown name is refused, not ignored."""
    given = request.query_params.dict()
    form = shape(data=given)
    _refuse_unknown(form, given)
    form.is_valid(raise_exception=True)
    return dict(form.validated_data)


def _refuse_unknown(form: serializers.Serializer[Any], given: Mapping[str, Any]) -> None:
    """A mistyped name would otherwise read everything, or change nothing, without a word."""
    unknown = [name for name in given if name not in form.fields]
    if unknown:
        known = ", ".join(form.fields) or "none"
        raise invalid(dict.fromkeys(sorted(unknown), f"Unknown here. Known: {known}."))


def created(body: Mapping[str, Any], location: str) -> Response:
    """Return 201 with the new resource, its address and its tag."""
    headers = {"Location": location, "ETag": etag_of(body)}
    return Response(body, status=status.HTTP_201_CREATED, headers=headers)


def changed(body: Mapping[str, Any]) -> Response:
    """Return 200 with the resource as it is now, and its tag."""
    return Response(body, headers={"ETag": etag_of(body)})


@contextmanager
def changing(
    request: Request, rows: "QuerySet[M]", pk: int, body_of: Callable[[M], Any]
) -> Iterator[M]:
    """Hand out the row, locked to the end of the block, if If-Match names what it is now."""
    check = precondition(request)
    with transaction.atomic():
        rows.model._default_manager.select_for_update().filter(pk=pk).first()
        row = found(rows, pk)
        check(body_of(row))
        yield row
