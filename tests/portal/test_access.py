"""Who gets a page, who may not, and for whom it does not exist.

Every address with every role stands in tests/specimens/test_role_matrix.py.
"""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from specimens.models import AuditEvent, CellImage, Specimen, User
from tests.factories import Cast
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]

LISTS = ["worklist", "specimen_list", "model"]
OF_SPECIMEN = ["specimen", "specimen_live"]
OF_CELL = ["cell", "cell_image", "cell_thumbnail", "cell_explanation"]
WRITES = ["add_images", "requeue", "reject"]
ACCOUNT = ["password_change", "password_change_done"]
FORMS = ["accession", "search"]


@pytest.fixture
def specimen(cast: Cast) -> Specimen:
    return cast.specimen()


@pytest.fixture
def cell(cells: Cells, specimen: Specimen) -> CellImage:
    return cells.classified(specimen)


def _path(name: str, specimen: Specimen, cell: CellImage) -> str:
    if name in OF_SPECIMEN + WRITES:
        return reverse(name, args=[specimen.pk])
    return reverse(name, args=[cell.pk] if name in OF_CELL else [])


@pytest.mark.parametrize("name", LISTS + OF_SPECIMEN + OF_CELL + WRITES + ACCOUNT + FORMS)
def test_nobody_gets_in_without_an_account(
    name: str, client: Client, specimen: Specimen, cell: CellImage
) -> None:
    path = _path(name, specimen, cell)
    response = client.post(path) if name in WRITES else client.get(path)
    assert response.status_code == 302
    assert response["Location"].startswith(reverse("login"))


@pytest.mark.parametrize("role", ["technician", "pathologist", "administrator"])
@pytest.mark.parametrize("name", LISTS + OF_SPECIMEN + OF_CELL)
def test_people_of_the_site_see_everything(
    name: str, role: str, cast: Cast, as_person: As, specimen: Specimen, cell: CellImage
) -> None:
    response = as_person(getattr(cast, role)).get(_path(name, specimen, cell))
    assert response.status_code == 200


@pytest.mark.parametrize("name", LISTS + OF_SPECIMEN + OF_CELL + FORMS)
def test_accounts_of_systems_have_no_pages(
    name: str, cast: Cast, as_person: As, specimen: Specimen, cell: CellImage
) -> None:
    assert as_person(cast.integration).get(_path(name, specimen, cell)).status_code == 403


@pytest.mark.parametrize("name", OF_SPECIMEN + OF_CELL)
def test_for_an_outsider_nothing_exists(
    name: str, cast: Cast, as_person: As, specimen: Specimen, cell: CellImage
) -> None:
    assert as_person(cast.outsider).get(_path(name, specimen, cell)).status_code == 404


@pytest.mark.parametrize("name", WRITES)
def test_an_outsider_changes_nothing(
    name: str, cast: Cast, as_person: As, specimen: Specimen, cell: CellImage
) -> None:
    response = as_person(cast.outsider).post(_path(name, specimen, cell), {"reason": "x"})
    assert response.status_code == 404
    specimen.refresh_from_db()
    assert specimen.state == Specimen.State.ACCESSIONED


@pytest.mark.parametrize("name", WRITES)
def test_reading_an_address_that_writes_is_refused(
    name: str, cast: Cast, as_person: As, specimen: Specimen, cell: CellImage
) -> None:
    assert as_person(cast.technician).get(_path(name, specimen, cell)).status_code == 405


def test_an_outsiders_lists_are_empty(cast: Cast, as_person: As, specimen: Specimen) -> None:
    client = as_person(cast.outsider)
    for name in ("worklist", "specimen_list"):
        assert specimen.accession_number not in client.get(reverse(name)).content.decode()
    found = client.get(reverse("search"), {"q": specimen.accession_number}, follow=True)
    assert "No specimen matches" in found.content.decode()


@pytest.mark.parametrize("name", ["accession", "reject"])
def test_an_administrator_does_no_laboratory_work(
    name: str, cast: Cast, as_person: As, specimen: Specimen, cell: CellImage
) -> None:
    client = as_person(cast.administrator)
    path = _path(name, specimen, cell)
    response = client.get(path) if name == "accession" else client.post(path, {"reason": "x"})
    assert response.status_code == 403
    assert "Your role does not permit this" in response.content.decode()


def test_an_administrator_adds_no_images(cast: Cast, as_person: As, specimen: Specimen) -> None:
    page = as_person(cast.administrator).get(reverse("specimen", args=[specimen.pk]))
    assert 'id="drop"' not in page.content.decode()


@pytest.mark.parametrize("name", ["specimen", "cell"])
def test_a_look_at_a_patient_is_recorded(
    name: str, cast: Cast, as_person: As, specimen: Specimen, cell: CellImage
) -> None:
    as_person(cast.pathologist).get(_path(name, specimen, cell))
    event = AuditEvent.objects.get(action="specimen.viewed")
    assert (event.actor, event.specimen) == (cast.pathologist, specimen)


def test_pages_are_not_kept_by_the_browser(
    cast: Cast, as_person: As, specimen: Specimen, cell: CellImage
) -> None:
    client = as_person(cast.technician)
    for name in LISTS + OF_SPECIMEN + ["cell", "accession"]:
        response = client.get(_path(name, specimen, cell))
        assert response["Cache-Control"] == "private, no-store", name


def test_polling_records_no_look(cast: Cast, as_person: As, specimen: Specimen) -> None:
    as_person(cast.pathologist).get(reverse("specimen_live", args=[specimen.pk]))
    assert not AuditEvent.objects.exists()
