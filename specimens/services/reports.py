"""Opening a report: every look at it is recorded, in whichever form it is taken away."""

from django.db import transaction

from specimens.models import Report, User
from specimens.permissions import Action, require
from specimens.services import audit


@transaction.atomic
def record_report_view(*, actor: User, report: Report, form: str) -> None:
    """Record that `actor` opened a version of a report; `form` is page, pdf, csv or json."""
    require(actor, Action.VIEW)
    audit.record(
        actor=actor,
        action="report.viewed",
        subject=report,
        specimen=report.specimen,
        details={"version": report.version, "form": form},
    )
