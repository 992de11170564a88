"""One cell: its page, its panel, its pictures, and the reasons in words."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from PIL import Image

from specimens.models import CellImage, Job, Specimen, User
from specimens.views.images import explanation_layer
from tests.factories import Cast, picture
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]


@pytest.fixture
def specimen(cast: Cast) -> Specimen:
    return cast.specimen()


@pytest.fixture
def client(cast: Cast, as_person: As) -> Client:
    return as_person(cast.technician)


def _page(client: Client, image: CellImage, *, panel: bool = False) -> str:
    headers = {"HX-Request": "true"} if panel else {}
    return client.get(reverse("cell", args=[image.pk]), headers=headers).content.decode()


def test_the_page_says_what_the_model_made_of_it(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    image = cells.classified(specimen, "Eosinophil", 0.93)
    content = _page(client, image)
    for text in (
        "Eosinophil",
        "93.0\u202f%",
        "dm-fnet 1.0",
        "onnxruntime, 3.4 ms",
        "64 \N{MULTIPLICATION SIGN} 64 px",
    ):
        assert text in content
    assert image.sha256 in content
    assert "abstained" not in content


def test_the_panel_is_the_article_alone(client: Client, specimen: Specimen, cells: Cells) -> None:
    content = _page(client, cells.classified(specimen), panel=True)
    assert "<html" not in content
    assert 'class="cell-view"' in content
    assert "Close" in content


def test_an_abstention_is_given_in_words(client: Client, specimen: Specimen, cells: Cells) -> None:
    both = cells.classified(
        specimen, "Monocyte", 0.61, reasons=("low_confidence", "out_of_distribution")
    )
    content = _page(client, both)
    assert "its certainty of 61.0\u202f% is below the required 80.0\u202f%" in content
    assert "the cell looks unlike those it was trained on (score 1.50, limit 1.30)" in content
    assert "Its closest class is monocyte." in content


def test_a_model_without_thresholds_still_gives_its_reason(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    cells.version.metadata = {}
    cells.version.save()
    content = _page(
        client, cells.classified(specimen, "Monocyte", 0.61, reasons=("low_confidence",))
    )
    assert "is below the required minimum" in content


def test_previous_and_next_follow_the_gallery(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    last = cells.classified(specimen, confidence=0.99)
    first = cells.classified(specimen, confidence=0.85)
    middle = cells.classified(specimen, confidence=0.9)
    content = _page(client, middle)
    assert f'rel="prev" href="{reverse("cell", args=[first.pk])}"' in content
    assert f'rel="next" href="{reverse("cell", args=[last.pk])}"' in content
    assert "cell 2 of 3" in content
    assert 'rel="prev"' not in _page(client, first)


def test_a_failed_cell_says_why_and_offers_another_try(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    content = _page(client, cells.failed(specimen, error="Its data end too early."))
    assert "Its data end too early." in content
    assert "Requeue" in content


def test_a_waiting_cell_says_so(client: Client, specimen: Specimen, cells: Cells) -> None:
    assert "as soon as a worker is free" in _page(client, cells.image(specimen))


def test_a_cell_of_the_api_has_no_specimen(client: Client, cast: Cast, cells: Cells) -> None:
    image = cells.classified(cast.specimen())
    CellImage.objects.filter(pk=image.pk).update(specimen=None)
    assert client.get(reverse("cell", args=[image.pk])).status_code == 200


def test_the_original_is_untouched_and_kept(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    image = cells.classified(specimen)
    path = reverse("cell_image", args=[image.pk])
    response = client.get(path)
    assert response.content == picture(1)
    assert response["Content-Type"] == "image/png"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Cache-Control"].startswith("private, max-age=")
    assert image.sha256 in response["ETag"]
    assert "sandbox" in response["Content-Security-Policy"]
    again = client.get(path, headers={"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_file_name_cannot_break_out_of_its_header(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    image = cells.image(specimen, filename='a"; x=".svg', media_type="image/tiff")
    header = client.get(reverse("cell_image", args=[image.pk]))["Content-Disposition"]
    assert header == 'attachment; filename="a\\"; x=\\".svg"'


def test_a_thumbnail_is_the_original_until_it_is_written(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    waiting = cells.image(specimen)
    response = client.get(reverse("cell_thumbnail", args=[waiting.pk]))
    assert (response["Content-Type"], response.content) == ("image/png", picture(1))
    assert response["Cache-Control"] == "private, no-cache"
    done = cells.classified(specimen)
    response = client.get(reverse("cell_thumbnail", args=[done.pk]))
    assert response["Content-Type"] == "image/jpeg"


def test_what_a_browser_cannot_draw_is_offered_for_download(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    waiting = cells.image(specimen, media_type="image/tiff")
    assert client.get(reverse("cell_thumbnail", args=[waiting.pk])).status_code == 404
    content = client.get(reverse("specimen", args=[specimen.pk])).content.decode()
    assert reverse("cell_thumbnail", args=[waiting.pk]) not in content
    done = cells.classified(specimen, media_type="image/tiff")
    content = _page(client, done)
    assert "Full size is not shown for image/tiff" in content
    assert f'href="{reverse("cell_thumbnail", args=[done.pk])}"' in content


def test_a_picture_that_is_gone_is_not_found(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    image = cells.image(specimen)
    default_storage.delete(str(image.file.name))
    assert client.get(reverse("cell_image", args=[image.pk])).status_code == 404


def test_the_explanation_is_a_layer_of_its_own(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    image = cells.classified(specimen)
    path = reverse("cell_explanation", args=[image.pk])
    response = client.get(path)
    layer = Image.open(io.BytesIO(response.content))
    assert (layer.format, layer.mode, layer.size) == ("PNG", "RGBA", (256, 256))
    again = client.get(path, headers={"If-None-Match": response["ETag"]})
    assert again.status_code == 304
    waiting = cells.image(specimen)
    assert client.get(reverse("cell_explanation", args=[waiting.pk])).status_code == 404


def test_the_map_lies_on_the_square_the_model_saw(
    client: Client, specimen: Specimen, cells: Cells
) -> None:
    content = _page(client, cells.classified(specimen, width=400, height=300))
    assert 'viewBox="0 0 400 300"' in content
    assert 'class="overlay" x="50" y="0" width="300" height="300"' in content


def _layer(values: np.ndarray, shown: tuple[float, float, float]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(explanation_layer(values.tobytes(), shown))))


def test_the_layer_lies_where_the_model_looked() -> None:
    layer = _layer(np.full((16, 16), 255, np.uint8), (0.25, 0.5, 0.375))
    opaque = layer[..., 3] > 0
    rows, columns = np.flatnonzero(opaque.any(axis=1)), np.flatnonzero(opaque.any(axis=0))
    assert (rows[0], rows[-1]) == (128, 223)
    assert (columns[0], columns[-1]) == (64, 159)


def test_the_layer_is_opaque_where_the_evidence_is() -> None:
    values = np.zeros((16, 16), np.uint8)
    values[4, 12] = 255
    layer = _layer(values, (0.0, 0.0, 1.0))
    row, column = np.unravel_index(layer[..., 3].argmax(), (256, 256))
    assert (int(row) // 16, int(column) // 16) == (4, 12)
    assert layer[200, 20, 3] == 0


def test_the_newest_prediction_counts(client: Client, specimen: Specimen, cells: Cells) -> None:
    image = cells.classified(specimen, "Monocyte")
    newer = type(cells.version).objects.create(
        name="dm-fnet", version="2.0", digest="e" * 64, metadata={}
    )
    prediction = image.predictions.get()
    prediction.pk, prediction.model_version = None, newer
    prediction.predicted_class = prediction.decision = "Lymphocyte"
    prediction._state.adding = True
    prediction.save()
    assert "dm-fnet 2.0" in _page(client, image)
    content = client.get(reverse("specimen", args=[specimen.pk])).content.decode()
    assert 'data-key="group-lymphocyte"' in content
    assert 'data-key="group-monocyte"' not in content
    assert Job.objects.count() == 1
