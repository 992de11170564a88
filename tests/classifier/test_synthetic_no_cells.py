"""Pictures without a white cell: the same from the same seed, and of the kind they are called."""

import numpy as np
import pytest

from classifier.synthetic.no_cells import WITHOUT_CELL, draw_without_cell


@pytest.mark.parametrize("kind", WITHOUT_CELL)
def test_same_seed_same_picture(kind: str) -> None:
    first, again, other = (draw_without_cell(kind, seed) for seed in (3, 3, 4))
    assert (first.mode, first.size) == ("RGB", (360, 360))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def _dark_share(kind: str) -> float:
    """Pixels dark in green and purple, as nuclei are."""
    shares = []
    for seed in range(5):
        pixels = np.asarray(draw_without_cell(kind, seed), np.float64)
        shares.append(((pixels[..., 1] < 100) & (pixels[..., 2] > pixels[..., 1] + 30)).mean())
    return float(np.mean(shares))


def test_red_cells_come_without_a_nucleus_and_tissue_with_many() -> None:
    assert _dark_share("red_cells_only") < 0.01
    assert _dark_share("tissue") > 0.08


def test_blank_pictures_have_no_detail() -> None:
    for seed in range(8):
        pixels = np.asarray(draw_without_cell("blank", seed), np.float64)
        assert np.abs(np.diff(pixels, axis=1)).mean() < 8.0


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="accepted are blank, noise, text, red_cells_only, tissue"):
        draw_without_cell("smudge", 1)
    with pytest.raises(ValueError, match="-1"):
        draw_without_cell("blank", -1)
