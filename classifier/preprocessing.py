"""The one way an image becomes the input of the model, for training, serving and evaluation.

The steps are part of the model: a model trained with one version of them must not be served with
another. ``PREPROCESSING_VERSION`` names this version and stands in the ``metadata.json`` of every
exported model; compare with :func:`require_version` when one is loaded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.localisation import SEARCH_SIZE, Floats, FoundCell, limited, locate_cell

PREPROCESSING_VERSION = "cell-128-stain-2"
INPUT_SIZE = 128

# The background of a smear is made to look like this, whatever the lamp and the camera.
BACKGROUND_LEVEL = 235.0
# The part of the pixels taken for background: brightest in green, where all stained matter is dark.
BACKGROUND_PERCENTILE = 90.0
# A frame without visible background must not be bleached or dyed beyond recognition.
GAIN_LIMITS = (0.70, 1.80)
# Optical density of the nucleus in red and green: how deep the stain is made to look. Blue stays as
# it is: some cameras see nuclei as bright there as the background, and nothing would be scaled.
NUCLEUS_DENSITY = np.array([1.2, 2.0], np.float32)
DENSITY_LIMITS = (0.4, 2.5)
# Training keeps this much more around the crop than serving shows, to shift, turn and zoom.
TRAINING_MARGIN = 1.5
# An image more than twice as large as this many times what is wanted is averaged first.
REDUCING_GAP = 2.0

_VALUES = np.arange(256.0)


class PreprocessingMismatchError(ValueError):
    """A model was made for another version of the preprocessing."""


def require_version(version: str) -> None:
    """Raise :class:`PreprocessingMismatchError` unless ``version`` is the one implemented here."""
    if version != PREPROCESSING_VERSION:
        raise PreprocessingMismatchError(
            f"the model expects preprocessing {version!r}, this release implements "
            f"{PREPROCESSING_VERSION!r}"
        )


class Shown(NamedTuple):
    """The square of an image that the model saw, in parts of the image's central square (0..1)."""

    left: float
    top: float
    side: float


WHOLE = Shown(0.0, 0.0, 1.0)


class Reduced(NamedTuple):
    """A picture made smaller by `Image.reduce`: averages of `factor` x `factor` pixels."""

    image: Image.Image
    factor: int


class ModelInput(NamedTuple):
    """What the model gets of an image: uint8 (128, 128, 3), RGB, and where it was taken from."""

    pixels: NDArray[np.uint8]
    shown: Shown


def prepare(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of :func:`prepare_input`."""
    return prepare_input(image).pixels


def prepare_input(image: Image.Image, reduced: Reduced | None = None) -> ModelInput:
    """Return the model's input for one cell image.

    The cell is found and cropped to a scale of its own, the background becomes neutral, the nucleus
    equally deep in red and green: two points on the scale of optical density of each channel.

    Args:
        image: A decoded and validated RGB image of any size.
        reduced: The same image made smaller, where the caller has it: it may save doing that anew
            and changes nothing else.

    Returns:
        The pixels (the network scales them to -1..1 itself) and the square they show.

    Raises:
        ValueError: If the image is not in mode RGB.
    """
    return _prepare(image, INPUT_SIZE, margin=1.0, reduced=reduced)


def prepare_at(image: Image.Image, size: int, *, margin: float = 1.0) -> NDArray[np.uint8]:
    """Like :func:`prepare` for another side length, with ``margin`` times as much in view.

    What lies outside the image is filled by repeating its border.
    """
    return _prepare(image, size, margin).pixels


def _prepare(
    image: Image.Image, size: int, margin: float, reduced: Reduced | None = None
) -> ModelInput:
    if image.mode != "RGB":
        raise ValueError(f"image must be in mode RGB, received mode {image.mode!r}")
    frame = _pixels(_search_frame(image, reduced))
    background = background_colour(frame)
    cell = locate_cell(frame, background)
    crop = _pixels(_resize_crop(image, cell, size, margin))
    pixels = np.empty_like(crop)
    for channel, values in enumerate(_colour_table(background, cell.nucleus)):
        pixels[..., channel] = values.take(crop[..., channel])
    return ModelInput(pixels, Shown(cell.left, cell.top, cell.side))


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels (height, width, 3), which nobody may write to."""
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, 3)


def _search_frame(image: Image.Image, reduced: Reduced | None) -> Image.Image:
    """Return the central square at the size that is searched."""
    left, top, side = central_square(image)
    box: tuple[float, float, float, float] = (left, top, left + side, top + side)
    # What `resize` would do first: reduce by this factor the square and what the filter reaches
    # beyond it (half a pixel of the frame), which is the whole image if so little is cut off.
    factor = int(side / SEARCH_SIZE / REDUCING_GAP)
    if reduced and reduced.factor == factor and max(left, top) < side / SEARCH_SIZE / 2:
        image = reduced.image
        box = (left / factor, top / factor, (left + side) / factor, (top + side) / factor)
    return image.resize(
        (SEARCH_SIZE, SEARCH_SIZE), Image.Resampling.BILINEAR, box, reducing_gap=REDUCING_GAP
    )


def central_square(image: Image.Image) -> tuple[int, int, int]:
    """Return left, top and side of the largest square in the middle, in pixels."""
    width, height = image.size
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def background_colour(frame: NDArray[np.uint8]) -> Floats:
    """Return the mean colour (3,) of what is brightest in green, at least 1 in each channel."""
    pixels = frame.reshape(-1, 3)
    green = pixels[:, 1]
    rank = int(BACKGROUND_PERCENTILE / 100.0 * (green.size - 1))
    limit = np.bincount(green, minlength=256).cumsum().searchsorted(rank, side="right")
    bright = (green >= limit).astype(np.float32)
    # Sums of whole numbers: exact in whatever order, as they stay below 2**24.
    mean = bright @ pixels.astype(np.float32) / np.add.reduce(bright)
    return np.asarray(np.maximum(mean, 1.0))


def _colour_table(background: Floats, nucleus: Floats) -> NDArray[np.uint8]:
    """Return the new value (3, 256) of each value of each channel.

    A gain of light makes the background neutral (von Kries adaptation), a gain of optical density
    the nucleus as deep as :data:`NUCLEUS_DENSITY` (Lambert-Beer: a stain's density is its amount).
    """
    gains = limited(BACKGROUND_LEVEL / background, *GAIN_LIMITS)
    light = limited(_VALUES * gains[:, None] / BACKGROUND_LEVEL, 0.01, 1.2)
    light[:2] **= limited(NUCLEUS_DENSITY / np.maximum(nucleus, 0.05), *DENSITY_LIMITS)[:, None]
    values = np.minimum(np.rint(BACKGROUND_LEVEL * light), 255.0)
    return np.asarray(values, np.uint8)


def _resize_crop(image: Image.Image, cell: FoundCell, size: int, margin: float) -> Image.Image:
    """Cut the square around the cell and resize it with an antialiasing filter."""
    left, top, side = central_square(image)
    extra = (margin - 1.0) / 2.0 * cell.side
    x, y = left + (cell.left - extra) * side, top + (cell.top - extra) * side
    width = margin * cell.side * side
    over = max(-x, -y, x + width - image.width, y + width - image.height)
    if over > 0.0:
        pad = int(np.ceil(over)) + 1
        padded = np.pad(np.asarray(image), ((pad, pad), (pad, pad), (0, 0)), mode="edge")
        image, x, y = Image.fromarray(padded), x + pad, y + pad
    box = (x, y, x + width, y + width)
    return image.resize((size, size), Image.Resampling.BILINEAR, box, reducing_gap=REDUCING_GAP)
