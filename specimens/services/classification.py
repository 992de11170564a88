"""The worker: claims due jobs, decodes, classifies outside any transaction, writes results."""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import numpy as np
import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import DatabaseError, connection
from django.utils import timezone

from classifier.artifact import ModelArtifact
from classifier.decision import CellPrediction
from classifier.engines import create_engine
from classifier.imaging.decode import PreparedImage
from classifier.imaging.pool import DecoderPool
from classifier.imaging.refusal import ImageRefused
from classifier.models import ModelVersion
from classifier.registry import register_model_version
from specimens.models import CellImage, Job, Prediction, WorkerHeartbeat
from specimens.services.counters import WorkerCounters
from specimens.services.queue import (
    Claim,
    claim_jobs,
    extend_leases,
    finish_jobs,
    return_job,
)

logger = structlog.get_logger(__name__)


class ClassificationWorker:
    """One engine, its decoder processes and a heartbeat. Use as a context manager; then `drain`.

    Not for two threads at once: the engine runs one batch at a time.
    """

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self.artifact = ModelArtifact.load(settings.MODEL_DIR)
        self.engine = create_engine(settings.ENGINE, settings.ENGINE_THREADS)
        self.decoders = DecoderPool(settings.DECODER_PROCESSES)
        self.counters = WorkerCounters()
        self._heart = _Heart(self)

    def __enter__(self) -> "ClassificationWorker":
        self.engine.load(self.artifact)
        self.engine.warm_up([1, settings.BATCH_SIZE])
        self.decoders.__enter__()
        self.version: ModelVersion = register_model_version(self.artifact)
        self._heart.start()
        logger.info(
            "worker is ready",
            worker=self.name,
            engine=self.engine.name,
            model=str(self.version),
        )
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._heart.stop()
        self.decoders.__exit__(exception_type, exception, traceback)

    def drain(self) -> int:
        """Work until nothing is due; return how many jobs ended."""
        ended = 0
        while True:
            # The fresh ones are answered before anything else is asked of the database.
            fresh = claim_jobs(worker=self.name, limit=settings.BATCH_SIZE)
            ended += self._run(fresh)
            retried = claim_jobs(worker=self.name, limit=1, retries=True)
            ended += self._run(retried)
            if not fresh.jobs and not retried.jobs:
                return ended

    def _run(self, claim: Claim) -> int:
        if not claim.jobs:
            return 0
        structlog.contextvars.clear_contextvars()
        started = time.perf_counter()
        with self._heart.holding(claim.token):
            prepared = self.decoders.prepare([_paths(job.cell_image) for job in claim.jobs])
            failures = [
                (job, result.code, result.message)
                for job, result in zip(claim.jobs, prepared, strict=True)
                if isinstance(result, ImageRefused)
            ]
            images = [
                (job, result)
                for job, result in zip(claim.jobs, prepared, strict=True)
                if isinstance(result, PreparedImage)
            ]
            predictions = self._classify(claim, images)
            ended = finish_jobs(token=claim.token, predictions=predictions, failures=failures)
        seconds = time.perf_counter() - started
        self.counters.add_batch(predictions, [code for _, code, _ in failures], seconds)
        _log_batch(claim, predictions, failures, seconds)
        return ended

    def _classify(
        self, claim: Claim, images: Sequence[tuple[Job, PreparedImage]]
    ) -> list[Prediction]:
        """Classify a batch; where that fails, one by one, and give back what fails alone."""
        if not images:
            return []
        started = time.perf_counter()
        try:
            results = self.engine.classify(np.stack([image.pixels for _, image in images]))
        except Exception as error:
            logger.exception("the engine failed on a batch", images=len(images))
            if len(images) == 1:
                job = images[0][0]
                return_job(token=claim.token, job=job, code="engine_error", text=str(error))
                return []
            return [p for pair in images for p in self._classify(claim, [pair])]
        share = (time.perf_counter() - started) * 1000 / len(images)
        return [
            self._prediction(job, image, result, share)
            for (job, image), result in zip(images, results, strict=True)
        ]

    def _prediction(
        self, job: Job, image: PreparedImage, result: CellPrediction, milliseconds: float
    ) -> Prediction:
        if (job.cell_image.width, job.cell_image.height) != (image.width, image.height):
            # A DICOM file says its size only when decoded; an EXIF rotation exchanges the sides.
            CellImage.objects.filter(pk=job.cell_image_id).update(
                width=image.width, height=image.height
            )
        return Prediction(
            cell_image_id=job.cell_image_id,
            model_version=self.version,
            predicted_class=result.predicted_class,
            decision=result.decision,
            reasons=list(result.reasons),
            confidence=result.confidence,
            probabilities=[round(p, 6) for p in result.probabilities],
            ood_score=result.ood_score,
            embedding=result.embedding.astype("<f2").tobytes(),
            explanation=result.explanation.tobytes(),
            shown=[round(part, 5) for part in image.shown],
            engine=self.engine.name,
            milliseconds=milliseconds,
        )


def _log_batch(
    claim: Claim,
    predictions: Sequence[Prediction],
    failures: Sequence[tuple[Job, str, str]],
    seconds: float,
) -> None:
    structlog.contextvars.clear_contextvars()  # of the last specimen that moved on
    logger.info(
        "batch",
        jobs=[job.pk for job in claim.jobs],
        classified=len(predictions),
        failed={job.pk: code for job, code, _ in failures},
        ms=round(seconds * 1000, 1),
        engine_ms=round(sum(prediction.milliseconds for prediction in predictions), 1),
    )


def _paths(image: CellImage) -> tuple[Path, Path, int | None]:
    return (
        Path(default_storage.path(str(image.file.name))),
        Path(default_storage.path(image.thumbnail_name)),
        image.frame,
    )


class _Heart:
    """A thread that says the worker lives and prolongs the leases it holds.

    In Celery's solo pool neither pings nor time limits work: this is what health rests on.
    """

    def __init__(self, worker: ClassificationWorker) -> None:
        self._worker = worker
        self._tokens: set[uuid.UUID] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)
        self._interval = max(0.5, min(3.0, settings.LEASE_SECONDS / 3))

    @contextmanager
    def holding(self, token: uuid.UUID) -> Iterator[None]:
        self._tokens.add(token)
        try:
            yield
        finally:
            self._tokens.discard(token)

    def start(self) -> None:
        self._beat(started=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        WorkerHeartbeat.objects.filter(worker=self._worker.name).delete()

    def _beat_on(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._beat()
            except DatabaseError as error:
                logger.warning("heartbeat: the database cannot be reached", error=error)
                connection.close()
        connection.close()

    def _beat(self, *, started: bool = False) -> None:
        now = timezone.now()
        if started:
            day_ago = now - timedelta(days=1)
            WorkerHeartbeat.objects.filter(seen_at__lt=day_ago).delete()
        WorkerHeartbeat.objects.update_or_create(
            worker=self._worker.name,
            defaults={"seen_at": now, "counters": self._worker.counters.snapshot()},
            create_defaults={
                "seen_at": now,
                "started_at": now,
                "engine": self._worker.engine.name,
                "model_digest": self._worker.artifact.digest,
            },
        )
        if tokens := list(self._tokens):
            extend_leases(tokens=tokens)
