"""WADO-RS (PS3.18 section 10.4): instances as they were received, and their metadata."""

from collections.abc import Iterator
from typing import Any, Final

from django.core.files.storage import default_storage
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from specimens.api.dicomweb.base import (
    accepted,
    account,
    json_answer,
    not_acceptable,
    require_json,
)
from specimens.dicom.multipart import MediaType, new_boundary, written
from specimens.models import DicomInstance
from specimens.selectors.dicomweb import distinct_by_uid, stored_instances
from specimens.services.dicom_network_reads import record_retrieval

DICOM: Final = "application/dicom"
_BLOCK_BYTES: Final = 256 * 1024
# Metadata are read from the files; more at a time would keep a client waiting for minutes.
LARGEST_METADATA: Final = 2000


def retrieve_answer(
    request: Request, study: str, series: str = "", instance: str = ""
) -> HttpResponseBase:
    """Answer with the files: multipart/related, or one application/dicom where one is meant."""
    rows = _rows(request, study, series, instance)
    single = _form(request, rows, is_one=bool(instance))
    record_retrieval(actor=account(request), rows=rows, form="dicom")
    if single:
        response = StreamingHttpResponse(_blocks(rows[0]), content_type=DICOM)
        response.headers["Content-Length"] = str(rows[0].size)
        return response
    boundary = new_boundary()
    parts = ((f"{DICOM};transfer-syntax={row.transfer_syntax_uid}", _blocks(row)) for row in rows)
    content_type = f'multipart/related; type="{DICOM}"; boundary={boundary}'
    return StreamingHttpResponse(written(parts, boundary), content_type=content_type)


def metadata_answer(
    request: Request, study: str, series: str = "", instance: str = ""
) -> HttpResponse:
    """Answer with the data sets as DICOM JSON, without pixels and other bulk data."""
    require_json(request)
    rows = _rows(request, study, series, instance)
    if len(rows) > LARGEST_METADATA:
        raise not_acceptable(
            f"{len(rows)} instances; metadata are given for {LARGEST_METADATA} at a time. "
            "Ask series by series."
        )
    record_retrieval(actor=account(request), rows=rows, form="metadata")
    return json_answer([_metadata(row) for row in rows])


def _rows(request: Request, study: str, series: str, instance: str) -> list[DicomInstance]:
    rows = distinct_by_uid(stored_instances(account(request), study, series, instance))
    if not rows:
        raise Http404
    return rows


def _form(request: Request, rows: list[DicomInstance], *, is_one: bool) -> bool:
    """Tell whether to answer with a single part; 406 where nothing that is accepted fits.

    Files are given in the transfer syntax they came in, and in no other (section 8.7.3.5).
    """
    syntaxes = {row.transfer_syntax_uid for row in rows}
    wrong_syntax = False
    for one in accepted(request):
        single = one.name == DICOM and is_one
        multipart = one.name in ("multipart/related", "multipart/*", "*/*") and one.parameter(
            "type"
        ) in ("", DICOM)
        if not single and not multipart:
            continue
        if _syntax_fits(one, syntaxes):
            return single
        wrong_syntax = True
    if wrong_syntax:
        raise not_acceptable(
            f"Kept here in {', '.join(sorted(syntaxes))}, and given in no other transfer syntax; "
            "ask for transfer-syntax=*."
        )
    raise not_acceptable(f'Instances are given as multipart/related; type="{DICOM}".')


def _syntax_fits(media_type: MediaType, syntaxes: set[str]) -> bool:
    wanted = media_type.parameter("transfer-syntax")
    return wanted in ("", "*") or syntaxes == {wanted}


def _blocks(row: DicomInstance) -> Iterator[bytes]:
    with default_storage.open(str(row.file.name)) as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _metadata(row: DicomInstance) -> dict[str, Any]:
    from specimens.dicom.metadata import metadata_of  # pydicom takes half a second

    with default_storage.open(str(row.file.name)) as file:
        return metadata_of(file)
