"""Accessioning on the page: what is typed is kept, what is wrong is said where it stands."""

from collections.abc import Callable
from datetime import date

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from specimens.models import Patient, Specimen, User
from specimens.selectors.laboratory import next_accession_number
from tests.factories import Cast, PatientFactory

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]


def _typed(cast: Cast, **values: str) -> dict[str, str]:
    return {
        "site": str(cast.site.pk),
        "identifier": "4711",
        "family_name": "Curie",
        "given_name": "Marie",
        "birth_date": "1967-11-07",
        "sex": "F",
        "accession_number": "261122-001",
        "priority": "stat",
        "wbc_count": "7.2",
        "collected_at": "2026-01-02T08:30",
        "requester": "Ward 3",
    } | values


def _send(client: Client, typed: dict[str, str]) -> tuple[int, str]:
    response = client.post(reverse("accession"), typed)
    return response.status_code, response.content.decode()


def test_it_records_what_was_typed(cast: Cast, as_person: As) -> None:
    response = as_person(cast.technician).post(reverse("accession"), _typed(cast), follow=True)
    specimen = Specimen.objects.get()
    assert response.redirect_chain == [(reverse("specimen", args=[specimen.pk]), 302)]
    assert (specimen.accession_number, str(specimen.wbc_count)) == ("261122-001", "7.20")
    assert specimen.order.priority == "stat"
    assert specimen.order.patient.birth_date == date(1967, 11, 7)
    assert specimen.collected_at is not None
    assert timezone.localtime(specimen.collected_at).hour == 8
    assert "261122-001 accessioned" in response.content.decode()


@pytest.mark.parametrize(
    ("field", "wrong", "said"),
    [
        ("identifier", "", "Scan or type the patient number."),
        ("family_name", "", "Type the family name."),
        ("accession_number", "", "Scan or type a number"),
        ("accession_number", "26 1122", "Use letters, digits and . _ / - only"),
        ("birth_date", "2999-01-01", "This day is in the future."),
        ("birth_date", "yesterday", "Enter a valid date."),
        ("collected_at", "2999-01-01T00:00", "This time is in the future."),
        ("wbc_count", "-1", "greater than or equal to 0"),
        ("wbc_count", "many", "Enter a number."),
        ("priority", "soon", "Select a valid choice."),
        ("sex", "X", "Select a valid choice."),
    ],
)
def test_what_is_wrong_is_said_and_the_rest_is_kept(
    field: str, wrong: str, said: str, cast: Cast, as_person: As
) -> None:
    status, content = _send(as_person(cast.technician), _typed(cast, **{field: wrong}))
    assert status == 422
    assert said in content
    assert 'value="Ward 3"' in content
    assert "Nothing was recorded yet." in content
    assert not Specimen.objects.exists()
    assert not Patient.objects.exists()


def test_another_sites_number_is_no_choice(cast: Cast, as_person: As) -> None:
    status, _ = _send(as_person(cast.technician), _typed(cast, site=str(cast.other_site.pk)))
    assert status == 422


def test_a_taken_number_leads_to_the_specimen_that_has_it(cast: Cast, as_person: As) -> None:
    first = cast.specimen(accession_number="261122-001")
    status, content = _send(as_person(cast.technician), _typed(cast))
    assert status == 422
    assert "This number is taken." in content
    assert reverse("specimen", args=[first.pk]) in content


def test_a_patient_number_of_somebody_else_is_a_choice(cast: Cast, as_person: As) -> None:
    PatientFactory.create(
        site=cast.site, identifier="4711", family_name="Skłodowska", given_name="Maria"
    )
    client = as_person(cast.technician)
    status, content = _send(client, _typed(cast))
    assert status == 409
    assert "Patient number 4711 belongs to another record" in content
    assert "Skłodowska" in content
    assert 'value="Curie"' in content
    assert not Specimen.objects.exists()
    other = _typed(cast) | {"use_registered": "4712"}
    assert _send(client, other)[0] == 409
    response = client.post(reverse("accession"), _typed(cast) | {"use_registered": "4711"})
    assert response.status_code == 302
    assert Specimen.objects.get().order.patient.family_name == "Skłodowska"
    assert Patient.objects.get().given_name == "Maria"


def test_a_known_patient_is_not_asked_about(cast: Cast, as_person: As) -> None:
    client = as_person(cast.technician)
    assert _send(client, _typed(cast))[0] == 302
    assert _send(client, _typed(cast, accession_number="261122-002"))[0] == 302
    assert Patient.objects.count() == 1


@pytest.mark.usefixtures("within_a_minute")
def test_the_next_number_of_the_day_is_proposed(cast: Cast, as_person: As) -> None:
    today = f"{timezone.localdate():%y%m%d}"
    for number in (f"{today}-007", f"{today}-009", f"{today}-x", "990101-500"):
        cast.specimen(accession_number=number)
    assert next_accession_number(cast.site) == f"{today}-010"
    assert next_accession_number(cast.other_site) == f"{today}-001"
    content = as_person(cast.technician).get(reverse("accession")).content.decode()
    assert f'value="{today}-010"' in content


def test_somebody_without_a_site_is_told_so(cast: Cast, as_person: As) -> None:
    cast.technician.sites.clear()
    content = as_person(cast.technician).get(reverse("accession")).content.decode()
    assert "You belong to no site yet." in content
