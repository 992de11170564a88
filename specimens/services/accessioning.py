"""Bringing a specimen into the laboratory, and turning one away."""

from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from specimens import workflow
from specimens.models import Order, Patient, Site, Specimen, User
from specimens.models.patients_orders import Priority, Sex
from specimens.permissions import Action, require, visible_to
from specimens.services import audit
from specimens.services.dicom_import_decisions import adopt_waiting_instances
from specimens.services.errors import Conflict


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientData:
    identifier: str
    family_name: str
    issuer: str = ""
    given_name: str = ""
    birth_date: date | None = None
    sex: str = Sex.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderData:
    placer_number: str = ""
    priority: str = Priority.ROUTINE
    requester: str = ""
    clinical_information: str = ""
    ordered_at: datetime | None = None


def _matching_patient(site: Site, data: PatientData) -> Patient:
    """Find or create the patient; the same number with other demographics is never overwritten."""
    known = (
        Patient.objects.select_for_update()
        .filter(site=site, issuer=data.issuer, identifier=data.identifier)
        .first()
    )
    if known is None:
        patient = Patient(site=site, **asdict(data))
        patient.full_clean()
        patient.save()
        return patient
    differences = [
        f"{name.replace('_', ' ')}: recorded {getattr(known, name) or 'nothing'}, given {value}"
        for name, value in asdict(data).items()
        if value not in ("", None, Sex.UNKNOWN) and getattr(known, name) != value
    ]
    if differences:
        raise Conflict(
            f"Patient number {data.identifier} belongs to another record ("
            + "; ".join(differences)
            + "). Check the number, or correct the demographics to match."
        )
    return known


@transaction.atomic
def register_patient(*, actor: User, site: Site, data: PatientData) -> tuple[Patient, bool]:
    """Find a patient by number, or record a new one; the flag tells which (True: new).

    Raises ValidationError, Conflict (the number belongs to somebody else), PermissionDenied.
    """
    require(actor, Action.ACCESSION)
    visible_to(actor, Site).get(pk=site.pk)
    number = {"issuer": data.issuer, "identifier": data.identifier}
    is_new = not Patient.objects.filter(site=site, **number).exists()
    patient = _matching_patient(site, data)
    if is_new:
        audit.record(actor=actor, action="patient.registered", subject=patient, site=site)
    return patient, is_new


def new_order(
    site: Site, patient: PatientData, data: OrderData, *, ordered_at: datetime, **values: Any
) -> Order:
    """Write an order, and its patient where the number is new. Call it inside a transaction."""
    order = Order(
        site=site,
        patient=_matching_patient(site, patient),
        **(asdict(data) | {"ordered_at": data.ordered_at or ordered_at} | values),
    )
    order.full_clean()
    order.save()
    return order


def _expected_order(actor: User, site: Site, order: Order) -> Order:
    """Return an order that was placed before, locked: its tube has come."""
    placed = visible_to(actor, Order).select_for_update(of=("self",)).filter(pk=order.pk)
    found = placed.filter(site=site).first()
    if found is None:
        raise ValidationError({"order": "There is no such order at this site."})
    if found.cancelled_at is not None:
        raise Conflict(f"{found} was cancelled. Ask for a new order.")
    if found.expected_since is not None:
        found.expected_since = None
        found.save(update_fields=["expected_since"])
    return found


@transaction.atomic
def accession_specimen(
    *,
    actor: User,
    site: Site,
    accession_number: str,
    patient: PatientData | None = None,
    order: OrderData | Order,
    collected_at: datetime | None = None,
    received_at: datetime | None = None,
    wbc_count: Decimal | None = None,
    is_synthetic: bool = False,
) -> Specimen:
    """Record patient, order and specimen under `accession_number`.

    `order` may be one that was placed before; its patient holds, and it is no longer expected.
    `wbc_count` is in 10^9/L. Raises ValidationError (the number is taken or malformed), Conflict
    (the patient number belongs to somebody else, the order is cancelled), PermissionDenied.
    """
    require(actor, Action.ACCESSION)
    visible_to(actor, Site).get(pk=site.pk)
    if Specimen.objects.filter(site=site, accession_number=accession_number).exists():
        raise ValidationError(
            {
                "accession_number": f"{accession_number} is in use at this site. "
                "Open that specimen, or give the next number."
            }
        )
    now = timezone.now()
    if isinstance(order, Order):
        the_order = _expected_order(actor, site, order)
    elif patient is None:
        raise ValidationError({"patient": "Say whose blood it is."})
    else:
        the_order = new_order(site, patient, order, ordered_at=collected_at or now)
    specimen = Specimen(
        site=site,
        order=the_order,
        accession_number=accession_number,
        collected_at=collected_at,
        received_at=received_at or now,
        wbc_count=wbc_count,
        is_synthetic=is_synthetic,
        accessioned_by=actor,
    )
    specimen.full_clean()
    specimen.save()
    audit.record(
        actor=actor,
        action="specimen.accessioned",
        subject=specimen,
        specimen=specimen,
        details={"accession_number": accession_number, "priority": the_order.priority},
    )
    adopt_waiting_instances(actor=actor, specimen=specimen)
    return specimen


@transaction.atomic
def reject_specimen(*, actor: User, specimen: Specimen, reason: str) -> Specimen:
    """Turn a specimen away for good, with the reason. Raises NotAllowedInState after review."""
    require(actor, Action.REJECT_SPECIMEN)
    if not reason.strip():
        raise ValidationError({"reason": "Say why the specimen is rejected."})
    specimen = visible_to(actor, Specimen).select_for_update().get(pk=specimen.pk)
    specimen.state = workflow.after(workflow.Act.REJECT, specimen.state)
    specimen.rejection_reason = reason
    specimen.full_clean()
    specimen.save(update_fields=["state", "rejection_reason"])
    audit.record(
        actor=actor,
        action="specimen.rejected",
        subject=specimen,
        specimen=specimen,
        details={"reason": reason},
    )
    return specimen
