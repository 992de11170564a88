"""Cell images of a specimen: sent in, read with what machine and people say, fetched."""

from collections.abc import Sequence
from typing import Any, Final

from django.http import HttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from classifier.classes import CLASS_BY_KEY
from specimens.api.schema import answer
from specimens.api.uploads import some_files
from specimens.api.v1 import documents
from specimens.api.v1.base import ResourceView, checked_query, found, person
from specimens.api.v1.fields import moment
from specimens.api.v1.paging import PageQuery, page
from specimens.api.v1.predictions import EXAMPLE as PREDICTION
from specimens.api.v1.predictions import PredictionShape, prediction_body
from specimens.api.v1.repeats import repeatable
from specimens.models import CellImage, Job, User
from specimens.permissions import Action, require
from specimens.selectors import api as reads
from specimens.selectors.pictures import stored_picture
from specimens.services import audit
from specimens.services.dicom_import_uploads import add_files
from specimens.services.imaging import Received

STATES: Final = ("waiting", "classified", "failed")
FATES: Final = ("accepted", "duplicate", "refused")
PICTURES: Final = (
    "image/jpeg", "image/png", "image/gif", "image/bmp", "image/tiff", "application/dicom",
)  # fmt: skip


class CellError(serializers.Serializer[Any]):
    code = serializers.CharField()
    text = serializers.CharField()


class CellShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    specimen = serializers.IntegerField()
    site = serializers.CharField(help_text="Code.")
    filename = serializers.CharField(help_text="As the sender named it.")
    media_type = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes.")
    sha256 = serializers.CharField()
    width = serializers.IntegerField(allow_null=True, help_text="Pixels.")
    height = serializers.IntegerField(allow_null=True)
    source = serializers.CharField(help_text="browser, api, dicom or demo.")  # type: ignore[assignment]
    created_at = serializers.DateTimeField()
    state = serializers.ChoiceField(choices=STATES)
    error = CellError(allow_null=True, help_text="Why it could not be classified.")
    prediction = PredictionShape(allow_null=True, help_text="The newest.")
    label = serializers.CharField(  # type: ignore[assignment] # Field's own attribute label
        help_text="Class key a person gave it; empty: unreviewed, or hidden from a blinded reader."
    )
    labelled_by = serializers.CharField(allow_null=True)
    revision = serializers.IntegerField(help_text="Counts its reviews; send it with a decision.")
    image_url = serializers.CharField()
    thumbnail_url = serializers.CharField()


class CellQuery(PageQuery):
    specimen = serializers.IntegerField(required=False)
    label = serializers.ChoiceField(  # type: ignore[assignment]
        choices=list(CLASS_BY_KEY), required=False, help_text="Class key of the review."
    )
    sha256 = serializers.CharField(required=False)
    created_after = serializers.DateTimeField(required=False)


class SpecimenCellQuery(PageQuery):
    label = serializers.ChoiceField(choices=list(CLASS_BY_KEY), required=False)  # type: ignore[assignment]


class CellsForm(serializers.Serializer[Any]):
    images = serializers.ListField(
        child=serializers.FileField(), help_text="One cell each; up to 10 by default."
    )


class ReceivedShape(serializers.Serializer[Any]):
    filename = serializers.CharField()
    status = serializers.ChoiceField(choices=FATES)
    cell = serializers.IntegerField(allow_null=True, help_text="Null: refused.")
    code = serializers.CharField(help_text="Why it was refused, for programs; else empty.")
    message = serializers.CharField()


class ReceivedAnswer(serializers.Serializer[Any]):
    received = ReceivedShape(many=True, help_text="In the order sent.")


EXAMPLE: Final[dict[str, Any]] = {
    "id": 4711,
    "specimen": 57,
    "site": "main",
    "filename": "cell_0017.jpg",
    "media_type": "image/jpeg",
    "size": 21_034,
    "sha256": "9f2c" * 16,
    "width": 360,
    "height": 363,
    "source": "api",
    "created_at": "2026-11-23T08:31:00Z",
    "state": "classified",
    "error": None,
    "prediction": PREDICTION,
    "label": "neutrophil",
    "labelled_by": "technician",
    "revision": 1,
    "image_url": "/api/v1/cells/4711/image",
    "thumbnail_url": "/api/v1/cells/4711/thumbnail",
}
RECEIVED: Final[dict[str, Any]] = {
    "received": [
        {
            "filename": "cell_0017.jpg",
            "status": "accepted",
            "cell": 4711,
            "code": "",
            "message": "",
        },
        {
            "filename": "notes.jpg",
            "status": "refused",
            "cell": None,
            "code": "not_an_image",
            "message": "notes.jpg is not an image.",
        },
    ]
}


class CellsView(ResourceView):
    """All cells of the own sites."""

    @extend_schema(
        operation_id="cells",
        summary="List cells",
        tags=["Cells"],
        parameters=[CellQuery, *documents.LIST],
        responses=documents.read_list(documents.listing(CellShape), EXAMPLE),
    )
    def get(self, request: Request) -> Response:
        """Answer a page of cells, the newest first."""
        user = person(request)
        require(user, Action.EXCHANGE)
        query = checked_query(CellQuery, request)
        rows = reads.filtered(reads.cells(user), query, reads.CELL_FILTERS)
        return page(request, rows, query, lambda chosen: cell_bodies(user, chosen))


