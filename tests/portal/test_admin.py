"""The administration: for administrators alone, and nothing the machine wrote can be changed."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from specimens.admin_site import site
from specimens.models import AuditEvent, QueueRule, ReferenceRange, Site, User
from tests.factories import Cast
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]
READ_ONLY = [
    "modelversion", "prediction", "auditevent", "job", "workerheartbeat", "report", "review",
]  # fmt: skip
SITE = {
    "code": "north",
    "name": "North",
    "report_header": "",
    "target_cells": "100",
    "quality_lock": "",
    "stat_target_minutes": "60",
    "routine_target_minutes": "240",
}


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


def test_a_change_is_recorded_with_what_it_was_and_is(cast: Cast, as_person: As) -> None:
    client = as_person(cast.administrator)
    assert client.post(reverse("admin:specimens_site_add"), SITE).status_code == 302
    north = Site.objects.get(code="north")
    event = AuditEvent.objects.get(action="site.added")
    assert (event.actor, event.site) == (cast.administrator, north)
    path = reverse("admin:specimens_site_change", args=[north.pk])
    assert client.post(path, SITE | {"target_cells": "200", "four_eyes": "on"}).status_code == 302
    event = AuditEvent.objects.get(action="site.changed")
    assert event.details["changes"] == {"four_eyes": [False, True], "target_cells": [100, 200]}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"target_cells": "0"}, "Between 50 and 1000"),
        ({"stat_target_minutes": "300"}, "STAT must not take longer than routine."),
    ],
)
def test_a_site_that_makes_no_sense_is_refused(
    values: dict[str, str], said: str, cast: Cast, as_person: As
) -> None:
    response = as_person(cast.administrator).post(
        reverse("admin:specimens_site_add"), SITE | values
    )
    assert said in response.content.decode()
    assert not Site.objects.filter(code="north").exists()


RANGE = {
    "site": "", "sex": "F", "age_from_days": "0", "age_to_days": "6570", "cell_class": "neutrophil",
    "quantity": "percent", "low": "30", "high": "60", "critical_low": "", "critical_high": "",
    "source": "Own study",
}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"low": "70"}, "Limits must ascend"),
        ({"low": "", "high": ""}, "Give at least one limit."),
        ({"source": ""}, "This field is required."),
        ({"age_from_days": "9000"}, "Must be greater than the age it starts at."),
        ({"sex": "", "age_to_days": "9000"}, "Overlaps"),
    ],
)
def test_limits_that_contradict_are_refused(
    values: dict[str, str], said: str, cast: Cast, as_person: As
) -> None:
    before = ReferenceRange.objects.count()
    path = reverse("admin:specimens_referencerange_add")
    response = as_person(cast.administrator).post(path, RANGE | values)
    assert said in response.content.decode()
    assert ReferenceRange.objects.count() == before


def test_limits_are_added_and_removed_on_record(cast: Cast, as_person: As) -> None:
    client = as_person(cast.administrator)
    assert client.post(reverse("admin:specimens_referencerange_add"), RANGE).status_code == 302
    row = ReferenceRange.objects.get(source="Own study")
    path = reverse("admin:specimens_referencerange_delete", args=[row.pk])
    assert client.post(path, {"post": "yes"}).status_code == 302
    assert not ReferenceRange.objects.filter(pk=row.pk).exists()
    events = AuditEvent.objects.filter(object_type="referencerange").order_by("sequence")
    assert [e.action for e in events] == ["referencerange.added", "referencerange.removed"]
    # What holds for all sites stands in the trail of the administrator's own.
    assert {e.site for e in events} == {cast.site}


@pytest.mark.parametrize(
    ("kind", "threshold", "said"),
    [
        ("too_few_cells", "", "This rule needs a threshold."),
        ("stat", "5", "This rule has no threshold"),
        ("ood_share", "101", "Per cent: 0 to 100."),
        ("ood_share", "-1", "Give 0 or more."),
        ("ood_share", "20", ""),
    ],
)
def test_a_rule_has_a_threshold_where_it_needs_one(
    kind: str, threshold: str, said: str, cast: Cast, as_person: As
) -> None:
    path = reverse("admin:specimens_queuerule_add")
    typed = {"site": cast.site.pk, "kind": kind, "threshold": threshold, "enabled": "on"}
    response = as_person(cast.administrator).post(path, typed)
    assert (response.status_code == 302) == (not said)
    assert said in response.content.decode()
    assert QueueRule.objects.filter(site=cast.site).exists() == (not said)


def test_keys_of_an_account_follow_the_rules_of_the_review_page(cast: Cast, as_person: As) -> None:
    person = cast.technician
    path = reverse("admin:specimens_user_change", args=[person.pk])
    typed = {"username": person.username, "role": person.role, "sites": [cast.site.pk],
             "is_active": "on", "hotkeys": '{"blast": "n"}'}  # fmt: skip
    client = as_person(cast.administrator)
    assert "is taken by the page itself" in client.post(path, typed).content.decode()
    assert client.post(path, typed | {"hotkeys": '{"blast": "k"}'}).status_code == 302
    person.refresh_from_db()
    assert person.hotkeys == {"blast": "k"}


def test_a_password_set_by_an_administrator_is_recorded(cast: Cast, as_person: As) -> None:
    path = reverse("admin:auth_user_password_change", args=[cast.technician.pk])
    password = "a long and winding phrase"
    typed = {"usable_password": "true", "password1": password, "password2": password}
    assert as_person(cast.administrator).post(path, typed).status_code == 302
    event = AuditEvent.objects.get(action="user.password_changed")
    assert event.object_id == str(cast.technician.pk)
    assert password not in str(event.details)


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
