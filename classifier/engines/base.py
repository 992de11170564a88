"""What every engine offers, and what all of them do alike."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from classifier.artifact import ModelArtifact
from classifier.decision import CellPrediction
from classifier.preprocessing import INPUT_SIZE

ImageArray = npt.NDArray[np.uint8]


class EngineUnavailableError(Exception):
    """The runtime of an engine is not installed; the message says what to install."""


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

    def classify(self, images: ImageArray) -> list[CellPrediction]:
        """Predictions in the order of the images.

        Args:
            images: uint8 (n, 128, 128, 3) from `classifier.preprocessing.prepare`; n may be 0 and
                may exceed what the engine computes at once.

        Raises:
            ValueError: another shape or type, or the network returned NaN.
            RuntimeError: no model is loaded.
        """


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
