"""Filters of the worklist under a name."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from specimens.models import SavedView, User
from specimens.services.saved_views import LIMIT
from tests.factories import Cast

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]


def _save(client: Client, name: str, query: str) -> str:
    return client.post(
        reverse("save_view"), {"name": name, "query": query}, follow=True
    ).content.decode()


def test_a_view_is_saved_listed_and_deleted(cast: Cast, as_person: As) -> None:
    client = as_person(cast.technician)
    page = _save(client, "My STAT", "priority=stat&mine=1&page=3&next=//elsewhere")
    view = SavedView.objects.get()
    assert view.query == "priority=stat&mine=1"
    assert 'href="?priority=stat&amp;mine=1" aria-current="true">My STAT</a>' in page
    assert "My STAT" in client.get(reverse("worklist")).content.decode()
    assert "My STAT" not in as_person(cast.pathologist).get(reverse("worklist")).content.decode()
    path = reverse("delete_view", args=[view.pk])
    assert as_person(cast.pathologist).post(path).status_code == 404
    client.post(path)
    assert not SavedView.objects.exists()


def test_the_same_name_replaces(cast: Cast, as_person: As) -> None:
    client = as_person(cast.technician)
    _save(client, "Today", "mine=1")
    _save(client, " Today ", "failed=1")
    assert SavedView.objects.get().query == "failed=1"


@pytest.mark.parametrize(
    ("name", "query", "said"),
    [("", "mine=1", "cannot be blank"), ("All", "page=2", "Choose a filter first")],
)
def test_what_cannot_be_saved_is_said(
    name: str, query: str, said: str, cast: Cast, as_person: As
) -> None:
    assert said in _save(as_person(cast.technician), name, query)
    assert not SavedView.objects.exists()


def test_there_is_a_limit(cast: Cast, as_person: As) -> None:
    SavedView.objects.bulk_create(
        [SavedView(user=cast.technician, name=f"{n}", query="mine=1") for n in range(LIMIT)]
    )
    assert f"You have {LIMIT} views" in _save(as_person(cast.technician), "more", "mine=1")
