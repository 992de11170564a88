"""The audit trail on the page: own sites only, narrowed, and read page by page."""

from collections.abc import Callable

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from specimens.models import AuditEvent, User
from specimens.services import audit
from specimens.views.audit import PER_PAGE
from tests.factories import Cast, SpecimenFactory

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]


def _shown(client: Client, **query: str | int) -> list[int]:
    response = client.get(reverse("audit"), query)
    assert response.status_code == 200
    return [event.sequence for event, _ in response.context["events"]]


@pytest.fixture
def events(cast: Cast) -> list[AuditEvent]:
    """Two at the site, by two people, and one at the other site."""
    first, second = cast.specimen(accession_number="A-1"), cast.specimen(accession_number="A-2")
    other = SpecimenFactory.create(site=cast.other_site)
    with transaction.atomic():
        return [
            audit.record_view(actor=cast.technician, specimen=first),
            audit.record(
                actor=cast.pathologist,
                action="report.signed",
                subject=second,
                specimen=second,
                details={"version": 1, "critical_values_told": {"blast": "Dr Ward"}},
            ),
            audit.record_view(actor=cast.outsider, specimen=other),
        ]


def test_only_the_own_sites_the_newest_first(
    cast: Cast, as_person: As, events: list[AuditEvent]
) -> None:
    client = as_person(cast.administrator)
    assert _shown(client) == [2, 1]
    page = client.get(reverse("audit")).content.decode()
    assert "Dr Ward" in page
    assert reverse("specimen", args=[events[0].specimen_id]) in page


@pytest.mark.usefixtures("within_a_minute")
def test_the_filters_narrow(cast: Cast, as_person: As, events: list[AuditEvent]) -> None:
    client = as_person(cast.administrator)
    assert _shown(client, actor="Pathologist") == [2]
    assert _shown(client, action="report") == [2]
    assert _shown(client, specimen="a-1") == [1]
    assert _shown(client, day=f"{timezone.localdate()}") == [2, 1]
    assert _shown(client, day="2020-01-01") == []
    assert _shown(client, day="2020-02-31") == [2, 1]
    assert _shown(client, actor="outsider") == []
    assert _shown(client, before="2") == [1]
    assert _shown(client, before="nothing") == [2, 1]


def test_pages_follow_a_cursor_with_the_same_number_of_queries(
    cast: Cast, as_person: As, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    specimen = cast.specimen()
    for _ in range(3):
        audit.record_view(actor=cast.technician, specimen=specimen)
    client = as_person(cast.administrator)
    with django_assert_num_queries(6):
        assert len(_shown(client)) == 3
    for _ in range(PER_PAGE):
        audit.record_view(actor=cast.technician, specimen=specimen)
    with django_assert_num_queries(6):
        first = _shown(client)
    response = client.get(reverse("audit"))
    assert len(first) == PER_PAGE
    assert response.context["following"] == first[-1]
    assert _shown(client, before=first[-1]) == [3, 2, 1]
