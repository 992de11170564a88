"""Every error as an OperationOutcome (R4, operationoutcome): what was wrong, and what to do."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.core.exceptions import ValidationError
from rest_framework import exceptions, status
from rest_framework.response import Response

from specimens.api.errors import ApiError, error_headers
from specimens.api.problems import problem_of
from specimens.interop.fhir.elements import Fault, Refused
from specimens.interop.fhir.parameters import ParameterError
from specimens.interop.fhir.wire import Resource, without_empty
from specimens.selectors.fhir_search import TooCostly

# HTTP status -> issue-type; what is not here is "processing".
ISSUE_TYPES: Final[Mapping[int, str]] = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    409: "conflict",
    410: "deleted",
    412: "conflict",
    413: "too-long",
    415: "not-supported",
    422: "business-rule",
    429: "throttled",
    500: "exception",
    503: "transient",
    507: "no-store",
}


class FhirError(ApiError):
    """An answer with status, issue-type and text."""

    def __init__(self, status_code: int, code: str, text: str) -> None:
        super().__init__(status_code, code, text)


def issue(code: str, text: str, *, severity: str = "error", expression: str = "") -> dict[str, Any]:
    return {
        "severity": severity,
        "code": code,
        "details": {"text": text},
        "diagnostics": text,
        "expression": [expression] if expression else [],
    }


def outcome(issues: Iterable[dict[str, Any]]) -> Resource:
    return without_empty({"resourceType": "OperationOutcome", "issue": list(issues)})


def outcome_of(error: ApiError) -> Resource:
    """Return the outcome of an error that no view could answer."""
    return outcome([issue(ISSUE_TYPES.get(error.status_code, "processing"), error.text)])


def outcome_handler(exc: Exception, context: Mapping[str, Any]) -> Response:
    """Turn whatever a view raised into an OperationOutcome."""
    code, issues = _issues(exc)
    return Response(outcome(issues), status=code, headers=error_headers(exc))


def _issues(exc: Exception) -> tuple[int, list[dict[str, Any]]]:
    if isinstance(exc, Refused):
        return exc.status, [_of_fault(fault) for fault in exc.faults]
    if isinstance(exc, ParameterError):
        return status.HTTP_400_BAD_REQUEST, [issue("value", str(exc))]
    if isinstance(exc, TooCostly):
        return status.HTTP_403_FORBIDDEN, [issue("too-costly", str(exc))]
    if isinstance(exc, ValidationError):
        texts = [
            f"{name.replace('_', ' ')}: {text}" if name != "__all__" else text
            for name, found in _messages(exc).items()
            for text in found
        ]
        return status.HTTP_422_UNPROCESSABLE_ENTITY, [issue("business-rule", t) for t in texts]
    if isinstance(exc, exceptions.UnsupportedMediaType):
        text = f"{exc.detail} Send the resource as application/fhir+json."
        return exc.status_code, [issue("not-supported", text)]
    error = problem_of(exc)
    code = error.code if isinstance(error, FhirError) else None
    kind = code or ISSUE_TYPES.get(error.status_code, "processing")
    text = error.text
    if error.status_code == status.HTTP_404_NOT_FOUND and not isinstance(error, FhirError):
        text = "There is no such resource at your sites; /fhir/metadata lists what there is."
    return error.status_code, [issue(kind, text)]


def _messages(exc: ValidationError) -> dict[str, list[str]]:
    return exc.message_dict if hasattr(exc, "error_dict") else {"__all__": exc.messages}


def _of_fault(fault: Fault) -> dict[str, Any]:
    return issue(fault.code, fault.text, expression=fault.expression)
