"""What a worker has in hand: a claim, and what the decoders made of its images."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from classifier.decision import CellPrediction
from classifier.engines.base import Computation
from classifier.imaging.decode import PreparedImage
from classifier.imaging.pool import Answer, DecoderPool
from classifier.models import ModelVersion
from specimens.models import CellImage, Job, Prediction
from specimens.services.image_files import keep_written, readable_path, writable_path
from specimens.services.queue import Claim

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class Batch:
    """A claim, and what became of its images: ready for the engine, or refused with code and text.

    Attributes:
        claim: empty where nothing was due, or was given back.
        images: in the order in which they were decoded; before that, nothing.
        failures: the same.
        error: why the engine did not take one of the images; it has none of those behind it.
        started: when it was claimed.
    """

    claim: Claim
    images: list[tuple[Job, PreparedImage]] = field(default_factory=list)
    failures: list[tuple[Job, str, str]] = field(default_factory=list)
    error: Exception | None = None
    started: float = field(default_factory=time.perf_counter)

    @classmethod
    def none(cls) -> "Batch":
        """What there is where nothing is due."""
        return cls(Claim(uuid.uuid4()))

    def take(self, place: int, answer: Answer, computation: Computation | None = None) -> None:
        """Note what became of the image at this place of the claim.

        It is computed in `computation`; it is under way already where there is none.
        """
        job = self.claim.jobs[place]
        if not isinstance(answer, PreparedImage):
            self.failures.append((job, answer.code, answer.message))
            return
        self.images.append((job, answer))
        if computation is not None:
            self._add(answer, computation)

    def compute(self, computation: Computation) -> None:
        """Have the images that are decoded computed anew."""
        for _, image in self.images:
            self._add(image, computation)

    def _add(self, image: PreparedImage, computation: Computation) -> None:
        if self.error is not None:
            return
        try:
            computation.add(image.pixels)
        except Exception as error:
            # Too few threads, or too little memory: the decoders go on, and what is done about
            # batches that fail is done once all images are there.
            self.error = error

    def empty(self) -> None:
        """Forget what was given back."""
        self.claim = Claim(self.claim.token)
        self.images.clear()
        self.failures.clear()

    def waited_for(self, predictions: Sequence[Prediction], ended: int) -> list[Prediction]:
        """Return the predictions that clients wait for: their images belong to no specimen.

        None of them unless all jobs `ended` by this claim: another worker's result may stand.
        """
        if ended < len(self.claim.jobs):
            return []
        images = {job.cell_image_id for job in self.claim.jobs if job.specimen_id is None}
        return [one for one in predictions if one.cell_image_id in images]

    @property
    def urgency(self) -> int:
        """How urgent most of it is; it may hold a place of another urgency."""
        return int(self.claim.jobs[len(self.claim.jobs) // 2].priority)


def decode(batch: Batch, decoders: DecoderPool, computation: Computation) -> None:
    """Decode the images of a claim; each goes to the engine as it comes.

    Raises OSError where the image store is away.
    """
    images = [job.cell_image for job in batch.claim.jobs]
    for place, answer in decoders.answers([paths_of(image) for image in images]):
        batch.take(place, answer, computation)
    for image in images:
        keep_written(image.thumbnail_name)


def paths_of(image: CellImage) -> tuple[Path, Path, int | None]:
    """Return where a decoder reads the image and writes its thumbnail, and its frame, if any."""
    return (
        readable_path(str(image.file.name)),
        writable_path(image.thumbnail_name),
        image.frame,
    )


def predictions_of(
    batch: Batch,
    found: Sequence[CellPrediction],
    seconds: float,
    version: ModelVersion,
    engine: str,
) -> list[Prediction]:
    """Return what is written about a batch that took the engine so many seconds."""
    share = seconds * 1000 / len(found)
    return [
        _prediction(job, image, result, version, engine, share)
        for (job, image), result in zip(batch.images, found, strict=True)
    ]


def _prediction(
    job: Job,
    image: PreparedImage,
    result: CellPrediction,
    version: ModelVersion,
    engine: str,
    milliseconds: float,
) -> Prediction:
    """Return what is written about one cell image."""
    if (job.cell_image.width, job.cell_image.height) != (image.width, image.height):
        # A DICOM file says its size only when decoded; an EXIF rotation exchanges the sides.
        CellImage.objects.filter(pk=job.cell_image_id).update(
            width=image.width, height=image.height
        )
    return Prediction(
        cell_image_id=job.cell_image_id,
        model_version=version,
        predicted_class=result.predicted_class,
        decision=result.decision,
        reasons=list(result.reasons),
        confidence=result.confidence,
        probabilities=[round(p, 6) for p in result.probabilities],
        ood_score=result.ood_score,
        embedding=result.embedding.astype("<f2").tobytes(),
        explanation=result.explanation.tobytes(),
        shown=[round(part, 5) for part in image.shown],
        engine=engine,
        milliseconds=milliseconds,
    )


def log_batch(batch: Batch, predictions: Sequence[Prediction], seconds: float) -> None:
    """Write one line about a batch that has ended."""
    structlog.contextvars.clear_contextvars()  # of the last specimen that moved on
    logger.info(
        "batch",
        jobs=[job.pk for job in batch.claim.jobs],
        classified=len(predictions),
        failed={job.pk: code for job, code, _ in batch.failures},
        ms=round(seconds * 1000, 1),
        engine_ms=round(sum(prediction.milliseconds for prediction in predictions), 1),
    )
