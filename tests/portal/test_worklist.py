"""The lists: order, filters, search by scanner, paging, and as many queries for 120 as for 10."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from specimens.models import Job, Specimen, User
from specimens.views.worklist import PER_PAGE
from tests.factories import Cast, OrderFactory, PatientFactory, SpecimenFactory
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]

# Session, account, sites with heartbeat and held messages, failed images, objects without a
# specimen, destinations, count, rows, progress, expected orders.
QUERIES = 12


def _numbers(content: str) -> list[str]:
    return [part.split("</a>")[0].split(">")[-1] for part in content.split('class="row-link"')[1:]]


def _listed(client: Client, name: str = "worklist", **query: str) -> list[str]:
    return _numbers(client.get(reverse(name), query).content.decode())


@pytest.mark.parametrize("count", [10, 120])  # less than a page, and more than two
def test_queries_do_not_grow_with_the_list(
    count: int,
    cast: Cast,
    as_person: As,
    cells: Cells,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(count):
        specimen = cast.specimen()
        cells.classified(specimen, thumbnail=False)
        if number % 5 == 0:
            cells.failed(specimen)
    client = as_person(cast.technician)
    with django_assert_num_queries(QUERIES):
        content = client.get(reverse("worklist")).content.decode()
    assert len(_numbers(content)) == min(count, 50), "one page of the list"


def test_stat_first_then_the_oldest(cast: Cast, as_person: As) -> None:
    now = timezone.now()
    stat = OrderFactory.create(site=cast.site, priority="stat")
    cast.specimen(accession_number="NEW", received_at=now)
    cast.specimen(accession_number="OLD", received_at=now - timedelta(hours=3))
    cast.specimen(accession_number="STAT", received_at=now, order=stat)
    client = as_person(cast.technician)
    assert _listed(client) == ["STAT", "OLD", "NEW"]
    assert _listed(client, "specimen_list")[-1] == "OLD"


def test_what_is_done_with_leaves_the_worklist_only(cast: Cast, as_person: As) -> None:
    cast.specimen(accession_number="DONE", state=Specimen.State.REJECTED)
    client = as_person(cast.technician)
    assert _listed(client) == []
    assert _listed(client, "specimen_list") == ["DONE"]


def test_filters_narrow_and_stand_in_the_address(cast: Cast, as_person: As, cells: Cells) -> None:
    patient = PatientFactory.create(site=cast.site, family_name="Ångström", identifier="4711")
    stat = OrderFactory.create(site=cast.site, patient=patient, priority="stat")
    cast.specimen(accession_number="A-STAT", order=stat, accessioned_by=cast.pathologist)
    imaged = cast.specimen(accession_number="B-IMAGED", state=Specimen.State.IMAGED)
    cells.failed(imaged)
    client = as_person(cast.technician)
    assert _listed(client, state="imaged") == ["B-IMAGED"]
    assert _listed(client, priority="stat") == ["A-STAT"]
    assert _listed(client, mine="1") == ["B-IMAGED"]
    assert _listed(client, failed="1") == ["B-IMAGED"]
    assert _listed(client, q="ångs") == ["A-STAT"]
    assert _listed(client, q="4711 stat") == ["A-STAT"]
    assert _listed(client, site="main", state="accessioned") == ["A-STAT"]
    assert _listed(client, site="other") == []
    assert len(_listed(client, state="nonsense", priority="?", page="99")) == 2


def test_a_chip_turns_its_filter_off_again(cast: Cast, as_person: As) -> None:
    content = as_person(cast.technician).get("/?state=imaged&page=2").content.decode()
    assert '<a class="chip" href="?" aria-current="true">Imaged</a>' in content
    assert 'href="?state=imaged&amp;priority=stat"' in content


def test_a_scanned_number_opens_its_specimen(cast: Cast, as_person: As) -> None:
    specimen = cast.specimen(accession_number="26-0815")
    client = as_person(cast.technician)
    for text in ("26-0815", " 26-0815\r"):
        response = client.get(reverse("search"), {"q": text})
        assert response["Location"] == reverse("specimen", args=[specimen.pk])
    cast.specimen(accession_number="x-0815")
    response = client.get(reverse("search"), {"q": "X-0815"})
    assert response["Location"].startswith("/specimens/")
    response = client.get(reverse("search"), {"q": "0815"})
    assert response["Location"] == f"{reverse('specimen_list')}?q=0815"


def test_the_same_number_at_two_sites_is_listed_and_not_guessed(cast: Cast, as_person: As) -> None:
    cast.technician.sites.add(cast.other_site)
    cast.specimen(accession_number="TWICE")
    SpecimenFactory.create(site=cast.other_site, accession_number="TWICE")
    client = as_person(cast.technician)
    response = client.get(reverse("search"), {"q": "TWICE"}, follow=True)
    assert _numbers(response.content.decode()) == ["TWICE", "TWICE"]


def test_progress_counts_each_image_once(cast: Cast, as_person: As, cells: Cells) -> None:
    specimen = cast.specimen(state=Specimen.State.IMAGED)
    again = cells.failed(specimen)
    Job.objects.create(cell_image=again, site=again.site, specimen=again.specimen)
    cells.failed(specimen)
    cells.image(specimen, state=Job.State.RUNNING)
    cells.classified(specimen)
    cells.classified(specimen, confidence=0.6, reasons=("low_confidence",))
    content = as_person(cast.technician).get(reverse("worklist")).content.decode()
    assert "2 of 5" in content
    assert ">1 failed<" in content
    assert "1 unidentified" in content


def test_it_polls_only_while_something_waits(cast: Cast, as_person: As, cells: Cells) -> None:
    client = as_person(cast.technician)
    specimen = cast.specimen()
    cells.classified(specimen)
    assert "every 2s" not in client.get(reverse("worklist")).content.decode()
    cells.image(specimen)
    assert "every 2s" in client.get(reverse("worklist")).content.decode()


def test_a_refresh_is_the_table_alone(
    cast: Cast, as_person: As, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    cast.specimen()
    client = as_person(cast.technician)
    with django_assert_num_queries(QUERIES - 7):
        content = client.get(reverse("worklist"), headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in content
    assert len(_numbers(content)) == 1


def test_pages_keep_the_filters(cast: Cast, as_person: As) -> None:
    order = OrderFactory.create(site=cast.site)
    SpecimenFactory.create_batch(
        PER_PAGE + 1, site=cast.site, order=order, accessioned_by=cast.technician
    )
    client = as_person(cast.technician)
    first = client.get("/?state=accessioned").content.decode()
    assert len(_numbers(first)) == PER_PAGE
    assert 'rel="next" href="?state=accessioned&amp;page=2"' in first
    assert len(_numbers(client.get("/?state=accessioned&page=2").content.decode())) == 1


def test_an_empty_list_says_how_to_fill_it(cast: Cast, as_person: As) -> None:
    client = as_person(cast.technician)
    assert "Nothing waits." in client.get("/").content.decode()
    assert "Clear the filters" in client.get("/?state=imaged").content.decode()


def test_a_late_specimen_is_marked(cast: Cast, as_person: As) -> None:
    cast.specimen(received_at=timezone.now() - timedelta(hours=5))
    content = as_person(cast.technician).get("/").content.decode()
    assert "5 h 00 min" in content
    assert "past the target of 240 min" in content


def test_a_name_is_text_and_never_markup(cast: Cast, as_person: As) -> None:
    patient = PatientFactory.create(
        site=cast.site, family_name="<script>alert(1)</script>", given_name='"><img src=x>'
    )
    cast.specimen(order=OrderFactory.create(site=cast.site, patient=patient))
    for path in ("/", "/specimens/", "/?q=<script>"):
        content = as_person(cast.technician).get(path).content.decode()
        assert "<script>alert" not in content
        assert "<img src=x" not in content
