"""The one way an image becomes the input of the model, for training, serving and evaluation.

The steps are part of the model: a model trained with one version of them must not be served with
another. ``PREPROCESSING_VERSION`` names this version and stands in the ``metadata.json`` of every
exported model; compare with :func:`require_version` when one is loaded.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PREPROCESSING_VERSION = "square-128-background-1"
INPUT_SIZE = 128

# The background of a smear is made to look like this, whatever the lamp and the camera.
BACKGROUND_LEVEL = 235.0
# The part of the pixels taken for background: brightest in green, where all stained matter is dark.
BACKGROUND_PERCENTILE = 90.0
# A frame without visible background must not be bleached or dyed beyond recognition.
GAIN_LIMITS = (0.70, 1.80)
# The background is found on every n-th pixel: enough for a mean, and 16 times faster.
_SAMPLE_STEP = 4


class PreprocessingMismatchError(ValueError):
    """A model was made for another version of the preprocessing."""


def require_version(version: str) -> None:
    """Raise :class:`PreprocessingMismatchError` unless ``version`` is the one implemented here."""
    if version != PREPROCESSING_VERSION:
        raise PreprocessingMismatchError(
            f"the model expects preprocessing {version!r}, this release implements "
            f"{PREPROCESSING_VERSION!r}"
        )


def prepare(image: Image.Image) -> NDArray[np.uint8]:
    """Return the model's input for one cell image.

    Args:
        image: A decoded and validated RGB image of any size.

    Returns:
        Array (128, 128, 3) of uint8, RGB. The network scales it to -1..1 itself.

    Raises:
        ValueError: If the image is not in mode RGB.
    """
    return prepare_at(image, INPUT_SIZE)


def prepare_at(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Like :func:`prepare` for another side length; training zooms into the larger image."""
    if image.mode != "RGB":
        raise ValueError(f"image must be in mode RGB, received mode {image.mode!r}")
    return _balance_background(_resize_square(image, size))


def _resize_square(image: Image.Image, size: int) -> Image.Image:
    """Cut the central square and resize it with an antialiasing filter."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)


def _balance_background(image: Image.Image) -> NDArray[np.uint8]:
    """Scale each channel so that the mean background becomes neutral (von Kries adaptation)."""
    pixels = np.asarray(image)
    sample = pixels[::_SAMPLE_STEP, ::_SAMPLE_STEP].reshape(-1, 3)
    green = sample[:, 1]
    rank = int(BACKGROUND_PERCENTILE / 100.0 * (green.size - 1))
    limit = np.partition(green, rank)[rank]
    background = sample[green >= limit].mean(axis=0)
    gains = np.clip(BACKGROUND_LEVEL / np.maximum(background, 1.0), *GAIN_LIMITS)
    table = np.clip(np.rint(np.arange(256.0) * gains[:, None]), 0, 255).astype(np.uint8)
    return np.asarray(image.point(table.reshape(-1).tolist()))
