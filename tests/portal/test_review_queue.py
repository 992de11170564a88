"""The review queue: what stands in it, in which order, for whom, and what it costs."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from specimens.models import Specimen, User
from specimens.selectors.review_queue import Age, age_of
from tests.factories import Cast, OrderFactory
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]
FLAG = [{"code": "too_few_cells", "text": "40 white cells of 100"}]


def waiting(
    cast: Cast, number: str, *, minutes: int = 10, stat: bool = False, **values: object
) -> Specimen:
    order = OrderFactory.create(site=cast.site, priority="stat" if stat else "routine")
    return cast.specimen(
        **{"accession_number": number, "state": Specimen.State.PRECLASSIFIED, "order": order}
        | {"received_at": timezone.now() - timedelta(minutes=minutes)}
        | values
    )


def listed(client: Client, query: str = "") -> list[str]:
    page = client.get(reverse("review_queue") + query)
    return [row["specimen"].accession_number for row in page.context["rows"]]


@pytest.fixture
def client(cast: Cast, as_person: As) -> Client:
    return as_person(cast.technician)


def test_stat_first_then_flags_then_the_oldest(cast: Cast, client: Client) -> None:
    waiting(cast, "young", minutes=5)
    waiting(cast, "old", minutes=90)
    waiting(cast, "flagged", minutes=1, review_flags=FLAG)
    waiting(cast, "stat", minutes=2, stat=True)
    waiting(cast, "in-review", minutes=60, state=Specimen.State.IN_REVIEW)
    for state in ("accessioned", "imaged", "signed_out", "amended", "rejected"):
        waiting(cast, state, state=state)
    assert listed(client) == ["stat", "flagged", "old", "in-review", "young"]
    content = client.get(reverse("review_queue")).content.decode()
    assert "40 white cells of 100" in content
    assert 'Review <span class="count">5<' in content


def test_the_filters(cast: Cast, client: Client) -> None:
    waiting(cast, "mine", assigned_to=cast.technician)
    waiting(cast, "theirs", assigned_to=cast.pathologist, review_flags=FLAG)
    waiting(cast, "nobodys", stat=True)
    assert listed(client, "?mine=1") == ["mine"]
    assert listed(client, "?unassigned=1") == ["nobodys"]
    assert listed(client, "?flagged=1") == ["theirs"]
    assert listed(client, "?stat=1") == ["nobodys"]
    assert listed(client, "?mine=1&stat=1") == []
    assert "No waiting case matches" in client.get("/review/?mine=1&stat=1").content.decode()


def test_an_outsiders_queue_is_empty_and_others_have_none(cast: Cast, as_person: As) -> None:
    waiting(cast, "A1")
    content = as_person(cast.outsider).get(reverse("review_queue")).content.decode()
    assert "Nothing waits for review." in content
    for person in (cast.administrator, cast.integration):
        assert as_person(person).get(reverse("review_queue")).status_code == 403
    assert "/review/" not in as_person(cast.administrator).get("/").content.decode()


def test_the_age_is_held_against_the_sites_target(cast: Cast) -> None:
    cast.site.stat_target_minutes, cast.site.routine_target_minutes = 30, 100
    cast.site.save()
    assert age_of(waiting(cast, "a", minutes=31, stat=True)) == Age(31, 30)
    assert age_of(waiting(cast, "b", minutes=31)) == Age(31, 100)
    assert [Age(m, 100).late for m in (100, 101)] == [False, True]
    assert [Age(m, 100).soon for m in (74, 75, 100, 101)] == [False, True, True, False]


def test_how_far_each_case_is(cast: Cast, client: Client, cells: Cells) -> None:
    case = waiting(cast, "A1")
    cells.classified(case, label="neutrophil", revision=1)
    cells.classified(case)
    content = client.get(reverse("review_queue")).content.decode()
    assert "1 of 2" in content


def test_people_of_the_site_can_be_handed_a_case(cast: Cast, client: Client) -> None:
    waiting(cast, "A1")
    (people,) = client.get(reverse("review_queue")).context["people_by_site"].values()
    assert {p.username for p in people} == {"technician", "pathologist", "second-pathologist"}


def test_the_number_of_queries_is_constant(cast: Cast, client: Client, cells: Cells) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as counted:
            client.get(reverse("review_queue"))
        return len(counted)

    cells.classified(waiting(cast, "first", assigned_to=cast.pathologist))
    queries()  # the first page of a session notes when it began
    one = queries()
    for number in range(30):
        cells.classified(waiting(cast, f"n{number}", assigned_to=cast.technician))
    assert queries() == one
