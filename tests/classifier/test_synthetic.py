"""Drawn cells: the same from the same seed, different by kind, and never without their label."""

import io
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from classifier.classes import CELL_CLASSES
from classifier.synthetic import COMMENT, draw_cell, draw_cells, draw_field, save_jpeg

Pixels = npt.NDArray[np.float64]


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image, dtype=np.float64)


def middle(image: Image.Image) -> Pixels:
    """The 200 x 200 pixels around the cell, as (40000, 3)."""
    return pixels(image)[80:280, 80:280].reshape(-1, 3)


def measure(kind: str) -> dict[str, float]:
    """Means over a few cells: dark area, coarse granule redness, cytoplasm blueness."""
    cells = [middle(draw_cell(kind, seed)) for seed in range(4)]
    dark = [cell[:, 1] < 90 for cell in cells]
    red = [
        (cell[:, 0] - cell[:, 1] > 55) & (cell[:, 0] > 150) & (cell[:, 1] < 140) for cell in cells
    ]
    blue = [(cell[:, 2] > cell[:, 0]) & (cell[:, 1] > 110) for cell in cells]
    return {
        name: float(np.mean([mask.sum() for mask in masks]))
        for name, masks in (("dark", dark), ("red", red), ("blue", blue))
    }


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    return {kind: measure(kind) for kind in CELL_CLASSES}


@pytest.mark.parametrize("kind", CELL_CLASSES)
def test_same_seed_same_picture(kind: str) -> None:
    first, again, other = draw_cell(kind, 7), draw_cell(kind, 7), draw_cell(kind, 8)
    assert first.mode == "RGB"
    assert first.size == (360, 360)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_only_eosinophils_are_full_of_red_granules(measured: dict[str, dict[str, float]]) -> None:
    eosinophil = measured["Eosinophil"]["red"]
    others = [measured[kind]["red"] for kind in CELL_CLASSES if kind != "Eosinophil"]
    assert eosinophil > 4000
    assert eosinophil > 5 * max(others)


def test_only_monocytes_have_much_blue_cytoplasm(measured: dict[str, dict[str, float]]) -> None:
    monocyte = measured["Monocyte"]["blue"]
    others = [measured[kind]["blue"] for kind in CELL_CLASSES if kind != "Monocyte"]
    assert monocyte > 2 * max(others)


def test_dark_area_tells_the_other_three_apart(measured: dict[str, dict[str, float]]) -> None:
    neutrophil, lymphocyte, basophil = (
        measured[kind]["dark"] for kind in ("Neutrophil", "Lymphocyte", "Basophil")
    )
    assert neutrophil < 0.9 * lymphocyte
    assert lymphocyte < 0.9 * basophil


def test_monocyte_is_the_largest_and_lymphocyte_the_smallest() -> None:
    def mean_width(kind: str) -> float:
        boxes = [draw_field(seed, 400, 400, [kind])[1][0] for seed in range(4)]
        return float(np.mean([right - left for _, left, _, right, _ in boxes]))

    widths = {kind: mean_width(kind) for kind in CELL_CLASSES}
    assert max(widths, key=widths.__getitem__) == "Monocyte"
    assert min(widths, key=widths.__getitem__) == "Lymphocyte"


@pytest.mark.parametrize("size", [64, 128, 500])
def test_size_changes_the_resolution_and_not_the_view(size: int) -> None:
    native, other = draw_cell("Monocyte", 3), draw_cell("Monocyte", 3, size=size)
    assert other.size == (size, size)
    small = (32, 32)
    difference = pixels(native.resize(small)) - pixels(other.resize(small))
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("kind", ["", "neutrophil", "Erythroblast"])
def test_unknown_kind_is_refused_with_the_accepted_names(kind: str) -> None:
    for refused in (
        lambda: draw_cell(kind, 1),
        lambda: draw_cells(1, {kind: 1}),
        lambda: draw_field(1, 640, 480, [kind]),
    ):
        with pytest.raises(ValueError, match="Basophil, Eosinophil, Lymphocyte") as raised:
            refused()
        assert repr(kind) in str(raised.value)


def test_other_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        draw_cell("Basophil", -1)
    with pytest.raises(ValueError, match="size must be at least 16 pixels, got 8"):
        draw_cell("Basophil", 1, size=8)
    with pytest.raises(ValueError, match="count of Basophil must not be negative, got -2"):
        draw_cells(1, {"Basophil": -2})
    with pytest.raises(ValueError, match="size must be at least 16 pixels, got 0"):
        draw_field(1, 640, 0, [])


def test_more_cells_leave_the_first_ones_as_they_were() -> None:
    few = list(draw_cells(5, {"Lymphocyte": 2, "Basophil": 1}))
    assert Counter(kind for kind, _ in few) == {"Lymphocyte": 2, "Basophil": 1}
    many = list(islice(draw_cells(5, {"Lymphocyte": 40}), 2))
    assert [image.tobytes() for _, image in many] == [image.tobytes() for _, image in few[:2]]
    assert few[0][1].tobytes() != few[1][1].tobytes()


def test_field_has_a_box_around_each_white_cell() -> None:
    kinds = ["Neutrophil", "Monocyte", "Eosinophil"]
    image, boxes = draw_field(11, 640, 480, kinds)
    assert image.size == (640, 480)
    assert [box[0] for box in boxes] == kinds
    for _, left, top, right, bottom in boxes:
        assert 0 <= left < right <= 640
        assert 0 <= top < bottom <= 480
        inside = pixels(image)[top:bottom, left:right]
        # The nucleus lies inside the box.
        assert (inside[..., 1] < 80).sum() > 1500


def test_field_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="640x480 pixels has no room for 40 white cells"):
        draw_field(1, 640, 480, ["Monocyte"] * 40)
    with pytest.raises(ValueError, match="no room"):
        draw_field(1, 100, 480, ["Monocyte"])


def test_saved_file_says_that_it_is_synthetic(tmp_path: Path) -> None:
    image, stream = draw_cell("Neutrophil", 2), io.BytesIO()
    save_jpeg(image, stream)
    save_jpeg(image, tmp_path / "cell.jpg")
    assert stream.getvalue() == (tmp_path / "cell.jpg").read_bytes()
    with Image.open(tmp_path / "cell.jpg") as saved:
        assert saved.format == "JPEG"
        assert saved.size == (360, 360)
        assert saved.info["comment"].decode() == COMMENT == "synthetic, drawn by wbclab"


def test_command_writes_numbered_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "cells"
    arguments = ["--count", "2", "--seed", "9", "--kinds", "monocyte", "basophil"]
    call_command("draw_cells", str(folder), *arguments)
    names = ["basophil_001.jpg", "basophil_002.jpg", "monocyte_001.jpg", "monocyte_002.jpg"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert "4 synthetic cells" in capsys.readouterr().out
    with Image.open(folder / "monocyte_001.jpg") as saved:
        assert saved.info["comment"].decode() == COMMENT


def test_command_reports_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="count of Basophil must not be negative"):
        call_command("draw_cells", str(tmp_path), "--count", "-1")
    with pytest.raises(CommandError, match="invalid choice: 'Platelet'"):
        call_command("draw_cells", str(tmp_path), "--kinds", "Platelet")
