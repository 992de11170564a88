"""The sign-out sheet, the amendment and the report as people meet them."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from specimens.models import AuditEvent, Report, Specimen, User
from specimens.selectors.case import case_of
from specimens.services.review import Decision, add_comment, review_cells
from tests.counterparts import require
from tests.factories import Cast
from tests.portal.conftest import Cells
from tests.reports import content

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]
PASSWORD = "correct horse"


@pytest.fixture
def case(cast: Cast, cells: Cells) -> Specimen:
    """Four classified cells at a site that asks for four, all of them reviewed."""
    cast.site.target_cells = 4
    cast.site.save()
    specimen = cast.specimen(state=Specimen.State.PRECLASSIFIED)
    for name in ("Neutrophil", "Neutrophil", "Lymphocyte", "Monocyte"):
        cells.classified(specimen, name)
    _label(cast.technician, specimen)
    return specimen


def _label(actor: User, case: Specimen, **changes: str) -> None:
    """Confirm every cell, except those of the classes that `changes` turns into another."""
    decisions = [
        Decision(cell.pk, changes.get(cell.counts_as, cell.counts_as), cell.revision)
        for cell in case_of(case).cells
    ]
    review_cells(actor=actor, specimen=case, decisions=decisions)


def _typed(case: Specimen, **values: Any) -> dict[str, Any]:
    seen = case_of(Specimen.objects.get(pk=case.pk)).revision
    return {"seen_revision": seen, "password": PASSWORD, "meaning": "I approve."} | values


def _send(client: Client, case: Specimen, **values: Any) -> tuple[int, str]:
    path = reverse("sign_out", args=[case.pk])
    response = client.post(path, _typed(case, **values))
    return response.status_code, response.content.decode()


def _signed(client: Client, case: Specimen, **values: Any) -> Report:
    assert _send(client, case, **values)[0] == 302
    return Report.objects.filter(specimen=case).latest("version")


def test_the_sheet_signs_and_leads_to_the_report(cast: Cast, as_person: As, case: Specimen) -> None:
    client = as_person(cast.pathologist)
    sheet = client.get(reverse("sign_out", args=[case.pk])).content.decode()
    assert "As it will be reported" in sheet
    assert "Still missing" not in sheet
    report = _signed(client, case)
    assert report.content.keys() == content().keys()
    page = client.get(reverse("report", args=[report.pk])).content.decode()
    for text in ("Neutrophil", "50.0", "I approve.", report.sha256, "dm-fnet 1.0"):
        assert text in page
    again = client.get(reverse("sign_out", args=[case.pk]))
    assert again["Location"] == reverse("report", args=[report.pk])


def test_what_is_missing_is_named_with_a_way_there(
    cast: Cast, as_person: As, cells: Cells, case: Specimen
) -> None:
    cells.classified(case, reasons=("low_confidence",))
    cast.site.target_cells = 200
    cast.site.save()
    sheet = as_person(cast.pathologist).get(reverse("sign_out", args=[case.pk])).content.decode()
    assert "1 cells are unidentified" in sheet
    assert f'href="{reverse("review", args=[case.pk])}#group-unidentified"' in sheet
    assert 'name="bypass" value="too_few_cells"' in sheet
    assert 'name="bypass" value="unidentified"' not in sheet
    status, refused = _send(as_person(cast.pathologist), case, bypass=["too_few_cells"])
    assert status == 422
    assert "Nothing was signed." in refused
    assert 'value="too_few_cells" checked' in refused
    assert PASSWORD not in refused
    assert not Report.objects.exists()


def test_a_bypass_asks_for_its_reason_in_place(cast: Cast, as_person: As, case: Specimen) -> None:
    cast.site.target_cells = 200
    cast.site.save()
    client = as_person(cast.pathologist)
    status, refused = _send(client, case, bypass=["too_few_cells"])
    assert (status, "Say why the gate is bypassed." in refused) == (422, True)
    report = _signed(client, case, bypass=["too_few_cells"], bypass_reason="smear exhausted")
    assert "smear exhausted" in client.get(reverse("report", args=[report.pk])).content.decode()
    assert AuditEvent.objects.filter(action="gate.bypassed").count() == 1


def test_a_critical_value_asks_who_was_told(cast: Cast, as_person: As, case: Specimen) -> None:
    _label(cast.technician, case, monocyte="blast")
    client = as_person(cast.pathologist)
    sheet = client.get(reverse("sign_out", args=[case.pk])).content.decode()
    assert 'name="told-blast"' in sheet
    assert _send(client, case)[0] == 422
    report = _signed(client, case, **{"told-blast": "Dr Ward, 12:40"})
    assert report.content["critical_values_told"] == {"blast": "Dr Ward, 12:40"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"password": "wrong"}, "The password is not right."),
        ({"meaning": " "}, "Say what your signature means."),
    ],
)
def test_a_refusal_comes_back_in_place(
    cast: Cast, as_person: As, case: Specimen, values: dict[str, str], said: str
) -> None:
    status, page = _send(as_person(cast.pathologist), case, **values)
    assert status == 422
    assert said in page


def test_the_second_of_two_signatures_gets_a_choice(
    cast: Cast, as_person: As, case: Specimen
) -> None:
    typed = _typed(case)
    path = reverse("sign_out", args=[case.pk])
    assert as_person(cast.pathologist).post(path, typed).status_code == 302
    second = as_person(cast.second_pathologist).post(path, typed)
    assert second.status_code == 409
    assert "signed already" in second.content.decode()
    assert reverse("report", args=[Report.objects.get().pk]) in second.content.decode()


def test_a_case_that_changed_meanwhile_is_looked_at_again(
    cast: Cast, as_person: As, case: Specimen
) -> None:
    typed = _typed(case)
    add_comment(actor=cast.technician, specimen=case, text="Look again.", on_report=True)
    response = as_person(cast.pathologist).post(reverse("sign_out", args=[case.pk]), typed)
    assert response.status_code == 409
    assert "has changed since" in response.content.decode()
    assert reverse("sign_out", args=[case.pk]) in response.content.decode()


def test_only_pathologists_sign_and_amend(cast: Cast, as_person: As, case: Specimen) -> None:
    for person in (cast.technician, cast.administrator, cast.integration):
        assert _send(as_person(person), case)[0] == 403
        path = reverse("amend", args=[case.pk])
        assert (
            as_person(person).post(path, {"reason": "x", "password": PASSWORD}).status_code == 403
        )
    assert not Report.objects.exists()


def test_an_amended_report_says_what_changed_and_why(
    cast: Cast, as_person: As, case: Specimen
) -> None:
    client = as_person(cast.pathologist)
    first = _signed(client, case)
    path = reverse("amend", args=[case.pk])
    assert client.post(path, {"reason": "", "password": PASSWORD}).status_code == 422
    assert client.post(path, {"reason": "x", "password": "wrong"}).status_code == 422
    response = client.post(path, {"reason": "second look", "password": PASSWORD})
    assert response["Location"] == reverse("review", args=[case.pk])
    page = client.get(reverse("report", args=[first.pk])).content.decode()
    assert "An amendment is being prepared" in page
    _label(cast.pathologist, case, monocyte="eosinophil")
    second = _signed(client, case)
    page = client.get(reverse("report", args=[second.pk])).content.decode()
    for text in ("it replaces version 1", "second look", "25.0 %, n = 1", "0.0 %, n = 0"):
        assert text in page
    old = client.get(reverse("report", args=[first.pk])).content.decode()
    assert "Superseded. Do not use this version." in old
    assert 'data-opens="amend"' not in old


@pytest.mark.parametrize("name", ["report", "report_pdf", "report_csv", "report_json"])
def test_every_opening_is_recorded(name: str, cast: Cast, as_person: As, case: Specimen) -> None:
    report = _signed(as_person(cast.pathologist), case)
    response = as_person(cast.technician).get(reverse(name, args=[report.pk]))
    assert response.status_code == 200
    event = AuditEvent.objects.get(action="report.viewed")
    assert (event.actor, event.specimen) == (cast.technician, case)
    assert as_person(cast.outsider).get(reverse(name, args=[report.pk])).status_code == 404


def test_the_json_can_be_checked_by_its_reader(cast: Cast, as_person: As, case: Specimen) -> None:
    report = _signed(as_person(cast.pathologist), case)
    body = as_person(cast.pathologist).get(reverse("report_json", args=[report.pk])).json()
    text = json.dumps(body["content"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == body["sha256"] == report.sha256


def test_the_csv_has_a_line_for_each_class(cast: Cast, as_person: As, case: Specimen) -> None:
    _label(cast.technician, case, monocyte="erythroblast")
    client = as_person(cast.pathologist)
    report = _signed(client, case, bypass=["too_few_cells"], bypass_reason="leukopenia")
    lines = client.get(reverse("report_csv", args=[report.pk])).content.decode().splitlines()
    assert lines[0].startswith("accession_number,report_version,signed_at,class,code,count")
    assert any(",Neutrophil,neutrophil,2,66.7,9.4,99.2," in line for line in lines)
    assert lines[-1].endswith(",33.3")


@pytest.mark.parametrize("paper", ["a4", "letter"])
def test_the_pdf_holds_pictures_and_the_paper_asked_for(
    paper: str, cast: Cast, as_person: As, case: Specimen, tmp_path: Path
) -> None:
    report = _signed(as_person(cast.pathologist), case)
    path = reverse("report_pdf", args=[report.pk])
    response = as_person(cast.pathologist).get(path, {"paper": paper})
    assert response["Content-Type"] == "application/pdf"
    require("pdftotext")
    file = tmp_path / "report.pdf"
    file.write_bytes(response.content)
    info = subprocess.run(["pdfinfo", file], capture_output=True, text=True, check=True).stdout
    assert ("595.276 x 841.89" if paper == "a4" else "612 x 792") in info
    pictures = subprocess.run(
        [shutil.which("pdfimages") or "pdfimages", "-list", file],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert pictures.count("image") >= 4


def test_a_label_carries_the_number_twice(cast: Cast, as_person: As, case: Specimen) -> None:
    response = as_person(cast.technician).get(reverse("label", args=[case.pk]))
    assert response["Content-Type"] == "application/pdf"
    assert AuditEvent.objects.filter(action="specimen.viewed", specimen=case).count() == 1
    page = as_person(cast.technician).get(reverse("specimen", args=[case.pk])).content.decode()
    assert reverse("label", args=[case.pk]) in page


def test_the_rarest_class_is_among_the_pictures(
    cast: Cast, as_person: As, cells: Cells, case: Specimen
) -> None:
    for name in ["Neutrophil"] * 6 + ["Lymphocyte", "Eosinophil", "Basophil", "Eosinophil"]:
        cells.classified(case, name)
    last = cells.classified(case)
    _label(cast.technician, case)
    decision = Decision(last.pk, "blast", 1)
    review_cells(actor=cast.technician, specimen=case, decisions=[decision])
    report = _signed(as_person(cast.pathologist), case, **{"told-blast": "Dr Ward"})
    labels = [picture["label"] for picture in report.content["pictures"]]
    assert len(labels) == 8
    assert labels[0] == "neutrophil"
    assert set(labels) == {
        "neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "blast"
    }  # fmt: skip
