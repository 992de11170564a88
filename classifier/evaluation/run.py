"""Classifies labelled images as the service does: its decoders, preprocessing, engine, decision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.decision import CellPrediction
from classifier.engines import Engine
from classifier.evaluation.appearance import Appearance, measure
from classifier.evaluation.cell_region import find_cell, optical_density
from classifier.evaluation.explanation import mass_on_cell
from classifier.evaluation.labelled import LabelledFile
from classifier.imaging.decode import PreparedImage
from classifier.imaging.pool import DecoderPool
from classifier.preprocessing import prepare

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Judged:
    """One image that was classified.

    Attributes:
        file: what was read, and its label.
        prediction: what the service would have said.
        appearance: how the picture looks, as it was taken.
        on_cell: share of the explanation on the cell; None where no cell was found.
        cell_area: share of the prepared image inside the cell; None as well.
        picture: a small JPEG of it, as it was taken; None for drawn pictures.
    """

    file: LabelledFile
    prediction: CellPrediction
    appearance: Appearance
    on_cell: float | None
    cell_area: float | None
    picture: Path | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """An image that could not be classified, and why."""

    file: LabelledFile
    reason: str


@dataclass(frozen=True)
class Evaluated:
    """The images of one set."""

    judged: Sequence[Judged]
    unread: Sequence[Unread] = ()

    def __len__(self) -> int:
        return len(self.judged)

    def select(self, wanted: Callable[[Judged], bool]) -> Evaluated:
        """Those of the classified images that are wanted."""
        return Evaluated([one for one in self.judged if wanted(one)])

    @cached_property
    def known(self) -> Evaluated:
        """The images of the five classes."""
        return self.select(lambda one: one.file.label >= 0)

    @cached_property
    def foreign(self) -> Evaluated:
        """The images of none of the five classes."""
        return self.select(lambda one: one.file.label < 0)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        return np.array([one.file.label for one in self.judged], dtype=np.int64)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        rows = [one.prediction.probabilities for one in self.judged]
        return np.array(rows, dtype=np.float64).reshape(len(rows), -1)

    @cached_property
    def ood_scores(self) -> NDArray[np.float64]:
        return np.array([one.prediction.ood_score for one in self.judged], dtype=np.float64)

    @cached_property
    def abstained(self) -> NDArray[np.bool_]:
        return np.array([bool(one.prediction.reasons) for one in self.judged], dtype=np.bool_)

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        return np.array([one.file.group for one in self.judged], dtype=np.str_)


def classify_files(
    files: Sequence[LabelledFile],
    engine: Engine,
    pool: DecoderPool,
    scratch: Path,
    progress: Callable[[int], object] = lambda count: None,
) -> Evaluated:
    """Classify files; one batch of pixels in memory at a time.

    Args:
        files: what to read.
        engine: with the model loaded.
        pool: decodes under limits; what it refuses is listed, not raised.
        scratch: folder for the small pictures; the caller removes it when they are used.
        progress: called with the number of files after each batch.
    """
    judged: list[Judged] = []
    unread: list[Unread] = []
    for start in range(0, len(files), _BATCH):
        batch = files[start : start + _BATCH]
        pictures = [scratch / f"{len(judged)}-{start + index}.jpg" for index in range(len(batch))]
        answers = pool.prepare([(f.path, p) for f, p in zip(batch, pictures, strict=True)])
        readable = []
        for file, picture, answer in zip(batch, pictures, answers, strict=True):
            if isinstance(answer, PreparedImage) and not answer.thumbnail_error:
                readable.append((file, picture, answer))
            else:
                reason = (
                    answer.message
                    if not isinstance(answer, PreparedImage)
                    else (f"Its small picture could not be written: {answer.thumbnail_error}.")
                )
                unread.append(Unread(file, reason))
        predictions = (
            engine.classify(np.stack([a.pixels for *_, a in readable])) if readable else []
        )
        judged += [
            _judge(file, prediction, answer.pixels, picture, min(answer.width, answer.height))
            for (file, picture, answer), prediction in zip(readable, predictions, strict=True)
        ]
        progress(len(batch))
    return Evaluated(judged, unread)


def classify_drawn(pictures: Iterable[tuple[str, Image.Image]], engine: Engine) -> Evaluated:
    """Classify pictures that come from no file: pairs of the kind and the RGB picture."""
    judged: list[Judged] = []
    for kind, image in pictures:
        pixels = prepare(image)
        (prediction,) = engine.classify(pixels[None])
        file = LabelledFile(Path(f"{kind}-{len(judged)}"), kind, -1)
        appearance = measure(image, min(image.size))
        judged.append(Judged(file, prediction, appearance, None, None))
    return Evaluated(judged)


def _judge(
    file: LabelledFile,
    prediction: CellPrediction,
    pixels: NDArray[np.uint8],
    picture: Path,
    frame: int,
) -> Judged:
    with Image.open(picture) as image:
        appearance = measure(image.convert("RGB"), frame)
    region = find_cell(optical_density(Image.fromarray(pixels)))
    if region is None:
        return Judged(file, prediction, appearance, None, None, picture)
    on_cell = mass_on_cell(prediction.explanation, region)
    return Judged(file, prediction, appearance, on_cell, float(region.cell.mean()), picture)
