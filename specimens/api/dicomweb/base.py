"""What the DICOMweb views have in common."""

from typing import Any, Final

from django.http import HttpResponse, JsonResponse
from rest_framework import status
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from specimens.api.base import ApiView
from specimens.api.dicomweb.authentication import DicomWebAuthentication
from specimens.api.errors import ApiError
from specimens.dicom.dicomweb import DICOM_JSON
from specimens.dicom.multipart import MediaType
from specimens.models import User
from specimens.permissions import Action, can

ROOT: Final = "dicom-web"


class MayExchange(BasePermission):
    """Roles that may read by the interfaces."""

    message = "Your account may not read by this interface."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Ask the one place that knows."""
        return can(request.user, Action.EXCHANGE)


class DicomWebView(ApiView):
    """A token in one of three headers, or the session of the portal for reading."""

    authentication_classes = [DicomWebAuthentication, SessionAuthentication]
    permission_classes = [MayExchange]
    throttle_classes = []
    schema = None  # PS3.18 describes it; docs/dicom-conformance.md says what of it is done

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep what is said of a patient out of shared caches."""
        finished = super().finalize_response(request, response, *args, **kwargs)
        finished.headers.setdefault("Cache-Control", "private, no-store")
        return finished


def account(request: Request) -> User:
    """Return who asks; the permission class has seen to it that it is an account."""
    assert isinstance(request.user, User)  # noqa: S101 - narrows the type
    return request.user


def wado_root(request: Request) -> str:
    """Return the address below which instances are fetched, without a slash at its end."""
    return request.build_absolute_uri(f"/{ROOT}")


def json_answer(body: Any, status_code: int = status.HTTP_200_OK) -> HttpResponse:
    """Return DICOM JSON."""
    return JsonResponse(body, safe=False, status=status_code, content_type=DICOM_JSON)


def not_acceptable(text: str) -> ApiError:
    """Return the error for an Accept header that cannot be met."""
    return ApiError(status.HTTP_406_NOT_ACCEPTABLE, "not_acceptable", text)


def accepted(request: Request) -> list[MediaType]:
    """Return the media types of the Accept header (PS3.18 section 8.7.5); any where it is absent.

    The query parameter `accept` counts as well (section 8.3.3.1).
    """
    text = request.query_params.get("accept") or request.headers.get("Accept") or "*/*"
    return [MediaType(one.strip()) for one in text[:2000].split(",") if one.strip()]


def require_json(request: Request) -> None:
    """Raise 406 unless the sender takes DICOM JSON."""
    names = {one.name for one in accepted(request)}
    if not names & {"*/*", "application/*", DICOM_JSON, "application/json"}:
        raise not_acceptable(f"Metadata and search results are given as {DICOM_JSON} only.")
