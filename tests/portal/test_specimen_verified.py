"""The specimen page once people have looked: their word stands, and the page says how far it is."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from specimens.models import Specimen, User
from specimens.selectors.cells import gallery_of
from specimens.services.review import Decision, review_cells
from tests.factories import Cast
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]


def test_a_person_s_class_replaces_the_machine_s(
    cast: Cast, cells: Cells, as_person: Callable[[User], Client]
) -> None:
    specimen = cast.specimen(state=Specimen.State.PRECLASSIFIED)
    first, _ = cells.classified(specimen), cells.classified(specimen)
    before = gallery_of(cast.technician, specimen)
    review_cells(
        actor=cast.technician,
        specimen=specimen,
        decisions=[Decision(first.pk, "plasma_cell", 0)],
    )
    after = gallery_of(cast.technician, specimen)
    assert after.counts()["plasma_cell"] == 1
    assert after.revision != before.revision, "pages that poll must notice"
    client = as_person(cast.technician)
    page = client.get(reverse("specimen", args=[specimen.pk])).content.decode()
    assert "In review: 1 of 2 cells verified" in page
    panel = client.get(reverse("cell", args=[first.pk])).content.decode()
    assert "Verified as plasma cell by technician" in panel
