"""Signing by REST: the guards of the page, as status codes."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from classifier.models import ModelVersion
from specimens.models import AuditEvent, Report, Role, Specimen, User
from specimens.selectors.case import case_of
from specimens.services.review import Decision, review_cells
from tests.factories import Cast, UserFactory
from tests.portal.conftest import METADATA, Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

PASSWORD = "correct horse"


@pytest.fixture
def case(cast: Cast) -> Specimen:
    cast.site.target_cells = 3
    cast.site.save()
    version = ModelVersion.objects.create(
        name="dm-fnet", version="1.0", digest="d" * 64, metadata=METADATA
    )
    cells = Cells(version)
    specimen = cast.specimen(state=Specimen.State.PRECLASSIFIED)
    for name in ("Neutrophil", "Neutrophil", "Monocyte"):
        cells.classified(specimen, name)
    _label(cast.technician, specimen)
    return specimen


def _label(actor: User, case: Specimen, **changes: str) -> None:
    decisions = [
        Decision(cell.pk, changes.get(cell.counts_as, cell.counts_as), cell.revision)
        for cell in case_of(case).cells
    ]
    review_cells(actor=actor, specimen=case, decisions=decisions)


def _client(user: User) -> Any:
    client = APIClient()
    client.force_authenticate(user)
    return client


def _path(case: Specimen, what: str = "sign-out") -> str:
    return f"/api/v1/specimens/{case.pk}/{what}"


def _sign(user: User, case: Specimen, **values: Any) -> Any:
    seen = case_of(Specimen.objects.get(pk=case.pk)).revision
    body = {"password": PASSWORD, "seen_revision": seen} | values
    return _client(user).post(_path(case), body, format="json")


def test_the_gate_is_told_and_the_case_signed(cast: Cast, case: Specimen) -> None:
    gate = _client(cast.pathologist).get(_path(case)).json()
    assert (gate["obstacles"], gate["critical"]) == ([], [])
    answer = _sign(cast.pathologist, case, seen_revision=gate["revision"])
    assert answer.status_code == 201
    report = Report.objects.get()
    assert answer.json()["sha256"] == report.sha256
    assert (answer.json()["report"], answer.json()["version"]) == (report.pk, 1)


def test_a_closed_gate_is_422_with_its_obstacles(cast: Cast, case: Specimen) -> None:
    cast.site.target_cells = 200
    cast.site.save()
    answer = _sign(cast.pathologist, case)
    assert answer.status_code == 422
    assert answer.json()["code"] == "gate_closed"
    assert [one["code"] for one in answer.json()["obstacles"]] == ["too_few_cells"]
    assert _sign(cast.pathologist, case, bypass=["too_few_cells"]).status_code == 400
    done = _sign(cast.pathologist, case, bypass=["too_few_cells"], bypass_reason="leukopenia")
    assert done.status_code == 201
    assert AuditEvent.objects.filter(action="gate.bypassed").count() == 1


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"password": "wrong"}, "password"),
        ({"password": ""}, "password"),
        ({"seen_revision": None}, "seen_revision"),
        ({"meaning": " "}, "meaning"),
        ({"bypass": "x"}, "bypass"),
        ({"acknowledged": []}, "acknowledged"),
    ],
)
def test_what_is_wrong_is_400_and_named(
    values: dict[str, Any], field: str, cast: Cast, case: Specimen
) -> None:
    answer = _sign(cast.pathologist, case, **values)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert field in answer.json()["fields"]
    assert not Report.objects.exists()


def test_a_critical_value_needs_an_acknowledgement(cast: Cast, case: Specimen) -> None:
    _label(cast.technician, case, monocyte="blast")
    assert _sign(cast.pathologist, case).status_code == 400
    assert _sign(cast.pathologist, case, acknowledged={"blast": "Dr Ward"}).status_code == 201


def test_conflicts_are_409(cast: Cast, case: Specimen) -> None:
    assert _sign(cast.pathologist, case, seen_revision="old").json()["code"] == "conflict"
    assert _sign(cast.pathologist, case).status_code == 201
    second = _sign(cast.second_pathologist, case)
    assert (second.status_code, second.json()["code"]) == (409, "conflict")
    fresh = cast.specimen()
    assert _sign(cast.pathologist, fresh).json()["code"] == "not_in_this_state"
    assert Report.objects.count() == 1


def test_who_may_not_and_for_whom_it_does_not_exist(cast: Cast, case: Specimen) -> None:
    outside = UserFactory.create(role=Role.PATHOLOGIST, sites=[cast.other_site])
    for what in ("sign-out", "amendments"):
        for person in (cast.technician, cast.administrator, cast.integration):
            assert _client(person).post(_path(case, what), {}).status_code == 403
        assert _client(outside).post(_path(case, what), {}, format="json").status_code == 404
        assert APIClient().post(_path(case, what), {}, format="json").status_code == 401


def test_an_amendment_opens_the_case_again(cast: Cast, case: Specimen) -> None:
    client, path = _client(cast.pathologist), _path(case, "amendments")
    body = {"reason": "second look", "password": PASSWORD}
    assert client.post(path, body, format="json").json()["code"] == "not_in_this_state"
    _sign(cast.pathologist, case)
    assert client.post(path, body | {"reason": " "}, format="json").status_code == 400
    assert client.post(path, body | {"password": "x"}, format="json").status_code == 400
    answer = client.post(path, body, format="json")
    assert (answer.status_code, answer.json()["state"]) == (201, "in_review")
    assert _sign(cast.pathologist, case).json()["version"] == 2
