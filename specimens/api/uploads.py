"""Takes the files out of a multipart form; says what to send where they are not in it."""

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from rest_framework import status
from rest_framework.request import Request

from specimens.api.errors import ApiError, accepted_images


def one_file(request: Request, field: str) -> "UploadedFile[bytes]":
    """Return the only file of `field`."""
    files = _files(request, field)
    if len(files) > 1:
        text = (
            f'The field "{field}" holds {len(files)} files; this call takes one. '
            "Send several to /api/predict_batch. Nothing was stored."
        )
        raise _refused(status.HTTP_400_BAD_REQUEST, "too_many_images", text)
    return files[0]


def some_files(request: Request, field: str) -> "list[UploadedFile[bytes]]":
    """Return the files of `field`, as many as one call may hold, in the order sent."""
    files = _files(request, field)
    limit = settings.PREDICT_BATCH_LIMIT
    if len(files) > limit:
        text = (
            f"The call holds {len(files)} images; one call takes up to {limit}. "
            "Nothing was stored: send them in several calls."
        )
        raise _refused(status.HTTP_413_REQUEST_ENTITY_TOO_LARGE, "too_many_images", text)
    return files


def _files(request: Request, field: str) -> "list[UploadedFile[bytes]]":
    files: list[UploadedFile[bytes]] = request.FILES.getlist(field)  # parses the body
    if not files:
        raise _refused(status.HTTP_400_BAD_REQUEST, "no_file", _why_none(request, field))
    return files


def _why_none(request: Request, field: str) -> str:
    expected = f'Send each image as a file in the field "{field}" of a multipart form.'
    if field in request.data:
        return f'The field "{field}" came as text, without a file name. {expected}'
    if others := list(request.FILES):
        names = ", ".join(f'"{name[:40]}"' for name in others[:5])
        return f'There is no file in the field "{field}"; there is one in {names}. {expected}'
    if request.data or not request.META.get("CONTENT_LENGTH", "").strip("0"):
        return f"No file was sent. {expected}"
    return f"The request body holds no complete file. {expected}"


def _refused(status_code: int, code: str, text: str) -> ApiError:
    return ApiError(status_code, code, text, accepted=accepted_images())
