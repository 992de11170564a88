"""Every error of the predict calls in one shape: success, error (for people), code (for programs).

`as_api_error` maps what a view raised; problems.py writes the same in the shape of /api/v1/. Where
the request's file or form was at fault, `accepted` says what would have been taken.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions, status
from rest_framework.response import Response

from classifier.imaging.refusal import MAX_BYTES, MAX_SIDE, MIN_SIDE
from specimens.services.errors import LockedOut, QueueFull, StorageUnavailable

logger = logging.getLogger(__name__)

FORMATS: Final = ("JPEG", "PNG", "BMP", "TIFF", "GIF", "DICOM")
DATABASE_AWAY: Final = (OperationalError, InterfaceError)

# Refusals of an image (classifier.imaging.refusal.RefusalCode) by HTTP status.
REFUSAL_STATUS: Final[Mapping[str, int]] = {
    "empty_file": status.HTTP_400_BAD_REQUEST,
    "too_large": status.HTTP_413_REQUEST_ENTITY_TOO_LARGE,
    "not_an_image": status.HTTP_415_UNSUPPORTED_MEDIA_TYPE,
    "unsupported_mode": status.HTTP_415_UNSUPPORTED_MEDIA_TYPE,
    "animated": status.HTTP_415_UNSUPPORTED_MEDIA_TYPE,
    "unsupported_transfer_syntax": status.HTTP_415_UNSUPPORTED_MEDIA_TYPE,
    "unsupported_sop_class": status.HTTP_415_UNSUPPORTED_MEDIA_TYPE,
    "too_small": status.HTTP_422_UNPROCESSABLE_ENTITY,
    "too_many_pixels": status.HTTP_422_UNPROCESSABLE_ENTITY,
    "truncated": status.HTTP_422_UNPROCESSABLE_ENTITY,
    "damaged": status.HTTP_422_UNPROCESSABLE_ENTITY,
    "decode_timeout": status.HTTP_422_UNPROCESSABLE_ENTITY,
    "decode_memory": status.HTTP_422_UNPROCESSABLE_ENTITY,
}

_TEXTS: Final[Mapping[int, tuple[str, str]]] = {
    401: ("not_authenticated", 'This call needs a token: "Authorization: Token <token>".'),
    403: ("not_allowed", "Your account is not allowed to do this."),
    404: ("not_found", "There is nothing at this address; /api/docs/ lists what there is."),
}


class ApiError(exceptions.APIException):
    """An answer with status, code and text; `accepted` where the upload was at fault."""

    def __init__(
        self,
        status_code: int,
        code: str,
        text: str,
        *,
        accepted: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(text, code)
        self.status_code = status_code
        self.code = code
        self.text = text
        self.extra = ({"accepted": dict(accepted)} if accepted is not None else {}) | extra
        self.body = error_body(code, text) | self.extra


def accepted_images() -> dict[str, Any]:
    """Return what the predict calls take, for programs."""
    return {
        "formats": list(FORMATS),
        "min_side": MIN_SIDE,
        "max_side": MAX_SIDE,
        "max_bytes": MAX_BYTES,
        "images_per_call": {"predict": 1, "predict_batch": settings.PREDICT_BATCH_LIMIT},
    }


def error_body(code: str, text: str) -> dict[str, Any]:
    """Return the one shape of an error."""
    return {"success": False, "error": text, "code": code}


def image_error(code: str, text: str, **extra: Any) -> ApiError:
    """Return the error for an image that was refused, or that the worker could not classify."""
    known = REFUSAL_STATUS.get(code)
    if known is None:  # the platform's own failure
        return ApiError(status.HTTP_500_INTERNAL_SERVER_ERROR, code, text, **extra)
    return ApiError(known, code, text, accepted=accepted_images(), **extra)


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response:
    """Turn whatever a view raised into an answer. DRF calls this (settings.REST_FRAMEWORK)."""
    error = as_api_error(exc)
    return Response(error.body, status=error.status_code, headers=error_headers(exc))


def error_headers(exc: BaseException | None) -> dict[str, str]:
    """Return what an answer says beside its body: how to come in, and when to come again."""
    headers = {}
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if seconds := retry_after(exc):
        headers["Retry-After"] = str(seconds)
    return headers


def retry_after(exc: BaseException | None) -> int | None:
    """Return the seconds after which the same request may succeed, if that can be said."""
    if isinstance(exc, QueueFull | LockedOut):
        return exc.retry_after_seconds
    if isinstance(exc, exceptions.Throttled):
        return max(1, int(getattr(exc, "wait", None) or 1))
    return 5 if isinstance(exc, DATABASE_AWAY) else None


def as_api_error(exc: BaseException | None) -> ApiError:
    """Map an exception to its answer; the unexpected is logged and becomes a bare 500."""
    if isinstance(exc, ApiError):
        return exc
    if isinstance(exc, LockedOut):
        return ApiError(status.HTTP_429_TOO_MANY_REQUESTS, "locked_out", str(exc))
    if isinstance(exc, QueueFull):
        return ApiError(status.HTTP_503_SERVICE_UNAVAILABLE, "queue_full", str(exc))
    if isinstance(exc, StorageUnavailable):
        return ApiError(status.HTTP_507_INSUFFICIENT_STORAGE, "storage_unavailable", str(exc))
    if isinstance(exc, DATABASE_AWAY):
        return _of_database(exc)
    if isinstance(exc, exceptions.APIException):
        return _of_framework(exc)
    if isinstance(exc, Http404):
        return ApiError(status.HTTP_404_NOT_FOUND, *_TEXTS[404])
    if isinstance(exc, PermissionDenied):
        text = str(exc) or _TEXTS[403][1]
        return ApiError(status.HTTP_403_FORBIDDEN, "not_allowed", text)
    if isinstance(exc, RecursionError):
        text = "The request body is nested too deeply."
        return ApiError(status.HTTP_400_BAD_REQUEST, "malformed_request", text)
    if isinstance(exc, SuspiciousOperation | MultiPartParserError | UnreadablePostError):
        return _of_request_body(exc)
    logger.error("unhandled error in the API", exc_info=exc)
    text = "The server failed on this request. The failure is recorded in its log."
    return ApiError(status.HTTP_500_INTERNAL_SERVER_ERROR, "internal_error", text)


def _of_database(exc: BaseException) -> ApiError:
    logger.error("the database cannot be used: %s", exc)
    if any(text in str(exc) for text in ("disk is full", "No space left")):
        text = "The disk of the database is full; nothing was accepted. Tell an administrator."
        return ApiError(status.HTTP_507_INSUFFICIENT_STORAGE, "storage_unavailable", text)
    text = "The database cannot be reached at the moment. Try again."
    return ApiError(status.HTTP_503_SERVICE_UNAVAILABLE, "database_unavailable", text)


def _of_framework(exc: exceptions.APIException) -> ApiError:
    """Map an error of Django REST framework."""
    if isinstance(exc, exceptions.UnsupportedMediaType):
        text = f"{exc.detail} Send the image as multipart/form-data (curl -F does)."
        accepted = accepted_images()
        return ApiError(exc.status_code, "unsupported_content_type", text, accepted=accepted)
    if isinstance(exc, exceptions.ParseError):
        text = f"The request body cannot be read: {exc.detail}"
        return ApiError(exc.status_code, "malformed_request", text, accepted=accepted_images())
    if isinstance(exc, exceptions.NotAuthenticated):
        return ApiError(exc.status_code, *_TEXTS[401])
    if isinstance(exc, exceptions.Throttled):
        text = f"This token has used up its requests of this minute ({settings.RATE_LIMIT}). "
        text += f"Wait {retry_after(exc)} s; RateLimit-Remaining says how many are left."
        return ApiError(exc.status_code, "too_many_requests", text)
    if isinstance(exc, exceptions.NotFound):
        return ApiError(exc.status_code, *_TEXTS[404])
    detail = exc.detail if isinstance(exc.detail, str) else str(exc.detail)
    code = exc.get_codes()
    return ApiError(exc.status_code, code if isinstance(code, str) else "invalid", detail)


def _of_request_body(exc: Exception) -> ApiError:
    """Map what Django says of a body it will not read to the end."""
    accepted = accepted_images()
    if isinstance(exc, TooManyFilesSent):
        text = f"One call takes up to {settings.PREDICT_BATCH_LIMIT} images. Nothing was stored."
        return ApiError(413, "too_many_images", text, accepted=accepted)
    if isinstance(exc, TooManyFieldsSent | RequestDataTooBig):
        text = "The request has more text fields than a predict call can need; send files only."
        return ApiError(413, "too_large", text, accepted=accepted)
    text = f"The request body cannot be read: {exc}"
    return ApiError(status.HTTP_400_BAD_REQUEST, "malformed_request", text, accepted=accepted)
