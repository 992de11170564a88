"""The PDF of a signed report: as it is, or as a Binary (R4, binary)."""

import base64
from typing import Any

from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from specimens.api.fhir.base import JSON_TYPES, FhirView, person, records_of
from specimens.interop.fhir.reports import PDF
from specimens.selectors.fhir_documents import pdf_of, report_of_binary
from specimens.services.disclosures import record_report_read


class BinaryView(FhirView):
    takes_any_format = True

    def get(self, request: Request, ident: str) -> HttpResponseBase:
        """Answer the PDF; a Binary to who asks for JSON."""
        report = report_of_binary(records_of(request), ident)
        if report is None:
            raise Http404
        record_report_read(actor=person(request), report=report, form="pdf")
        content = pdf_of(report)
        if not _wants_json(request):
            return HttpResponse(content, content_type=PDF)
        body: dict[str, Any] = {
            "resourceType": "Binary",
            "id": ident,
            "contentType": PDF,
            "securityContext": {"reference": f"DiagnosticReport/{report.specimen_id}"},
            "data": base64.b64encode(content).decode(),
        }
        return Response(body)


def _wants_json(request: Request) -> bool:
    asked = request.query_params.get("_format", request.headers.get("Accept", ""))
    return any(one in asked.replace(" ", "+") for one in ("json", *JSON_TYPES))
