"""The blinded second read: nothing of the first reader leaks, and afterwards both are compared."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from specimens.models import Comment, SecondRead, SecondReadLabel, Specimen, User
from specimens.services.review import Decision, review_cells
from tests.factories import Cast
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]


@pytest.fixture
def case(cast: Cast, cells: Cells) -> Specimen:
    """Three neutrophils by the machine; the first reader calls one a blast, and says so."""
    specimen = cast.specimen(state=Specimen.State.PRECLASSIFIED)
    made = [cells.classified(specimen) for _ in range(3)]
    decisions = [
        Decision(image.pk, label, 0)
        for image, label in zip(made, ["blast", "neutrophil", "neutrophil"], strict=True)
    ]
    review_cells(actor=cast.technician, specimen=specimen, decisions=decisions)
    Comment.objects.create(
        specimen=specimen, cell_image=made[0], author=cast.technician, text="Surely a blast"
    )
    return specimen


@pytest.fixture
def reader(cast: Cast, as_person: As) -> Client:
    return as_person(cast.pathologist)


def path(name: str, case: Specimen) -> str:
    return reverse(name, args=[case.pk])


def label(client: Client, case: Specimen, labels: dict[int, str]) -> Any:
    decisions = [{"cell": pk, "label": key, "revision": 0} for pk, key in labels.items()]
    body = json.dumps({"decisions": decisions})
    return client.post(path("second_read_labels", case), body, content_type="application/json")


def ids(case: Specimen) -> list[int]:
    return list(case.cell_images.order_by("pk").values_list("pk", flat=True))


def test_nothing_of_the_first_reader_is_shown(reader: Client, case: Specimen) -> None:
    reader.post(path("second_read_start", case))
    answer = reader.get(path("second_read_cells", case)).json()
    assert [cell["label"] for cell in answer["cells"]] == ["", "", ""]
    text = json.dumps(answer) + reader.get(path("second_read", case)).content.decode()
    assert "Surely a blast" not in text
    assert '"by": {' not in text
    assert {cell["proposed"] for cell in answer["cells"]} == {"neutrophil"}
    assert answer["comments"] == [] and answer["cells"][0]["history"] == []


def test_a_read_from_start_to_kappa(reader: Client, cast: Cast, case: Specimen) -> None:
    assert "Start the blinded read" in reader.get(path("second_read", case)).content.decode()
    reader.post(path("second_read_start", case))
    first, second, third = ids(case)
    assert label(reader, case, {first: "blast", second: "monocyte"}).json()["missing"] == 1
    assert label(reader, case, {second: ""}).json()["missing"] == 2
    refused = reader.post(path("second_read_finish", case), follow=True)
    assert "2 cells have no class yet" in refused.content.decode()
    label(reader, case, {second: "neutrophil", third: "monocyte"})
    finished = reader.post(path("second_read_finish", case), follow=True).content.decode()
    assert "Cohen’s kappa" in finished and '2 <span class="muted">of 3</span>' in finished
    assert label(reader, case, {first: "monocyte"}).status_code == 409
    assert SecondReadLabel.objects.count() == 3
    # Afterwards the review is open again, and the first read unchanged.
    cells = reader.get(path("bench_cells", case)).json()["cells"]
    assert [cell["label"] for cell in cells] == ["blast", "neutrophil", "neutrophil"]


def test_failed_images_are_nobodys_to_read(reader: Client, cells: Cells, case: Specimen) -> None:
    cells.failed(case)
    reader.post(path("second_read_start", case))
    label(reader, case, dict.fromkeys(ids(case)[:3], "neutrophil"))
    reader.post(path("second_read_finish", case))
    assert SecondRead.objects.get().finished_at is not None


def test_who_took_part_cannot_read_blinded(cast: Cast, as_person: As, case: Specimen) -> None:
    client = as_person(cast.technician)
    assert "would not be blinded" in client.get(path("second_read", case)).content.decode()
    client.post(path("second_read_start", case))
    assert not SecondRead.objects.exists()


def test_nobody_writes_into_anothers_read(
    reader: Client, cast: Cast, as_person: As, case: Specimen
) -> None:
    reader.post(path("second_read_start", case))
    other = as_person(cast.second_pathologist)
    assert label(other, case, {ids(case)[0]: "blast"}).status_code == 404
    assert other.get(path("second_read_cells", case)).status_code == 404
    assert other.post(path("second_read_finish", case)).status_code == 404


def test_an_unfinished_read_is_shown_to_nobody(
    reader: Client, cast: Cast, as_person: As, case: Specimen
) -> None:
    reader.post(path("second_read_start", case))
    content = as_person(cast.technician).get(path("second_read", case)).content.decode()
    assert "No second read is finished." in content


@pytest.mark.parametrize("person", ["administrator", "integration", "outsider"])
def test_others_get_nothing(cast: Cast, as_person: As, case: Specimen, person: str) -> None:
    client = as_person(getattr(cast, person))
    status = 404 if person == "outsider" else 403
    assert client.get(path("second_read", case)).status_code == status
    assert client.post(path("second_read_start", case)).status_code == status
    assert not SecondRead.objects.exists()
