"""Around the decisions: comments, assignment, class keys, REST, and what the pages may hold."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from classifier.classes import ALL_CLASSES
from specimens.models import AuditEvent, Comment, Review, SecondRead, Specimen, User
from tests.factories import Cast
from tests.portal.conftest import Cells
from tests.portal.reviewing import cells_of, decide, ids, post, preclassified_case

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]


@pytest.fixture
def case(cast: Cast, cells: Cells) -> Specimen:
    return preclassified_case(cast, cells)


@pytest.fixture
def client(cast: Cast, as_person: As) -> Client:
    return as_person(cast.technician)


def test_comments_on_cell_and_case(client: Client, cast: Cast, case: Specimen) -> None:
    first = ids(case)[0]
    answer = post(client, "bench_comments", case, {"cell": first, "text": " Auer rod? "})
    assert answer.status_code == 201
    assert (answer.json()["text"], answer.json()["on_report"]) == ("Auer rod?", False)
    post(client, "bench_comments", case, {"text": "Repeat in 3 days.", "on_report": True})
    comment = Comment.objects.get(cell_image__isnull=True)
    assert (comment.on_report, comment.author) == (True, cast.technician)
    assert len(cells_of(client, case)["comments"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": 1},
        {"text": "x", "cell": 10**9},
        {"text": "x", "cell": "1"},
        "[]",
    ],
)
def test_a_comment_that_is_none_is_refused(client: Client, case: Specimen, body: object) -> None:
    assert post(client, "bench_comments", case, body).status_code == 400
    assert not Comment.objects.exists()


def test_who_reads_blinded_is_kept_out(cast: Cast, as_person: As, case: Specimen) -> None:
    client = as_person(cast.pathologist)
    SecondRead.objects.create(specimen=case, reader=cast.pathologist)
    response = client.get(reverse("review", args=[case.pk]))
    assert response["Location"] == reverse("second_read", args=[case.pk])
    assert client.get(reverse("bench_cells", args=[case.pk])).status_code == 409
    assert decide(client, case, (ids(case)[0], "blast", 0)).status_code == 409
    assert not Review.objects.exists()


def test_taking_handing_over_and_releasing(
    cast: Cast, as_person: As, client: Client, case: Specimen
) -> None:
    path = reverse("assign", args=[case.pk])

    def assigned(to: object, **more: str) -> Any:
        response = client.post(path, {"to": to, **more})
        case.refresh_from_db()
        return response

    assert assigned(cast.technician.pk)["Location"] == reverse("review", args=[case.pk])
    assert case.assigned_to == cast.technician
    assert assigned(cast.pathologist.pk, next="/review/?mine=1")["Location"] == "/review/?mine=1"
    assert case.assigned_to == cast.pathologist
    for nobody in (cast.outsider.pk, cast.administrator.pk, 10**9, "x"):
        assigned(nobody)
        assert case.assigned_to == cast.pathologist
    assert assigned("", next="https://evil.example")["Location"].startswith("/specimens/")
    assert not Specimen.objects.filter(assigned_to__isnull=False).exists()
    assert AuditEvent.objects.filter(action="case.assigned").count() == 3


def test_hotkeys_are_kept_and_checked(cast: Cast, client: Client) -> None:
    def save(keys: object) -> Any:
        return client.post(reverse("hotkeys"), json.dumps(keys), content_type="application/json")

    answer = save({"blast": "k", "band_neutrophil": "d"})
    assert {c["key"]: c["hotkey"] for c in answer.json()["classes"]}["blast"] == "k"
    cast.technician.refresh_from_db()
    assert cast.technician.hotkeys == {"blast": "k"}
    refused: list[object] = [
        {"blast": "n"},  # of a class the model predicts
        {"blast": "u"},  # of the page
        {"blast": "d"},  # of another class
        {"blast": "kk"},
        {"blast": 7},
        {"blast": "K"},
        {"neutrophil": "k"},
        {"dragon": "k"},
        [],
    ]
    for wrong in refused:
        answer = save(wrong)
        assert answer.status_code == 400, wrong
        assert answer.json()["message"]
    cast.technician.refresh_from_db()
    assert cast.technician.hotkeys == {"blast": "k"}


def test_the_same_decisions_by_rest(client: Client, cast: Cast, case: Specimen) -> None:
    first = ids(case)[0]
    body = {"decisions": [{"cell": first, "label": "blast", "revision": 0}]}
    answer = post(client, "v1_specimen_reviews", case, body)
    assert answer.status_code == 200
    (cell,) = answer.json()["cells"]
    assert cell == {"cell": first, "label": "blast", "revision": 1, "reviewer": "technician"}
    stale = post(client, "v1_specimen_reviews", case, body)
    assert (stale.status_code, stale.json()["code"]) == (409, "stale")
    assert stale.json()["cells"] == [cell]
    assert post(client, "v1_specimen_reviews", case, {"decisions": []}).status_code == 400
    Specimen.objects.filter(pk=case.pk).update(state=Specimen.State.SIGNED_OUT)
    assert post(client, "v1_specimen_reviews", case, body).json()["code"] == "not_in_this_state"


@pytest.mark.parametrize("name", ["review", "review_queue", "second_read"])
def test_the_pages_need_nothing_the_policy_forbids(
    client: Client, case: Specimen, name: str
) -> None:
    path = reverse(name, args=[] if name == "review_queue" else [case.pk])
    content = client.get(path).content.decode()
    assert not re.search(r"\s(?:style|on\w+)\s*=|<style|javascript:", content)
    assert not re.search(r"<script(?![^>]*\bsrc=)", content)
    found = re.findall(r'\sid="([^"]+)"', content)
    assert len(found) == len(set(found))


def test_the_style_sheet_has_the_colours_of_every_class() -> None:
    styles = (Path(__file__).parents[2] / "static/css/wbclab.css").read_text()
    for cell_class in ALL_CLASSES:
        assert f".class-{cell_class.key} {{ --class: {cell_class.colour}; }}" in styles
