"""Signed reports: every version, as JSON and as PDF."""

from collections.abc import Sequence
from typing import Any, Final

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from specimens.api.v1 import documents
from specimens.api.v1.base import ResourceView, checked_query, found, person
from specimens.api.v1.fields import moment
from specimens.api.v1.paging import PageQuery, page
from specimens.documents.report_pdf import report_pdf
from specimens.models import Report
from specimens.permissions import Action, require
from specimens.selectors import api as reads
from specimens.selectors.reports import CANONICAL, picture_files, report_sheet
from specimens.services.disclosures import record_report_read


class ReportShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    specimen = serializers.IntegerField()
    accession_number = serializers.CharField()
    site = serializers.CharField(help_text="Code.")
    version = serializers.IntegerField()
    is_newest = serializers.BooleanField(help_text="False: an amendment has replaced it.")
    signed_by = serializers.CharField(help_text="Account.")
    signer_name = serializers.CharField()
    signed_at = serializers.DateTimeField()
    meaning = serializers.CharField()
    amendment_reason = serializers.CharField()
    sha256 = serializers.CharField(help_text="Of the content; `canonical` says over what.")


class WholeReportShape(ReportShape):
    canonical = serializers.CharField()
    content = serializers.DictField(
        child=serializers.JSONField(), help_text="What was signed; docs/workflow.md has its form."
    )


class ReportQuery(PageQuery):
    site = serializers.CharField(required=False, help_text="Code.")
    specimen = serializers.IntegerField(required=False)
    accession_number = serializers.CharField(required=False)
    signed_after = serializers.DateTimeField(required=False)
    signed_before = serializers.DateTimeField(required=False)


EXAMPLE: Final[dict[str, Any]] = {
    "id": 12,
    "specimen": 57,
    "accession_number": "261123-001",
    "site": "main",
    "version": 1,
    "is_newest": True,
    "signed_by": "pathologist",
    "signer_name": "Paula Thorne",
    "signed_at": "2026-11-23T09:30:00Z",
    "meaning": "I have reviewed every cell and approve this report.",
    "amendment_reason": "",
    "sha256": "3f" * 32,
}
WHOLE: Final[dict[str, Any]] = EXAMPLE | {
    "canonical": CANONICAL,
    "content": {"format": 1, "version": 1},
}


class ReportsView(ResourceView):
    """All reports of the own sites, without their content."""

    @extend_schema(
        operation_id="reports",
        summary="List reports",
        tags=["Reports"],
        parameters=[ReportQuery, *documents.LIST],
        responses=documents.read_list(documents.listing(ReportShape), EXAMPLE),
    )
    def get(self, request: Request) -> Response:
        """Answer a page of reports, the newest first."""
        user = person(request)
        require(user, Action.EXCHANGE)
        query = checked_query(ReportQuery, request)
        rows = reads.filtered(reads.reports(user), query, reads.REPORT_FILTERS)
        return page(request, rows, query, report_bodies)


class ReportView(ResourceView):
    """One version of a report."""

    @extend_schema(
        operation_id="report",
        summary="Read a report",
        tags=["Reports"],
        parameters=documents.ONE,
        responses=documents.read_one(WholeReportShape, WHOLE),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Answer what was signed; the look is recorded."""
        user = person(request)
        require(user, Action.EXCHANGE)
        report = found(reads.reports(user), pk)
        record_report_read(actor=user, report=report, form="json")
        body = report_bodies([report])[0]
        return Response(body | {"canonical": CANONICAL, "content": report.content})


class ReportPdfView(ResourceView):
    """One version of a report, on paper."""

    @extend_schema(
        operation_id="report_pdf",
        summary="A report as PDF",
        tags=["Reports"],
        parameters=documents.ONE,
        responses={
            (200, "application/pdf"): OpenApiResponse(OpenApiTypes.BINARY, "On A4."),
            **documents.UNCHANGED,
            **documents.problems(*documents.READING),
        },
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        """Answer the report on A4; the look is recorded."""
        user = person(request)
        require(user, Action.EXCHANGE)
        report = found(reads.reports(user), pk)
        record_report_read(actor=user, report=report, form="pdf")
        content = report_pdf(report_sheet(report), paper="a4", pictures=picture_files(report))
        number = report.content["specimen"]["accession_number"].replace("/", "-")
        name = f"{number}-v{report.version}.pdf"
        superseded = "-superseded" if _superseded(report) else ""
        headers = {
            "ETag": f'"pdf-{report.sha256}{superseded}"',
            "Content-Disposition": content_disposition_header(False, name) or "inline",
        }
        return HttpResponse(content, content_type="application/pdf", headers=headers)


def report_bodies(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """Return reports as JSON without their content; read them by selectors.api.reports."""
    return [
        {
            "id": one.pk,
            "specimen": one.specimen_id,
            "accession_number": one.specimen.accession_number,
            "site": one.specimen.site.code,
            "version": one.version,
            "is_newest": not _superseded(one),
            "signed_by": one.signed_by.username,
            "signer_name": one.signer_name,
            "signed_at": moment(one.signed_at),
            "meaning": one.meaning,
            "amendment_reason": one.amendment_reason,
            "sha256": one.sha256,
        }
        for one in reports
    ]


def _superseded(report: Report) -> bool:
    """Whether a newer version exists; selectors.api.reports has looked."""
    return bool(getattr(report, "superseded"))  # noqa: B009 - the row carries an annotation
