"""What every engine offers, and what all of them do alike."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from classifier.artifact import ModelArtifact
from classifier.decision import CellPrediction
from classifier.preprocessing import INPUT_SIZE

ImageArray = npt.NDArray[np.uint8]


class EngineUnavailableError(Exception):
    """The runtime of an engine is not installed; the message says what to install."""


class Computation(Protocol):
    """A batch whose images arrive one after the other: an engine may begin before the last.

    Attributes:
        seconds: how long the engine took for the predictions, 0 before; not counted is what it
            waited for images.
    """

    seconds: float

    def add(self, image: ImageArray) -> None:
        """Take one image, uint8 (128, 128, 3).

        Raises:
            ValueError: another shape or type.
        """

    def predictions(self) -> list[CellPrediction]:
        """Wait for the predictions, in the order in which the images were added.

        Raises:
            ValueError: the network returned NaN.
        """


class Engine(Protocol):
    """A runtime with one model loaded.

    Use: `load` once, `warm_up` before reporting ready, then `classify` any number of times.
    """

    @property
    def name(self) -> str:
        """As in `ENGINE_NAMES`."""

    def load(self, artifact: ModelArtifact) -> None:
        """Load a verified model; a second call replaces the first model.

        Raises:
            EngineUnavailableError: the runtime is not installed.
            ModelArtifactError: the model lacks the file this runtime reads.
        """

    def warm_up(self, batch_sizes: Sequence[int] | None = None) -> None:
        """Run each batch size once, so that no image waits for a compilation.

        Args:
            batch_sizes: numbers of images; every size the engine distinguishes if None.
        """

    def begin(self, count: int, *, ahead: bool = False) -> Computation:
        """Begin a batch of `count` images; fewer may come, for some may turn out unreadable.

        Several batches may be under way. One that is begun `ahead` goes before what the engine has
        not started yet.

        Raises:
            RuntimeError: no model is loaded.
        """

    def classify(self, images: ImageArray) -> list[CellPrediction]:
        """Predictions in the order of the images.

        Args:
            images: uint8 (n, 128, 128, 3) from `classifier.preprocessing.prepare`; n may be 0 and
                may exceed what the engine computes at once.

        Raises:
            ValueError: another shape or type, or the network returned NaN.
            RuntimeError: no model is loaded.
        """


class Gathered:
    """The computation of an engine that begins when all images are there."""

    def __init__(self, classify: Callable[[ImageArray], list[CellPrediction]]) -> None:
        self.seconds = 0.0
        self._classify = classify
        self._images: list[ImageArray] = []

    def add(self, image: ImageArray) -> None:
        """See `Computation.add`."""
        check_images(image[np.newaxis])
        self._images.append(image)

    def predictions(self) -> list[CellPrediction]:
        """See `Computation.predictions`."""
        if not self._images:
            return []
        started = time.perf_counter()
        found = self._classify(np.stack(self._images))
        self.seconds = time.perf_counter() - started
        return found


def check_images(images: ImageArray) -> None:
    """Refuse what is not a batch of prepared images.

    Raises:
        ValueError: naming the shape and type received.
    """
    if images.ndim != 4 or images.shape[1:] != (INPUT_SIZE, INPUT_SIZE, 3):
        raise ValueError(
            f"images must have shape (n, {INPUT_SIZE}, {INPUT_SIZE}, 3), received {images.shape}"
        )
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, received {images.dtype}")


def batches(images: ImageArray, size: int) -> Iterator[ImageArray]:
    """The images in pieces of at most `size`; nothing for no images."""
    for start in range(0, len(images), size):
        yield images[start : start + size]
