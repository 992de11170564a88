"""Pictures dropped on a specimen's page: a request holds some files, the answer a line for each."""

from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from specimens import workflow
from specimens.models import Specimen, User
from specimens.services.dicom_import_uploads import add_files
from specimens.services.errors import Conflict, QueueFull, StorageUnavailable
from specimens.services.imaging import Received
from specimens.views.access import for_people, specimen_or_404


@require_POST
@for_people
def add_images(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Take the files in. Scripts get JSON; a browser without them gets the page again."""
    found = specimen_or_404(user, pk)
    status, answer = _take_in(request, user, found)
    if "application/json" in request.headers.get("Accept", ""):
        response = JsonResponse(answer, status=status)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            response["Retry-After"] = str(answer.get("retry_after", 30))
        return response
    _tell(request, answer)
    return redirect("specimen", pk=found.pk)


def _take_in(
    request: HttpRequest, user: User, found: Specimen
) -> tuple[HTTPStatus, dict[str, Any]]:
    uploads = request.FILES.getlist("images")
    limit = settings.UPLOAD_BATCH_LIMIT
    if not uploads:
        return HTTPStatus.BAD_REQUEST, {"message": "No file arrived. Choose images and send again."}
    if len(uploads) > limit:
        text = f"{len(uploads)} files in one request; {limit} is the most. Send them in parts."
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"message": text}
    try:
        received = add_files(
            actor=user, specimen=found, uploads=uploads, confirmed="confirmed" in request.POST
        )
    except PermissionDenied as refusal:
        return HTTPStatus.FORBIDDEN, {"message": str(refusal)}
    except QueueFull as refusal:
        wait = refusal.retry_after_seconds
        return HTTPStatus.SERVICE_UNAVAILABLE, {"message": str(refusal), "retry_after": wait}
    except StorageUnavailable as refusal:
        return HTTPStatus.INSUFFICIENT_STORAGE, {"message": str(refusal)}
    except (Conflict, workflow.NotAllowedInState) as refusal:
        return HTTPStatus.CONFLICT, {"message": str(refusal)}
    except ValidationError as refusal:
        return HTTPStatus.UNPROCESSABLE_ENTITY, {"message": " ".join(refusal.messages)}
    return HTTPStatus.OK, {"received": [_line(one) for one in received]}


def _line(one: Received) -> dict[str, Any]:
    return {
        "filename": one.filename,
        "status": one.status,
        "id": one.cell_image.pk if one.cell_image else None,
        "code": one.code,
        "message": one.message,
    }


def _tell(request: HttpRequest, answer: dict[str, Any]) -> None:
    if "message" in answer:
        messages.error(request, answer["message"])
        return
    lines = answer["received"]
    accepted = sum(line["status"] == "accepted" for line in lines)
    messages.success(request, f"{accepted} of {len(lines)} images accepted.")
    for line in lines:
        if line["status"] == "refused":
            messages.error(request, f"{line['filename']}: {line['message']}")
