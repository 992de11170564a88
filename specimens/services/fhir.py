"""What FHIR clients do to the database: looks at patients' data are recorded; orders come in."""

from collections.abc import Iterable
from typing import Final

from django.db import transaction

from specimens.models import Order, Patient, User
from specimens.permissions import Action, require
from specimens.selectors.fhir_search import Found, specimens_in
from specimens.services import audit

NAMED: Final = 50  # resources an audit event names; with more, the number of the rest


@transaction.atomic
def record_look(*, actor: User, found: Iterable[Found], interaction: str) -> None:
    """Record what `actor` was given: an event for each specimen, patient and order it came from.

    `interaction` is read, vread, history, search or document.
    """
    require(actor, Action.EXCHANGE)
    given = list(found)
    for specimen, names in specimens_in(given).values():
        audit.record(
            actor=actor,
            action="fhir.read",
            subject=specimen,
            specimen=specimen,
            details=_details(interaction, names),
        )
    for row in {one.row for one in given if isinstance(one.row, Patient | Order)}:
        names = [one.name for one in given if one.row == row]
        audit.record(
            actor=actor,
            action="fhir.read",
            subject=row,
            site=row.site,
            details=_details(interaction, names),
        )


def _details(interaction: str, names: list[str]) -> dict[str, object]:
    details: dict[str, object] = {"interaction": interaction, "resources": names[:NAMED]}
    if len(names) > NAMED:
        details["and_more"] = len(names) - NAMED
    return details
