"""The augmentation keeps its contract, and changes what it says it changes."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from classifier.training.augmentation import CellAugmentation, gaussian_blur
from classifier.training.stain import bend_densities, jitter_stain

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"  # Keras and NumPy 2.4
)


def _crops(count: int = 3, size: int = 64) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def test_shape_type_and_range() -> None:
    out = ops.convert_to_numpy(CellAugmentation(32)(_crops(), training=True))
    assert out.shape == (3, 32, 32, 3)
    assert out.dtype == np.float32
    assert out.min() >= 0.0
    assert out.max() <= 255.0
    assert np.isfinite(out).all()


def test_same_seed_gives_the_same_images() -> None:
    one = ops.convert_to_numpy(CellAugmentation(32, seed=4)(_crops(), training=True))
    two = ops.convert_to_numpy(CellAugmentation(32, seed=4)(_crops(), training=True))
    other = ops.convert_to_numpy(CellAugmentation(32, seed=5)(_crops(), training=True))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).mean() > 1.0


def test_each_image_is_changed_differently() -> None:
    same = np.repeat(_crops(1), 2, axis=0)
    out = ops.convert_to_numpy(CellAugmentation(32)(same, training=True))
    assert np.abs(out[0] - out[1]).mean() > 1.0


def test_outside_training_it_shows_the_middle() -> None:
    crops = _crops()
    out = ops.convert_to_numpy(CellAugmentation(32)(crops))
    np.testing.assert_allclose(out, crops[:, 16:48, 16:48], atol=1e-3)


def test_switched_off_it_only_places() -> None:
    layer = CellAugmentation(32, zoom=(1.0, 1.0), shift=0.0, stain=0, colour=0, focus=0)
    grey = np.full((4, 64, 64, 3), 90, np.uint8)
    out = ops.convert_to_numpy(layer(grey, training=True))
    np.testing.assert_allclose(out, 90.0, atol=0.1)


def test_zoom_enlarges_the_centre() -> None:
    crops = np.full((8, 64, 64, 3), 255, np.uint8)
    crops[:, 28:36, 28:36] = 0
    layer = CellAugmentation(32, zoom=(0.4, 0.4), shift=0.0, stain=0, colour=0, focus=0)
    dark = (ops.convert_to_numpy(layer(crops, training=True)) < 128).mean(axis=(1, 2, 3))
    # A square of a quarter of the side: 6% of the area as it is, 39% when zoomed to 0.4.
    assert ((dark > 0.04) & (dark < 0.09) | (dark > 0.34) & (dark < 0.45)).all()
    assert (dark > 0.3).sum() >= 3


def test_blur_is_a_gaussian() -> None:
    point = np.zeros((1, 41, 41, 3), "float32")
    point[0, 20, 12] = 1.0
    width = np.full((1, 1, 1, 1), 1.5, "float32")
    out = ops.convert_to_numpy(gaussian_blur(point, width))
    assert np.unravel_index(out[0, :, :, 0].argmax(), (41, 41)) == (20, 12)
    assert out.max() == pytest.approx(1.0 / (2.0 * np.pi * 1.5**2), rel=1e-3)
    assert out.sum() == pytest.approx(3.0, rel=1e-3)


def test_a_random_filter_changes_texture_and_keeps_flat_parts() -> None:
    plain: dict[str, Any] = {"zoom": (1.0, 1.0), "shift": 0.0, "stain": 0, "colour": 0, "focus": 0}
    crops = np.full((16, 64, 64, 3), 90, np.uint8)
    crops[:8] = np.repeat(_crops(1), 8, axis=0)
    same = ops.convert_to_numpy(CellAugmentation(32, **plain)(crops, training=True))
    mixed = ops.convert_to_numpy(CellAugmentation(32, texture=1.0, **plain)(crops, training=True))
    changed = np.abs(mixed - same).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(changed[8:], 0.0, atol=0.1)
    assert 0 < (changed[:8] > 1.0).sum() < 8


def test_bending_keeps_the_order_of_densities_and_about_that_of_a_nucleus() -> None:
    ramp = np.linspace(0.0, 3.0, 64, dtype="float32")
    density = np.broadcast_to(ramp[None, :, None, None], (24, 64, 1, 3))
    generator = keras.random.SeedGenerator(2)
    bent = ops.convert_to_numpy(bend_densities(density, 24, 1.0, generator))
    assert (np.diff(bent, axis=1) >= -1e-6).all()
    nucleus = bent[:, np.abs(ramp - 1.8).argmin()]
    assert np.median(nucleus) == pytest.approx(1.8, abs=0.3)
    assert np.abs(bent - density).mean() > 0.1


def test_stain_jitter_without_strength_is_nothing() -> None:
    images = _crops().astype("float32") / 255.0
    generator = keras.random.SeedGenerator(1)
    assert jitter_stain(images, 0.0, generator) is images
    changed = ops.convert_to_numpy(jitter_stain(images, 1.0, generator))
    assert changed.shape == images.shape
    assert changed.min() >= 0.0
    assert changed.max() <= 1.0
    assert np.abs(changed - images).mean() > 0.005


def test_round_trip_of_the_configuration() -> None:
    layer = CellAugmentation(32, zoom=(0.5, 1.0), seed=9)
    copy = CellAugmentation.from_config(layer.get_config())
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer(_crops(), training=True)),
        ops.convert_to_numpy(copy(_crops(), training=True)),
    )


@pytest.mark.parametrize(
    "arguments", [{"output_size": 0}, {"zoom": (1.0, 0.5)}, {"stain": -1.0}, {"texture": -0.1}]
)
def test_bad_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="received"):
        CellAugmentation(**arguments)
