"""The printable label of a specimen."""

from django.http import HttpRequest, HttpResponse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET

from specimens.models import User
from specimens.services import audit
from specimens.views.access import for_people, specimen_or_404


@require_GET
@for_people
def label(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """A PDF of 62 x 29 mm; it carries the patient's name, so the look is recorded."""
    from specimens.documents.label import specimen_label  # ReportLab takes half a second

    found = specimen_or_404(user, pk)
    audit.record_view(actor=user, specimen=found)
    patient = found.order.patient
    content = specimen_label(
        accession_number=found.accession_number,
        patient=str(patient),
        identifier=patient.identifier,
        born=patient.birth_date.isoformat() if patient.birth_date else "",
        received_at=found.received_at,
    )
    name = f"label-{found.accession_number.replace('/', '-')}.pdf"
    headers = {
        "Content-Disposition": content_disposition_header(False, name) or "",
        "Cache-Control": "private, no-store",
    }
    return HttpResponse(content, content_type="application/pdf", headers=headers)
