"""The specimen's page: groups, what is live, uploads, requeue and reject."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from specimens.models import CellImage, Job, Specimen, User
from specimens.services import imaging
from specimens.services.errors import QueueFull, StorageUnavailable
from tests.factories import Cast, upload
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]
JSON = {"Accept": "application/json"}


@pytest.fixture
def specimen(cast: Cast) -> Specimen:
    return cast.specimen()


@pytest.fixture
def client(cast: Cast, as_person: As) -> Client:
    return as_person(cast.technician)


def _groups(content: str) -> list[str]:
    return [part.split('"')[0] for part in content.split('data-key="group-')[1:]]


def _cells(content: str) -> list[int]:
    return [int(part.split('"')[0]) for part in content.split('data-cell="')[1:]]


def test_groups_abstentions_first_and_the_least_certain_first(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    sure = cells.classified(specimen, "Neutrophil", 0.99)
    waiting = cells.image(specimen)
    failed = cells.failed(specimen)
    basophil = cells.classified(specimen, "Basophil", 0.9)
    unsure = cells.classified(specimen, "Neutrophil", 0.85)
    abstained = cells.classified(specimen, "Monocyte", 0.5, reasons=("low_confidence",))
    content = client.get(reverse("specimen", args=[specimen.pk])).content.decode()
    assert _groups(content) == ["unidentified", "neutrophil", "basophil", "failed", "waiting"]
    expected = [abstained, unsure, sure, basophil, failed, waiting]
    assert _cells(content) == [image.pk for image in expected]
    assert "MON?" in content
    assert "It is damaged." in content


def test_queries_do_not_grow_with_the_cells(
    client: Client,
    specimen: Specimen,
    cells: Cells,
    django_assert_max_num_queries: Any,
) -> None:
    cells.classified(specimen, thumbnail=False)
    path = reverse("specimen_live", args=[specimen.pk])
    with django_assert_max_num_queries(20) as few:
        client.get(path)
    for number in range(40):
        cells.classified(specimen, "Lymphocyte", 0.5 + number / 100, thumbnail=False)
    with django_assert_max_num_queries(len(few)):
        client.get(path)


def test_the_differential_leaves_the_unidentified_out(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    for name, count in (("Neutrophil", 3), ("Lymphocyte", 1)):
        for _ in range(count):
            cells.classified(specimen, name, thumbnail=False)
    cells.classified(specimen, reasons=("out_of_distribution",), thumbnail=False)
    Specimen.objects.filter(pk=specimen.pk).update(wbc_count="8.00")
    content = client.get(reverse("specimen", args=[specimen.pk])).content.decode()
    assert 'aria-label="Neutrophil 75.0 %, 95 % limits 19.4 to 99.4 %"' in content
    assert ">6.00<" in content
    assert "machine pre-classification, not verified" in content
    assert "not in the percentages" in content


def test_the_live_part_answers_nothing_where_nothing_changed(
    client: Client,
    specimen: Specimen,
    cells: Cells,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    path = reverse("specimen_live", args=[specimen.pk])
    cells.image(specimen)
    first = client.get(path).content.decode()
    assert "every 800ms" in first
    revision = first.split('name="revision" value="')[1].split('"')[0]
    assert client.get(path, {"revision": revision}).status_code == 204
    cells.classified(specimen)
    second = client.get(path, {"revision": revision})
    assert second.status_code == 200
    Job.objects.filter(state="queued").update(state="failed")
    third = client.get(path).content.decode()
    assert "every 800ms" not in third


def test_a_retried_image_changes_the_revision(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    image = cells.failed(specimen)
    path = reverse("specimen_live", args=[specimen.pk])
    revision = client.get(path).content.decode().split('value="')[1].split('"')[0]
    Job.objects.create(cell_image=image, site=image.site, specimen=image.specimen)
    assert client.get(path, {"revision": revision}).status_code == 200


def test_a_file_name_is_text_and_never_markup(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    bad = '"><script>alert(1)</script>.png'
    cells.classified(specimen, filename=bad)
    failed = cells.failed(specimen, error="<b>bold</b>", filename=bad)
    for path in (
        reverse("specimen", args=[specimen.pk]),
        reverse("cell", args=[failed.pk]),
    ):
        content = client.get(path).content.decode()
        assert "<script>alert" not in content
        assert "<b>bold" not in content


def _upload(client: Client, specimen: Specimen, *files: SimpleUploadedFile) -> Any:
    path = reverse("add_images", args=[specimen.pk])
    return client.post(path, {"images": list(files)}, headers=JSON)


def test_an_upload_answers_a_line_for_each_file(client: Client, specimen: Specimen) -> None:
    note = SimpleUploadedFile("note.jpg", b"not an image")
    files = [upload(1, "a.png"), upload(1, "b.png"), note]
    answer = _upload(client, specimen, *files)
    assert answer.status_code == 200
    lines = answer.json()["received"]
    assert [line["status"] for line in lines] == ["accepted", "duplicate", "refused"]
    assert lines[2]["filename"] == "note.jpg"
    assert "Accepted: JPEG, PNG" in lines[2]["message"]
    image = CellImage.objects.get()
    assert lines[0]["id"] == lines[1]["id"] == image.pk
    again = _upload(client, specimen, upload(1)).json()["received"]
    assert again[0]["status"] == "duplicate"
    assert CellImage.objects.count() == 1


def test_an_upload_without_scripts_leads_back_to_the_page(
    client: Client, specimen: Specimen
) -> None:
    note = SimpleUploadedFile("<i>.jpg", b"not an image")
    path = reverse("add_images", args=[specimen.pk])
    response = client.post(path, {"images": [upload(1), note]}, follow=True)
    content = response.content.decode()
    assert "1 of 2 images accepted." in content
    assert "&lt;i&gt;.jpg" in content


def test_an_upload_of_nothing_or_too_much_is_explained(
    client: Client, specimen: Specimen, settings: Any
) -> None:
    assert _upload(client, specimen).status_code == 400
    settings.UPLOAD_BATCH_LIMIT = 2
    answer = _upload(client, specimen, upload(1), upload(2), upload(3))
    assert answer.status_code == 413
    assert "2 is the most" in answer.json()["message"]
    assert not CellImage.objects.exists()


def test_a_rejected_specimen_takes_no_images(client: Client, specimen: Specimen) -> None:
    Specimen.objects.filter(pk=specimen.pk).update(state=Specimen.State.REJECTED)
    answer = _upload(client, specimen, upload(1))
    assert answer.status_code == 409
    assert "rejected" in answer.json()["message"]


@pytest.mark.parametrize(
    ("refusal", "status"),
    [(QueueFull(7), 503), (StorageUnavailable("The disk is full."), 507)],
)
def test_a_platform_that_cannot_take_more_says_so(
    refusal: Exception,
    status: int,
    client: Client,
    specimen: Specimen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise refusal

    monkeypatch.setattr(imaging, "refuse_when_full", refuse)
    answer = _upload(client, specimen, upload(1))
    assert answer.status_code == status
    assert answer.json()["message"] == str(refusal)
    assert answer.headers.get("Retry-After") == ("7" if status == 503 else None)


def test_failed_images_are_queued_again(
    client: Client, cast: Cast, specimen: Specimen, cells: Cells
) -> None:
    Specimen.objects.filter(pk=specimen.pk).update(state=Specimen.State.PRECLASSIFIED)
    first, _second = cells.failed(specimen), cells.failed(specimen)
    path = reverse("requeue", args=[specimen.pk])
    response = client.post(path, {"cell_image": first.pk}, follow=True)
    assert "1 image queued again." in response.content.decode()
    assert Job.objects.filter(state="queued").get().cell_image == first
    assert "1 image queued again." in client.post(path, follow=True).content.decode()
    assert Job.objects.filter(state="queued").count() == 2
    assert "2 images" not in client.get(reverse("worklist")).content.decode()


def test_requeue_of_another_specimens_image_does_nothing(
    client: Client, cast: Cast, specimen: Specimen, cells: Cells
) -> None:
    other = cells.failed(cast.specimen())
    Specimen.objects.update(state=Specimen.State.PRECLASSIFIED)
    client.post(reverse("requeue", args=[specimen.pk]), {"cell_image": other.pk})
    assert not Job.objects.filter(state="queued").exists()


def test_requeue_is_refused_where_the_state_forbids_it(client: Client, specimen: Specimen) -> None:
    response = client.post(reverse("requeue", args=[specimen.pk]), follow=True)
    assert "does not permit" in response.content.decode()


def test_rejecting_needs_a_reason(client: Client, specimen: Specimen) -> None:
    path = reverse("reject", args=[specimen.pk])
    response = client.post(path, {"reason": " "}, follow=True)
    assert "Say why the specimen is rejected." in response.content.decode()
    response = client.post(path, {"reason": "Clotted <b>"}, follow=True)
    content = response.content.decode()
    assert "Rejected: Clotted &lt;b&gt;" in content
    assert 'id="drop"' not in content
    response = client.post(path, {"reason": "again"}, follow=True)
    assert "does not permit" in response.content.decode()


def test_synthetic_cells_are_labelled(client: Client, cast: Cast, cells: Cells) -> None:
    specimen = cast.specimen(is_synthetic=True)
    image = cells.classified(specimen, is_synthetic=True)
    for path in (reverse("specimen", args=[specimen.pk]), reverse("cell", args=[image.pk])):
        assert "drawn by wbclab" in client.get(path).content.decode()
