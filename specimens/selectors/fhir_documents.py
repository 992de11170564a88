"""A report as one Bundle, and as a PDF."""

import re

from specimens.documents.report_pdf import report_pdf
from specimens.interop.fhir.bundles import case_resources, collection
from specimens.interop.fhir.wire import Resource
from specimens.models import Report
from specimens.permissions import visible_to
from specimens.selectors.fhir import Records, orders_with_status, reported
from specimens.selectors.fhir_search import Found
from specimens.selectors.reports import picture_files, report_sheet


def bundle_of(records: Records, ident: str) -> tuple[Resource, Found] | None:
    """Return the Bundle `report-{DiagnosticReport}`, and its report; None where there is none."""
    named = re.fullmatch(r"report-([0-9]{1,18})", ident, re.ASCII)
    row = reported(records.user).filter(pk=int(named[1])).first() if named else None
    case = records.case(row) if row is not None else None
    if row is None or case is None:
        return None
    order = orders_with_status(records.user).get(pk=row.order_id)
    signed = row.reports.order_by("-version").first() if case.is_signed else None
    resources = case_resources(
        case,
        pdf=pdf_of(signed) if signed else None,
        pdf_url=f"{records.base}Binary/{binary_id(signed)}" if signed else "",
        order_status=order.fhir_status,  # type: ignore[attr-defined]
        ordered_at=order.ordered_at.isoformat(),
    )
    bundle = collection(resources, base=records.base, ident=ident, timestamp=case.issued_at)
    return bundle, Found(resources[0], row)


def binary_id(report: Report) -> str:
    """Id of the Binary that is the PDF of a version."""
    return f"report-{report.pk}"


def pdf_of(report: Report) -> bytes:
    """Return the signed report as PDF (A4)."""
    return report_pdf(report_sheet(report), pictures=picture_files(report))


def report_of_binary(records: Records, ident: str) -> Report | None:
    """Return the signed version a Binary belongs to; None where there is none."""
    named = re.fullmatch(r"report-([0-9]{1,18})", ident, re.ASCII)
    rows = visible_to(records.user, Report).select_related(
        "specimen__site", "specimen__order__patient"
    )
    return rows.filter(pk=int(named[1])).first() if named else None
