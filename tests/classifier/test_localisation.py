"""The cell is found wherever it lies and whatever part of the frame it fills."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from classifier.localisation import (
    SEARCH_SIZE,
    SMALLEST_SIDE,
    locate_cell,
    otsu_threshold,
    weighted_histogram,
)
from classifier.preprocessing import background_colour, prepare, prepare_at
from classifier.synthetic import draw_cell

BACKGROUND = np.array([240.0, 235.0, 230.0], np.float32)


def _disc(x: float, y: float, radius: float, size: int = SEARCH_SIZE) -> np.ndarray:
    """A nucleus-like disc; positions and radius in parts of the frame."""
    frame = np.broadcast_to(BACKGROUND.astype(np.uint8), (size, size, 3)).copy()
    axis = (np.arange(size) + 0.5) / size
    inside = (axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2 < radius**2
    frame[inside] = (90, 40, 130)
    return frame


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.35, 0.6), (0.62, 0.42)])
@pytest.mark.parametrize("radius", [0.12, 0.18, 0.25])
def test_a_disc_is_centred_at_its_own_scale(x: float, y: float, radius: float) -> None:
    left, top, side, _ = locate_cell(_disc(x, y, radius), BACKGROUND)
    assert side == pytest.approx(5.0 * radius / 2**0.5, rel=0.06)
    # As near to the middle as the frame allows.
    assert left + side / 2 == pytest.approx(np.clip(x, side / 2, 1 - side / 2), abs=0.015)
    assert top + side / 2 == pytest.approx(np.clip(y, side / 2, 1 - side / 2), abs=0.015)


def test_lobes_belong_together() -> None:
    frame = np.minimum(_disc(0.42, 0.5, 0.07), _disc(0.58, 0.5, 0.07))
    left, _, side, _ = locate_cell(frame, BACKGROUND)
    assert left + side / 2 == pytest.approx(0.5, abs=0.01)
    assert left < 0.35
    assert left + side > 0.65


def test_a_neighbour_does_not_pull() -> None:
    alone = locate_cell(_disc(0.5, 0.5, 0.13), BACKGROUND)[:3]
    beside = np.minimum(_disc(0.5, 0.5, 0.13), _disc(0.95, 0.95, 0.13))
    np.testing.assert_allclose(locate_cell(beside, BACKGROUND)[:3], alone, atol=0.03)


def test_a_speck_is_not_blown_up() -> None:
    assert locate_cell(_disc(0.5, 0.5, 0.03), BACKGROUND).side == SMALLEST_SIDE


@given(arrays(np.uint8, (16, 16, 3)))
def test_the_square_lies_inside_the_frame(frame: np.ndarray) -> None:
    left, top, side, _ = locate_cell(frame, background_colour(frame))
    assert SMALLEST_SIDE <= side <= 1.0
    assert 0.0 <= left <= 1.0 - side + 1e-9
    assert 0.0 <= top <= 1.0 - side + 1e-9


@pytest.mark.parametrize("kind", ["Lymphocyte", "Neutrophil", "Monocyte"])
def test_the_same_cell_looks_alike_in_every_frame(kind: str) -> None:
    cell = draw_cell(kind, 3)
    width = cell.width
    wide = prepare(cell).astype(float)
    for part in (0.7, 0.8):
        margin = round(width * (1 - part) / 2)
        box = (margin, margin, width - margin, width - margin)
        close = prepare(cell.crop(box)).astype(float)
        plain = (
            np.asarray(cell.resize((128, 128)), float),
            np.asarray(cell.crop(box).resize((128, 128)), float),
        )
        assert np.abs(close - wide).mean() < 0.5 * np.abs(plain[0] - plain[1]).mean()


def test_the_margin_shows_more_at_the_same_scale() -> None:
    cell = draw_cell("Monocyte", 5)
    middle = prepare_at(cell, 192, margin=1.5)[32:160, 32:160].astype(float)
    assert np.abs(middle - prepare(cell)).mean() < 1.0


def test_the_margin_reaches_beyond_the_image() -> None:
    image = Image.fromarray(_disc(0.5, 0.5, 0.4, size=100))
    assert prepare_at(image, 96, margin=3.0).shape == (96, 96, 3)


def test_otsu_splits_two_groups() -> None:
    values = np.concatenate([np.full(70, 1.0), np.full(30, 5.0)]).astype(np.float32)
    assert 1.0 < otsu_threshold(values, np.ones_like(values)) < 5.0
    flat = np.ones(9, np.float32)
    assert otsu_threshold(flat, flat) == 1.0


@given(
    arrays(np.float32, st.integers(2, 300), elements=st.floats(0.0, 4.0, width=32)),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_the_histogram_is_that_of_numpy(values: np.ndarray, low: float) -> None:
    values = np.concatenate([values + low, [low, low + 3.7]]).astype(np.float32)
    # Also what lies on an edge, where rounding decides.
    values = np.concatenate([values, np.histogram_bin_edges(values, 64)])
    weights = np.linspace(0.1, 1.0, values.size, dtype=np.float32)
    bounds = float(values.min()), float(values.max())
    expected, edges = np.histogram(values, 64, bounds, weights=weights)
    histogram, ours = weighted_histogram(values, weights, *bounds)
    np.testing.assert_array_equal(ours, edges)
    np.testing.assert_array_equal(histogram, expected)
