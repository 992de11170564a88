"""Errors of /api/v1/ as application/problem+json (RFC 9457).

`code` names the kind of problem for programs, `detail` says for people what was wrong and what to
do; `fields` stands beside them where single fields were at fault.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError
from rest_framework import serializers, status
from rest_framework.response import Response

from specimens.api.errors import ApiError, as_api_error, error_headers
from specimens.services.errors import Conflict, GateClosed, StaleReview, StaleVersion
from specimens.services.idempotency import KeyReused, StillRunning
from specimens.workflow import NotAllowedInState

MEDIA_TYPE: Final = "application/problem+json"


def problem_body(error: ApiError) -> dict[str, Any]:
    """Return the members of RFC 9457, `code`, and what else the error carries."""
    return {
        "type": f"urn:wbclab:problem:{error.code}",
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
        "detail": error.text,
        "code": error.code,
    } | error.extra


def problem_handler(exc: Exception, context: Mapping[str, Any]) -> Response:
    """Turn whatever a view of /api/v1/ raised into a problem."""
    error = problem_of(exc)
    response = Response(problem_body(error), status=error.status_code, headers=error_headers(exc))
    response.content_type = MEDIA_TYPE
    return response


def problem_of(exc: Exception) -> ApiError:
    """Map what services and forms refuse with; the rest as everywhere below /api/."""
    if isinstance(exc, ValidationError):
        return invalid(_faults_of(exc), " ".join(exc.messages))
    if isinstance(exc, serializers.ValidationError):
        return invalid(flat_faults(exc.detail))
    if isinstance(exc, KeyReused):
        return ApiError(422, "idempotency_key_reused", str(exc))
    if isinstance(exc, StaleVersion):
        return ApiError(status.HTTP_412_PRECONDITION_FAILED, "stale", str(exc))
    if isinstance(exc, StaleReview):
        cells = [{"cell": pk, **state} for pk, state in exc.current.items()]
        return ApiError(status.HTTP_409_CONFLICT, "stale", str(exc), cells=cells)
    if isinstance(exc, GateClosed):
        obstacles = [
            {"code": one.code, "text": one.text, "bypassable": one.bypassable}
            for one in exc.obstacles
        ]
        return ApiError(422, "gate_closed", str(exc), obstacles=obstacles)
    if isinstance(exc, StillRunning):
        return ApiError(status.HTTP_409_CONFLICT, "still_running", str(exc))
    if isinstance(exc, NotAllowedInState):
        return ApiError(status.HTTP_409_CONFLICT, "not_in_this_state", str(exc))
    if isinstance(exc, Conflict):
        return ApiError(status.HTTP_409_CONFLICT, "conflict", str(exc))
    if isinstance(exc, IntegrityError):
        text = "Somebody else has recorded the same at this moment. Look at it, then try again."
        return ApiError(status.HTTP_409_CONFLICT, "conflict", text)
    return _of_the_rest(exc)


def _of_the_rest(exc: Exception) -> ApiError:
    """Errors that speak of images where the call takes none say so in other words."""
    error = as_api_error(exc)
    if error.code == "unsupported_content_type":
        text = f"{getattr(exc, 'detail', exc)} The schema at /api/docs/ says what the call takes."
        return ApiError(error.status_code, error.code, text)
    if error.code == "malformed_request":
        return ApiError(error.status_code, error.code, error.text)
    return error


def invalid(faults: Mapping[str, str], text: str = "") -> ApiError:
    """Return 400 with each fault by its field."""
    said = " ".join(f"{name}: {fault}" for name, fault in faults.items())
    return ApiError(
        status.HTTP_400_BAD_REQUEST, "invalid", said or text or "Invalid.", fields=dict(faults)
    )


def flat_faults(detail: Any, prefix: str = "") -> dict[str, str]:
    """Return the faults of a form by dotted path: {"patient.birth_date": "..."}."""
    if isinstance(detail, Mapping):
        found: dict[str, str] = {}
        for name, inner in detail.items():
            path = prefix if name == "non_field_errors" else f"{prefix}.{name}".lstrip(".")
            found |= flat_faults(inner, path)
        return found
    if isinstance(detail, list) and any(isinstance(one, Mapping | list) for one in detail):
        found = {}
        for number, inner in enumerate(detail):
            found |= flat_faults(inner, f"{prefix}[{number}]")
        return found
    texts = detail if isinstance(detail, list) else [detail]
    text = " ".join(str(one) for one in texts)
    return {prefix or "request": text} if text else {}


def _faults_of(exc: ValidationError) -> dict[str, str]:
    if not hasattr(exc, "error_dict"):
        return {}
    return {
        "request" if name == NON_FIELD_ERRORS else name: " ".join(texts)
        for name, texts in exc.message_dict.items()
    }
