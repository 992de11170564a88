"""The administration: for administrators alone, and nothing the machine wrote can be changed."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from specimens.admin import site
from specimens.models import AuditEvent, Site, User
from tests.factories import Cast
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]
READ_ONLY = ["modelversion", "prediction", "auditevent", "job", "workerheartbeat"]


@pytest.mark.parametrize("person", ["technician", "pathologist", "integration", "outsider"])
def test_other_roles_do_not_get_in(person: str, cast: Cast, as_person: As) -> None:
    user: User = getattr(cast, person)
    user.is_staff = user.is_superuser = True
    user.save()
    response = as_person(user).get(reverse("admin:index"), follow=True)
    assert response.status_code == 403
    assert "Your role does not permit this" in response.content.decode()


def test_without_an_account_the_one_login_page_is_shown(cast: Cast, client: Client) -> None:
    response = client.get(reverse("admin:index"), follow=True)
    assert response.templates[0].name == "account/login.html"


def test_every_page_opens_for_an_administrator(cast: Cast, as_person: As, cells: Cells) -> None:
    cells.classified(cast.specimen())
    client = as_person(cast.administrator)
    assert client.get(reverse("admin:index")).status_code == 200
    for model in site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        assert client.get(reverse(f"{name}_changelist")).status_code == 200
        first = model._default_manager.first()
        if first is not None:
            assert client.get(reverse(f"{name}_change", args=[first.pk])).status_code == 200


@pytest.mark.parametrize("name", READ_ONLY)
def test_what_the_machine_wrote_is_read_only(
    name: str, cast: Cast, as_person: As, cells: Cells
) -> None:
    cells.classified(cast.specimen())
    client = as_person(cast.administrator)
    app = "classifier" if name == "modelversion" else "specimens"
    assert client.get(reverse(f"admin:{app}_{name}_add")).status_code == 403
    model = next(m for m in site._registry if m._meta.model_name == name)
    first = model._default_manager.first()
    if first is not None:
        path = reverse(f"admin:{app}_{name}_change", args=[first.pk])
        assert client.post(path, {}).status_code == 403
        path = reverse(f"admin:{app}_{name}_delete", args=[first.pk])
        assert client.post(path, {"post": "yes"}).status_code == 403


def test_a_change_is_recorded_without_its_values(cast: Cast, as_person: As) -> None:
    client = as_person(cast.administrator)
    response = client.post(reverse("admin:specimens_site_add"), {"code": "north", "name": "North"})
    assert response.status_code == 302
    assert Site.objects.filter(code="north").exists()
    event = AuditEvent.objects.get(action="site.added")
    assert event.actor == cast.administrator
    assert event.details["fields"] == ["code", "name"]


def test_an_account_can_be_opened_and_given_a_role(cast: Cast, as_person: As) -> None:
    client = as_person(cast.administrator)
    password = "a long and winding phrase"
    typed = {
        "username": "newcomer",
        "usable_password": "true",
        "password1": password,
        "password2": password,
        "role": "pathologist",
        "sites": [cast.site.pk],
    }
    assert client.post(reverse("admin:specimens_user_add"), typed).status_code == 302
    user = User.objects.get(username="newcomer")
    assert (user.role, list(user.sites.all())) == ("pathologist", [cast.site])
    assert password not in str(AuditEvent.objects.get(action="user.added").details)
