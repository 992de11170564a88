"""The worker: claims due jobs, decodes, classifies outside any transaction, writes results."""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from classifier.artifact import ModelArtifact
from classifier.decision import CellPrediction
from classifier.engines import create_engine
from classifier.imaging.decode import PreparedImage
from classifier.imaging.pool import Answer, DecoderPool
from classifier.imaging.refusal import ImageRefused
from classifier.models import ModelVersion
from classifier.registry import register_model_version
from specimens.models import CellImage, Job, Prediction
from specimens.services import results
from specimens.services.counters import WorkerCounters
from specimens.services.heartbeat import Heart
from specimens.services.image_files import keep_written, readable_path, writable_path
from specimens.services.queue import Claim, claim_jobs, finish_jobs, give_back_claim, return_job

logger = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Batch:
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


class ClassificationWorker:
    """One engine, its decoder processes and a heartbeat. Use as a context manager; then `drain`.

    Not for two threads at once: the engine runs one batch at a time. Threads of its own claim and
    decode the next batch, and write the last, while one is computed.
    """

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self.artifact = ModelArtifact.load(settings.MODEL_DIR)
        self.engine = create_engine(settings.ENGINE, settings.ENGINE_THREADS)
        self.decoders = DecoderPool(settings.DECODER_PROCESSES)
        self.counters = WorkerCounters()
        self._heart = Heart(
            worker=self.name,
            engine=self.engine.name,
            model_digest=self.artifact.digest,
            counters=self.counters,
        )
        # Of two threads that write at once, SQLite would turn one away.
        self._database = threading.Lock()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")

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
        for thread in (self._reader, self._writer):
            thread.submit(connection.close)
            thread.shutdown()
        self._heart.stop()
        self.decoders.__exit__(exception_type, exception, traceback)

    def drain(self) -> int:
        """Work until nothing is due; return how many jobs ended."""
        try:
            return self._drain()
        except BaseException:
            # What is in hand goes to another worker when its lease runs out.
            self._heart.let_go_of_all()
            raise

    def _drain(self) -> int:
        ended = 0
        while True:
            # The fresh ones are answered before anything else is asked of the database.
            ended += self._drain_fresh()
            # One that was tried before is alone: nothing else is in hand that it could take along.
            retried = self._read(retries=True)
            if not retried.claim.jobs:
                return ended
            ended += self._write(retried, self._classify(retried.claim, retried.images))

    def _drain_fresh(self) -> int:
        ended = 0
        batch = self._read()
        while batch.claim.jobs:
            if len(batch.claim.jobs) == settings.BATCH_SIZE:
                more, batch = self._run_full(batch)
                ended += more
            else:
                # Nothing waits behind it: whoever sent it is answered without a change of threads.
                ended += self._write(batch, self._classify(batch.claim, batch.images))
                batch = self._read()
        return ended

    def _run_full(self, batch: _Batch) -> tuple[int, _Batch]:
        """Compute full batches while the next is read and the last is written.

        Returns how many jobs ended, and the first batch that is not full.
        """
        ended = 0
        under_way: list[Future[Any]] = []
        try:
            while len(batch.claim.jobs) == settings.BATCH_SIZE:
                reading = self._reader.submit(_with_connection, self._read)
                under_way.append(reading)
                predictions = self._classify(batch.claim, batch.images)
                batch, done = reading.result(), batch
                # One write at a time: what piles up here would be lost with the process.
                ended += sum(writing.result() for writing in under_way[:-1])
                under_way = [
                    self._writer.submit(_with_connection, partial(self._write, done, predictions))
                ]
            return ended + under_way[0].result(), batch
        finally:
            wait(under_way)

    def _read(self, *, retries: bool = False) -> _Batch:
        """Claim what is due, and decode it."""
        started = time.perf_counter()
        limit = 1 if retries else settings.BATCH_SIZE
        with self._database:
            claim = claim_jobs(worker=self.name, limit=limit, retries=retries)
        if not claim.jobs:
            return _Batch(claim)
        self._heart.hold(claim.token)
        try:
            return _Batch(claim, self._prepare(claim), started)
        except OSError as error:
            # No image is to blame. The sweep rings again, and then perhaps the store is back.
            logger.warning("the image store is away", images=len(claim.jobs), error=error)
            with self._database:
                give_back_claim(token=claim.token)
            self._heart.let_go(claim.token)
            return _Batch(Claim(claim.token))
        except BaseException:
            self._heart.let_go(claim.token)
            raise

    def _write(self, batch: _Batch, predictions: Sequence[Prediction]) -> int:
        """Write what became of a batch, and wake who waits for it."""
        structlog.contextvars.clear_contextvars()
        failures = batch.failures
        try:
            with self._database:
                ended = finish_jobs(
                    token=batch.claim.token, predictions=predictions, failures=failures
                )
        finally:
            self._heart.let_go(batch.claim.token)
        results.announce(cell_image_ids=[job.cell_image_id for job in batch.claim.jobs])
        seconds = time.perf_counter() - batch.started
        self.counters.add_batch(predictions, [code for _, code, _ in failures], seconds)
        _log_batch(batch.claim, predictions, failures, seconds)
        return ended

    def _prepare(self, claim: Claim) -> list[Answer]:
        """Decode the images of a claim; raises OSError where the image store is away."""
        prepared = self.decoders.prepare([_paths(job.cell_image) for job in claim.jobs])
        for job in claim.jobs:
            keep_written(job.cell_image.thumbnail_name)
        return prepared

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


def _with_connection(work: Callable[[], T]) -> T:
    """Do a step in a thread of the worker; after a failure the database is called anew."""
    try:
        return work()
    except DatabaseError:
        connection.close()
        raise


def _paths(image: CellImage) -> tuple[Path, Path, int | None]:
    return (
        readable_path(str(image.file.name)),
        writable_path(image.thumbnail_name),
        image.frame,
    )
