"""Patients as hospital systems describe them: matched by number and issuer, updated by ADT^A08."""

from dataclasses import replace
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from specimens.interop.hl7.persons import Person
from specimens.models import Patient, User
from specimens.models.patients_orders import Sex
from specimens.permissions import Action, require, visible_to
from specimens.services import audit
from specimens.services.accessioning import PatientData

_FIELDS: Final = ("family_name", "given_name", "birth_date", "sex")


def patient_data(person: Person, *, known: Patient | None) -> PatientData:
    """What is recorded of the patient: the message's word, or that of `known`."""
    source: Person | Patient = known or person
    return PatientData(
        identifier=source.identifier,
        issuer=source.issuer,
        family_name=source.family_name,
        given_name=source.given_name,
        birth_date=source.birth_date,
        sex=source.sex,
    )


@transaction.atomic
def update_patient(*, actor: User, patient: Patient, person: Person) -> list[str]:
    """Take over what `person` says differently; return the names of the changed fields.

    Signed reports keep the name they were signed with. What the message does not say stays; what
    it wants deleted ("") is emptied.
    """
    require(actor, Action.ACCESSION)
    found = visible_to(actor, Patient).select_for_update(of=("self",)).get(pk=patient.pk)
    changes: dict[str, list[Any]] = {}
    for name in _FIELDS:
        value = getattr(person, name)
        if value in ("", None, Sex.UNKNOWN):
            if name not in person.cleared:
                continue
            value = None if name == "birth_date" else ""
        before = getattr(found, name)
        if value != before:
            changes[name] = [None if x is None else str(x) for x in (before, value)]
            setattr(found, name, value)
    if changes:
        found.full_clean()
        found.save(update_fields=list(changes))
        audit.record(
            actor=actor,
            action="patient.updated",
            subject=found,
            site=found.site,
            details=changes,
        )
        for name in changes:
            setattr(patient, name, getattr(found, name))
    return list(changes)


def with_own_issuer(person: Person) -> Person:
    """Numbers of WBCLAB_HL7_OWN_ISSUER are the laboratory's own: they are kept without issuer."""
    own = settings.HL7_OWN_ISSUER
    if not own:
        return person
    others = tuple((number, "" if issuer == own else issuer) for number, issuer in person.others)
    return replace(person, issuer="" if person.issuer == own else person.issuer, others=others)
