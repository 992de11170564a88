"""DICOM files over REST: taken in, matched, and a line for each of what became of it."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from specimens.api.errors import REFUSAL_STATUS, ApiError
from specimens.api.problems import MEDIA_TYPE, problem_body
from specimens.api.schema import answer
from specimens.api.uploads import some_files
from specimens.api.v1 import documents
from specimens.api.v1.base import ResourceView, found, person
from specimens.api.v1.fields import own_site
from specimens.dicom.refusals import DicomRefusal
from specimens.models import Specimen
from specimens.models.dicom import Way
from specimens.permissions import Action, require, visible_to
from specimens.services.dicom_import import ImportOutcome
from specimens.services.dicom_import_uploads import receive_upload
from specimens.services.errors import QueueFull, StorageUnavailable
from specimens.services.imaging import clean_filename
from specimens.services.queue_entry import RETRY_AFTER_SECONDS

_TRUNCATED: Final = problem_body(ApiError(422, "truncated", "The DICOM file is cut off."))
_KEPT: Final = ("stored", "unmatched", "quarantined")
STATES: Final = ("stored", "duplicate", "unmatched", "quarantined", "refused")


class DicomForm(serializers.Serializer[Any]):
    files = serializers.ListField(
        child=serializers.FileField(), help_text="Part 10 files; up to 10 by default."
    )
    site = serializers.CharField(
        required=False, help_text="Code; may be left out where you have one site only."
    )
    specimen = serializers.IntegerField(
        required=False,
        help_text="Id of the specimen they are of; missing: found by their identifiers.",
    )
    confirmed = serializers.BooleanField(
        required=False, help_text="They are of `specimen` although their identifiers disagree."
    )


class _Values(serializers.Serializer[Any]):
    site = serializers.CharField(required=False, default="", allow_blank=True)
    specimen = serializers.IntegerField(required=False, default=None, allow_null=True, min_value=1)
    confirmed = serializers.BooleanField(required=False, default=False)


class InstanceShape(serializers.Serializer[Any]):
    filename = serializers.CharField()
    state = serializers.ChoiceField(choices=STATES)
    code = serializers.CharField(help_text="Why it was refused, for programs; else empty.")
    message = serializers.CharField()
    sop_class_uid = serializers.CharField()
    sop_instance_uid = serializers.CharField()
    specimen = serializers.IntegerField(allow_null=True)
    cells = serializers.ListField(
        child=serializers.IntegerField(), help_text="One for each frame, once it is matched."
    )


class InstancesAnswer(serializers.Serializer[Any]):
    received = InstanceShape(many=True, help_text="In the order sent.")


EXAMPLE: Final[dict[str, Any]] = {
    "received": [
        {
            "filename": "cells.dcm",
            "state": "stored",
            "code": "",
            "message": "2 images added to specimen 261123-001.",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.7.4",
            "sop_instance_uid": "2.25.185543222154125",
            "specimen": 57,
            "cells": [4711, 4712],
        },
        {
            "filename": "slide.dcm",
            "state": "refused",
            "code": "unsupported_sop_class",
            "message": "The DICOM object is a whole-slide image; cells have to be cropped first.",
            "sop_class_uid": "",
            "sop_instance_uid": "",
            "specimen": None,
            "cells": [],
        },
    ]
}


class DicomView(ResourceView):
    """DICOM objects from outside."""

    parser_classes = [MultiPartParser]

    @extend_schema(
        operation_id="receive_dicom",
        summary="Send DICOM objects",
        description=(
            "Each is matched to a specimen by accession number, specimen, container or patient; "
            "what fits none, or several, is kept and waits for a person. Sending the same object "
            "again changes nothing. One bad file spoils no other."
        ),
        tags=["DICOM"],
        parameters=[documents.RETRY_AFTER],
        request={"multipart/form-data": DicomForm},
        responses={
            200: answer(InstancesAnswer, "Nothing new among them.", received=EXAMPLE),
            201: answer(InstancesAnswer, "At least one is kept now.", received=EXAMPLE),
            **documents.problems(
                *documents.WRITING, "no_file", "not_in_this_state", "too_many_images",
                "queue_full", "storage_unavailable",
            ),
            (status.HTTP_422_UNPROCESSABLE_ENTITY, MEDIA_TYPE): OpenApiResponse(
                documents.Problem,
                "The only file is damaged, cut off, or outside the limits.",
                examples=[OpenApiExample("truncated", value=_TRUNCATED)],
            ),
        },
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Take the files in; a line for each."""
        user = person(request)
        require(user, Action.ADD_IMAGES)
        uploads = some_files(request, "files")
        form = _Values(data=request.POST.dict())
        form.is_valid(raise_exception=True)
        values = form.validated_data
        specimen = None
        if values["specimen"] is not None:
            specimen = found(
                visible_to(user, Specimen).select_related("site", "order__patient"),
                values["specimen"],
            )
        site = specimen.site if specimen is not None else own_site(user, values["site"])
        lines: list[dict[str, Any]] = []
        for upload in uploads:
            name = clean_filename(upload.name)
            try:
                outcome = receive_upload(
                    actor=user,
                    site=site,
                    upload=upload,
                    way=Way.API,
                    specimen=specimen,
                    confirmed=values["confirmed"],
                )
            except DicomRefusal as refusal:
                kept = any(line["state"] in _KEPT for line in lines)
                lines.append(_refused(name, refusal, alone=len(uploads) == 1, kept=kept))
            else:
                lines.append(_line(name, outcome))
        new = any(line["state"] in _KEPT for line in lines)
        code = status.HTTP_201_CREATED if new else status.HTTP_200_OK
        return Response({"received": lines}, status=code)


def _line(filename: str, outcome: ImportOutcome) -> dict[str, Any]:
    return {
        "filename": filename,
        "state": outcome.state,
        "code": "",
        "message": outcome.text,
        "sop_class_uid": outcome.sop_class_uid,
        "sop_instance_uid": outcome.sop_instance_uid,
        "specimen": outcome.specimen_id,
        "cells": list(outcome.cell_image_ids),
    }


def _refused(filename: str, refusal: DicomRefusal, *, alone: bool, kept: bool) -> dict[str, Any]:
    """The line of a refused file.

    One that came alone is a problem, and so is the platform's own, while no file before is kept.
    """
    if refusal.code == "queue_full" and not kept:
        raise QueueFull(retry_after_seconds=RETRY_AFTER_SECONDS) from refusal
    if refusal.may_pass and not kept:
        raise StorageUnavailable(refusal.text) from refusal
    if alone:
        raise ApiError(_status_of(refusal.code), refusal.code, refusal.text) from refusal
    return {
        "filename": filename,
        "state": "refused",
        "code": refusal.code,
        "message": refusal.text,
        "sop_class_uid": "",
        "sop_instance_uid": "",
        "specimen": None,
        "cells": [],
    }


def _status_of(code: str) -> int:
    if code == "not_allowed":
        return status.HTTP_403_FORBIDDEN
    return REFUSAL_STATUS.get(code, status.HTTP_409_CONFLICT)
