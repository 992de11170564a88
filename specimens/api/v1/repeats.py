"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a create that may be sent again."""

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from specimens.api.problems import invalid
from specimens.api.v1.base import ResourceView, person
from specimens.services import idempotency

P = ParamSpec("P")
V = TypeVar("V", bound=ResourceView)

MOST: Final = 200
_KEPT_HEADERS: Final = ("Location", "ETag")


def repeatable(
    create: Callable[Concatenate[V, Request, P], Response],
) -> Callable[Concatenate[V, Request, P], Response]:
    """Let a create be sent again under its Idempotency-Key; without one it is run as it is."""

    @wraps(create)
    def wrapped(view: V, request: Request, /, *args: P.args, **kwargs: P.kwargs) -> Response:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return create(view, request, *args, **kwargs)
        taken = idempotency.begin(
            actor=person(request), key=_checked(key), request_digest=_digest(request)
        )
        if isinstance(taken, idempotency.Answer):
            headers = {**taken.headers, "Idempotency-Replayed": "true"}
            return Response(taken.body, status=taken.status, headers=headers)
        try:
            with transaction.atomic():
                idempotency.hold(attempt=taken)
                response = create(view, request, *args, **kwargs)
                kept = {name: response[name] for name in _KEPT_HEADERS if name in response}
                idempotency.finish(
                    attempt=taken, status=response.status_code, headers=kept, body=response.data
                )
        except BaseException:
            idempotency.give_back(attempt=taken)
            raise
        return response

    return wrapped


def _checked(key: str) -> str:
    if not 1 <= len(key) <= MOST or not key.isascii() or not key.isprintable():
        raise invalid({"Idempotency-Key": f"Send 1 to {MOST} printable characters, a UUID say."})
    return key


def _digest(request: Request) -> str:
    """Return the SHA-256 of what is asked, by whom as what, and where.

    The body counts by its content: a form comes with another boundary each time it is sent. Role
    and sites count, so that no answer is repeated to an account that may no longer see it.
    """
    user = person(request)
    asked = [
        request.method,
        request.path,
        user.role,
        sorted(user.sites.values_list("pk", flat=True)),
        _content(request),
    ]
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _content(request: Request) -> Any:
    sent: Any = request.data
    if not request.FILES:
        return sent
    return {name: [_fingerprint(value) for value in sent.getlist(name)] for name in sent}


def _fingerprint(value: Any) -> Any:
    if not isinstance(value, UploadedFile):
        return value
    digest = hashlib.sha256()
    for chunk in value.chunks():
        digest.update(chunk)
    value.seek(0)
    return [value.name, digest.hexdigest()]
