"""Orders before their tube is there, and what may still be corrected of orders and specimens."""

from collections.abc import Mapping
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from specimens.models import Order, Site, Specimen, User
from specimens.permissions import Action, require, visible_to
from specimens.services import audit
from specimens.services.accessioning import OrderData, PatientData, new_order
from specimens.services.errors import Conflict
from specimens.services.queue_entry import change_urgency
from specimens.services.review_queue import refresh_flags
from specimens.workflow import NotAllowedInState

CLOSED: Final = (Specimen.State.SIGNED_OUT, Specimen.State.AMENDED, Specimen.State.REJECTED)
ORDER_FIELDS: Final = ("priority", "requester", "clinical_information")
SPECIMEN_FIELDS: Final = ("collected_at", "wbc_count")


@transaction.atomic
def place_order(*, actor: User, site: Site, patient: PatientData, order: OrderData) -> Order:
    """Record an order whose tube is still to come.

    Raises ValidationError (the placer number is taken), Conflict (the patient number belongs to
    somebody else), PermissionDenied.
    """
    require(actor, Action.ACCESSION)
    visible_to(actor, Site).get(pk=site.pk)
    now = timezone.now()
    placed = new_order(site, patient, order, ordered_at=now, expected_since=now)
    audit.record(
        actor=actor,
        action="order.placed",
        subject=placed,
        site=site,
        details={"placer_number": placed.placer_number, "priority": placed.priority},
    )
    return placed


@transaction.atomic
def change_order(*, actor: User, order: Order, changes: Mapping[str, Any]) -> Order:
    """Correct priority, requester or clinical information while nothing of it is signed.

    What waits in the queue takes the new urgency at once.
    """
    require(actor, Action.ACCESSION)
    found = visible_to(actor, Order).select_for_update(of=("self",)).get(pk=order.pk)
    if found.cancelled_at is not None:
        raise Conflict(f"{found} was cancelled; it cannot be changed.")
    if found.specimens.filter(state__in=CLOSED).exists():
        raise NotAllowedInState(
            "A specimen of this order is signed out or rejected: the order stays as it was."
        )
    details = _apply(found, changes, ORDER_FIELDS)
    if "priority" in details:
        for specimen in found.specimens.select_related("order"):
            change_urgency(specimen=specimen)
    if details:
        audit.record(
            actor=actor, action="order.changed", subject=found, site=found.site, details=details
        )
    return found


@transaction.atomic
def change_specimen(*, actor: User, specimen: Specimen, changes: Mapping[str, Any]) -> Specimen:
    """Correct the time of collection or the analyser's WBC count before the signature."""
    require(actor, Action.ACCESSION)
    rows = visible_to(actor, Specimen).select_related("site", "order__patient")
    found = rows.select_for_update(of=("self",)).get(pk=specimen.pk)
    if found.state in CLOSED:
        raise NotAllowedInState(
            f"A specimen that is {found.get_state_display().lower()} is not changed any more."
        )
    details = _apply(found, changes, SPECIMEN_FIELDS)
    if details:
        if found.state in (Specimen.State.PRECLASSIFIED, Specimen.State.IN_REVIEW):
            refresh_flags(specimen=found)
        audit.record(
            actor=actor,
            action="specimen.changed",
            subject=found,
            specimen=found,
            details=details,
        )
    return found


def _apply(
    row: Order | Specimen, changes: Mapping[str, Any], allowed: tuple[str, ...]
) -> dict[str, Any]:
    """Set and save what differs; return it as [before, after], for the record."""
    differing = {
        name: value
        for name, value in changes.items()
        if name in allowed and getattr(row, name) != value
    }
    details = {}
    for name, value in differing.items():
        before = getattr(row, name)
        details[name] = [None if one is None else str(one) for one in (before, value)]
        setattr(row, name, value)
    if differing:
        row.full_clean()
        row.save(update_fields=list(differing))
    return details
