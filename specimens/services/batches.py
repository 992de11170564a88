"""What a worker has in hand: a claim, and what the decoders made of its images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from classifier.decision import CellPrediction
from classifier.imaging.decode import PreparedImage
from classifier.imaging.pool import Answer
from classifier.imaging.refusal import ImageRefused
from classifier.models import ModelVersion
from specimens.models import CellImage, Job, Prediction
from specimens.services.queue import Claim

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """A claim and what the decoders made of its images, in its order."""

    claim: Claim
    prepared: list[Answer] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    @property
    def images(self) -> list[tuple[Job, PreparedImage]]:
        pairs = zip(self.claim.jobs, self.prepared, strict=True)
        return [(job, answer) for job, answer in pairs if isinstance(answer, PreparedImage)]

    @property
    def failures(self) -> list[tuple[Job, str, str]]:
        pairs = zip(self.claim.jobs, self.prepared, strict=True)
        return [
            (job, answer.code, answer.message)
            for job, answer in pairs
            if isinstance(answer, ImageRefused)
        ]

    @property
    def urgency(self) -> int:
        """How urgent most of it is; it may hold a place of another urgency."""
        return int(self.claim.jobs[len(self.claim.jobs) // 2].priority)


def prediction_of(
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
