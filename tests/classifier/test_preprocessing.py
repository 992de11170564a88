"""The one preprocessing function, and the table of classes."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from classifier.classes import (
    ALL_CLASSES,
    CELL_CLASSES,
    PREDICTED_CLASSES,
    REPORTING_ORDER,
    UNIDENTIFIED,
)
from classifier.localisation import locate_cell
from classifier.preprocessing import (
    BACKGROUND_LEVEL,
    INPUT_SIZE,
    NUCLEUS_DENSITY,
    PREPROCESSING_VERSION,
    PreprocessingMismatchError,
    Reduced,
    _colour_table,
    _resize_crop,
    background_colour,
    prepare,
    prepare_input,
    require_version,
)


def _smear(background: tuple[int, int, int], size: tuple[int, int] = (360, 363)) -> Image.Image:
    image = Image.new("RGB", size, background)
    left, top = size[0] // 2 - 50, size[1] // 2 - 50
    image.paste((90, 40, 120), (left, top, left + 100, top + 100))
    return image


@pytest.mark.parametrize("size", [(360, 363), (32, 32), (640, 480), (100, 104), (1, 1)])
def test_shape_and_type(size: tuple[int, int]) -> None:
    prepared = prepare(Image.new("RGB", size, (200, 180, 190)))
    assert prepared.shape == (INPUT_SIZE, INPUT_SIZE, 3)
    assert prepared.dtype == np.uint8


def test_centre_is_kept() -> None:
    image = Image.new("RGB", (400, 200), (255, 255, 255))
    image.paste((255, 0, 0), (0, 0, 90, 200))
    image.paste((0, 0, 255), (310, 0, 400, 200))
    prepared = prepare(image)
    assert prepared.min() == round(BACKGROUND_LEVEL)


@pytest.mark.parametrize("background", [(245, 235, 170), (180, 190, 190), (255, 255, 255)])
def test_background_becomes_neutral(background: tuple[int, int, int]) -> None:
    corner = prepare(_smear(background))[2, 2].astype(int)
    assert np.abs(corner - BACKGROUND_LEVEL).max() <= 1


def test_a_dark_frame_is_not_bleached() -> None:
    prepared = prepare(Image.new("RGB", (64, 64), (10, 10, 10)))
    assert prepared.max() <= 18


def test_a_cast_of_the_lamp_hardly_matters() -> None:
    plain = np.asarray(_smear((230, 230, 230)), dtype=float)
    warm = Image.fromarray((plain * [1.0, 0.95, 0.8]).astype(np.uint8))
    difference = prepare(warm).astype(int) - prepare(_smear((230, 230, 230))).astype(int)
    assert np.abs(difference).max() <= 3


def test_each_channel_goes_through_its_own_column_of_the_table() -> None:
    noise = np.random.default_rng(2).integers(0, 200, (64, 64, 3), dtype=np.uint8)
    image = Image.fromarray(np.asarray(_smear((240, 220, 200), (64, 64))) - noise // 4)
    background = background_colour(np.asarray(image))
    cell = locate_cell(np.asarray(image), background)
    table = _colour_table(background, cell.nucleus)
    crop = np.asarray(_resize_crop(image, cell, INPUT_SIZE, 1.0))
    expected = np.stack([table[c][crop[..., c]] for c in range(3)], axis=-1)
    np.testing.assert_array_equal(prepare(image), expected)


def test_is_deterministic_and_leaves_the_image_alone() -> None:
    image = _smear((220, 215, 200))
    before = image.tobytes()
    assert np.array_equal(prepare(image), prepare(image))
    assert image.tobytes() == before


@pytest.mark.parametrize("size", [(360, 363), (365, 360), (366, 360), (513, 512), (128, 129)])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_picture_made_smaller_before_changes_nothing(size: tuple[int, int], factor: int) -> None:
    noise = np.random.default_rng(1).integers(0, 60, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(np.asarray(_smear((230, 225, 210), size)) - noise)
    pixels, shown = prepare_input(image, Reduced(image.reduce(factor), factor))
    expected = prepare_input(image)
    np.testing.assert_array_equal(pixels, expected.pixels)
    assert shown == expected.shown


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_other_modes_are_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=mode):
        prepare(Image.new(mode, (64, 64)))


def test_version_is_checked() -> None:
    require_version(PREPROCESSING_VERSION)
    with pytest.raises(PreprocessingMismatchError, match="something-else"):
        require_version("something-else")


def test_classes() -> None:
    assert CELL_CLASSES == ("Basophil", "Eosinophil", "Lymphocyte", "Monocyte", "Neutrophil")
    assert [cell.code for cell in REPORTING_ORDER] == ["NEU", "LYM", "MON", "EOS", "BAS"]
    for attribute in ("key", "name", "code", "colour"):
        values = [getattr(cell, attribute) for cell in ALL_CLASSES]
        assert len(set(values)) == len(values), attribute
    assert all(cell.is_wbc and cell.predicted for cell in PREDICTED_CLASSES)
    assert not UNIDENTIFIED.is_wbc


@pytest.mark.parametrize("size", [(360, 360), (400, 300), (300, 500)])
def test_what_is_shown_is_where_the_cell_lies(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (235, 230, 220))
    width, height = size
    side = min(size)
    x, y = width // 2 + side // 10, height // 2 - side // 10
    radius = side // 8
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), (90, 40, 130))
    left, top, part = prepare_input(image).shown
    centre = (width - side) / 2 + (left + part / 2) * side
    middle = (height - side) / 2 + (top + part / 2) * side
    assert abs(centre - x) < 0.02 * side
    assert abs(middle - y) < 0.02 * side


@pytest.mark.parametrize("strength", [0.5, 1.0, 1.4])
def test_a_pale_and_a_deep_stain_look_alike(strength: float) -> None:
    density = -np.log(np.asarray(_smear((235, 235, 235)), float) / 235.0)
    stained = Image.fromarray(np.rint(235.0 * np.exp(-strength * density)).astype(np.uint8))
    nucleus = prepare(stained)[64, 64].astype(float)
    expected = 235.0 * np.exp(-NUCLEUS_DENSITY)
    assert np.abs(nucleus[:2] - expected).max() < 4.0
