"""Bringing a specimen into the laboratory, and turning one away."""

from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from specimens import workflow
from specimens.models import Order, Patient, Site, Specimen, User
from specimens.models.patients_orders import Priority, Sex
from specimens.permissions import Action, require, visible_to
from specimens.services import audit
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
def accession_specimen(
    *,
    actor: User,
    site: Site,
    accession_number: str,
    patient: PatientData,
    order: OrderData,
    collected_at: datetime | None = None,
    received_at: datetime | None = None,
    wbc_count: Decimal | None = None,
    is_synthetic: bool = False,
) -> Specimen:
    """Record patient, order and specimen under `accession_number`.

    `wbc_count` is in 10^9/L. Raises ValidationError (the number is taken or malformed), Conflict
    (the patient number belongs to somebody else), PermissionDenied.
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
    the_patient = _matching_patient(site, patient)
    the_order = Order(
        site=site,
        patient=the_patient,
        **(asdict(order) | {"ordered_at": order.ordered_at or collected_at or now}),
    )
    the_order.full_clean()
    the_order.save()
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
