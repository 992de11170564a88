"""Accessioning and rejecting a specimen."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from specimens.models import AuditEvent, Order, Patient, Site, Specimen
from specimens.services.accessioning import (
    OrderData,
    PatientData,
    accession_specimen,
    reject_specimen,
)
from specimens.services.errors import Conflict
from specimens.workflow import NotAllowedInState
from tests.factories import Cast

pytestmark = [pytest.mark.core, pytest.mark.django_db]

ERIKA = PatientData(
    identifier="4711", family_name="Muster", given_name="Erika", birth_date=date(1970, 1, 2)
)


def _accession(cast: Cast, **values: Any) -> Specimen:
    given: dict[str, Any] = {
        "actor": cast.technician,
        "site": cast.site,
        "accession_number": "26-0001",
        "patient": ERIKA,
        "order": OrderData(priority="stat"),
    }
    return accession_specimen(**(given | values))


def test_records_patient_order_specimen_and_the_act(cast: Cast) -> None:
    specimen = _accession(cast, wbc_count=Decimal("7.2"))
    assert specimen.order.patient.family_name == "Muster"
    assert specimen.state == Specimen.State.ACCESSIONED
    event = AuditEvent.objects.get(specimen=specimen)
    assert (event.action, event.actor) == ("specimen.accessioned", cast.technician)


def test_the_same_patient_is_recorded_once(cast: Cast) -> None:
    _accession(cast)
    _accession(cast, accession_number="26-0002")
    assert Patient.objects.count() == 1
    assert Order.objects.count() == 2


def test_other_demographics_under_one_number_are_a_conflict(cast: Cast) -> None:
    _accession(cast)
    other = PatientData(identifier="4711", family_name="Muster", birth_date=date(1980, 1, 2))
    with pytest.raises(Conflict, match="birth date: recorded 1970-01-02, given 1980-01-02"):
        _accession(cast, accession_number="26-0002", patient=other)
    assert Specimen.objects.count() == 1


def test_a_taken_number_is_an_error_at_its_field(cast: Cast) -> None:
    _accession(cast)
    with pytest.raises(ValidationError) as caught:
        _accession(cast)
    assert "in use" in caught.value.message_dict["accession_number"][0]
    assert Order.objects.count() == 1, "the order of the refused specimen must not stay"


@pytest.mark.parametrize("number", ["", "a b", "-1", "x" * 33, "Ä1"])
def test_a_malformed_number_is_refused(cast: Cast, number: str) -> None:
    with pytest.raises(ValidationError, match="accession_number"):
        _accession(cast, accession_number=number)


def test_another_site_cannot_be_used(cast: Cast) -> None:
    with pytest.raises(Site.DoesNotExist):
        _accession(cast, site=cast.other_site)


def test_an_administrator_does_not_accession(cast: Cast) -> None:
    with pytest.raises(PermissionDenied, match="pathologist, technician"):
        _accession(cast, actor=cast.administrator)


def test_rejection_needs_a_reason_and_is_final(cast: Cast) -> None:
    specimen = _accession(cast)
    with pytest.raises(ValidationError, match="reason"):
        reject_specimen(actor=cast.technician, specimen=specimen, reason=" ")
    rejected = reject_specimen(actor=cast.technician, specimen=specimen, reason="clotted")
    assert rejected.state == Specimen.State.REJECTED
    with pytest.raises(NotAllowedInState):
        reject_specimen(actor=cast.technician, specimen=specimen, reason="again")


def test_an_outsider_cannot_reject(cast: Cast) -> None:
    specimen = _accession(cast)
    with pytest.raises(Specimen.DoesNotExist):
        reject_specimen(actor=cast.outsider, specimen=specimen, reason="clotted")