class SpecimenCellsView(ResourceView):
    """The cells of one specimen, and new ones."""

    parser_classes = [MultiPartParser]

    @extend_schema(
        operation_id="specimen_cells",
        summary="List the cells of a specimen",
        tags=["Cells"],
        parameters=[SpecimenCellQuery, *documents.LIST],
        responses=documents.read_list(documents.listing(CellShape), EXAMPLE, "not_found"),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Answer a page of its cells, the newest first."""
        user = person(request)
        require(user, Action.EXCHANGE)
        specimen = found(reads.specimens(user), pk)
        query = checked_query(SpecimenCellQuery, request)
        rows = reads.cells(user).filter(specimen=specimen)
        rows = reads.filtered(rows, query, reads.CELL_FILTERS)
        return page(request, rows, query, lambda chosen: cell_bodies(user, chosen))

    @extend_schema(
        operation_id="add_cells",
        summary="Send cell images of a specimen",
        description=(
            "What is accepted is stored and queued when the answer comes. One bad image spoils no "
            "other; the same content is counted once."
        ),
        tags=["Cells"],
        parameters=documents.CREATE,
        request={"multipart/form-data": CellsForm},
        responses={
            200: answer(ReceivedAnswer, "Nothing new among them.", received=RECEIVED),
            201: answer(ReceivedAnswer, "At least one was accepted.", received=RECEIVED),
            **documents.problems(
                *documents.CREATING, "no_file", "not_in_this_state", "too_many_images",
                "queue_full", "storage_unavailable",
            ),
        },
    )  # fmt: skip
    @repeatable
    def post(self, request: Request, pk: int) -> Response:
        """Take the images in; a line for each."""
        user = person(request)
        require(user, Action.ADD_IMAGES)
        specimen = found(reads.specimens(user), pk)
        received = add_files(
            actor=user,
            specimen=specimen,
            uploads=some_files(request, "images"),
            source=CellImage.Source.API,
        )
        new = any(one.status == "accepted" for one in received)
        code = status.HTTP_201_CREATED if new else status.HTTP_200_OK
        return Response({"received": [_line(one) for one in received]}, status=code)


class CellView(ResourceView):
    """One cell."""

    @extend_schema(
        operation_id="cell",
        summary="Read a cell",
        tags=["Cells"],
        parameters=documents.ONE,
        responses=documents.read_one(CellShape, EXAMPLE),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Answer the cell with its newest prediction and label; the look is recorded."""
        user = person(request)
        require(user, Action.EXCHANGE)
        cell = found(reads.cells(user), pk)
        assert cell.specimen is not None  # noqa: S101 - narrows the type: selected by it
        audit.record_view(actor=user, specimen=cell.specimen)
        return Response(cell_bodies(user, [cell])[0])


def _picture_document(operation: str, summary: str, *media_types: str) -> Any:
    shown = OpenApiResponse(OpenApiTypes.BINARY, "The picture.")
    return extend_schema(
        operation_id=operation,
        summary=summary,
        tags=["Cells"],
        parameters=documents.ONE,
        responses={
            **{(200, media_type): shown for media_type in media_types},
            **documents.UNCHANGED,
            **documents.problems(*documents.READING),
        },
    )


class CellImageView(ResourceView):
    """The picture of a cell as it was received."""

    @_picture_document("cell_image", "The image as it was received", *PICTURES)
    def get(self, request: Request, pk: int) -> HttpResponse:
        """Answer the stored file."""
        return _picture(request, pk, "original")


class CellThumbnailView(ResourceView):
    """The small picture of a cell."""

    @_picture_document("cell_thumbnail", "A small picture of the cell", *PICTURES[:4])
    def get(self, request: Request, pk: int) -> HttpResponse:
        """Answer the picture the worker made, until then the original where browsers draw it."""
        return _picture(request, pk, "thumbnail")


def _picture(request: Request, pk: int, kind: str) -> HttpResponse:
    user = person(request)
    require(user, Action.EXCHANGE)
    picture = stored_picture(found(reads.cells(user), pk), kind)
    headers = {
        "ETag": picture.etag,
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return HttpResponse(picture.content, content_type=picture.media_type, headers=headers)


def _line(one: Received) -> dict[str, Any]:
    return {
        "filename": one.filename,
        "status": one.status,
        "cell": one.cell_image.pk if one.cell_image else None,
        "code": one.code,
        "message": one.message,
    }


def cell_bodies(user: User, cells: Sequence[CellImage]) -> list[dict[str, Any]]:
    """Return cells as JSON; read them by selectors.api.cells."""
    blinded = reads.blinded_specimens(user)
    return [_cell_body(cell, blinded=cell.specimen_id in blinded) for cell in cells]


def _cell_body(cell: CellImage, *, blinded: bool) -> dict[str, Any]:
    prediction = next(iter(cell.predictions.all()), None)
    job = next(iter(cell.jobs.all()), None)
    failed = prediction is None and job is not None and job.state == Job.State.FAILED
    reviewer = cell.labelled_by if not blinded else None
    return {
        "id": cell.pk,
        "specimen": cell.specimen_id,
        "site": cell.site.code,
        "filename": cell.filename,
        "media_type": cell.media_type,
        "size": cell.size,
        "sha256": cell.sha256,
        "width": cell.width,
        "height": cell.height,
        "source": cell.source,
        "created_at": moment(cell.created_at),
        "state": "classified" if prediction else "failed" if failed else "waiting",
        "error": {"code": job.error_code, "text": job.error} if failed and job else None,
        "prediction": prediction_body(prediction) if prediction else None,
        "label": "" if blinded else cell.label,
        "labelled_by": reviewer.username if reviewer else None,
        "revision": cell.revision,
        "image_url": reverse("v1_cell_image", args=[cell.pk]),
        "thumbnail_url": reverse("v1_cell_thumbnail", args=[cell.pk]),
    }
