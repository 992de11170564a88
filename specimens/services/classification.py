"""The worker: claims due jobs, decodes, classifies outside any transaction, writes results."""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar

import structlog
from django.conf import settings
from django.db import DatabaseError, connection, connections

from classifier.artifact import ModelArtifact
from classifier.engines import create_engine
from classifier.engines.base import Computation
from classifier.imaging.pool import DecoderPool
from classifier.models import ModelVersion
from classifier.registry import register_model_version
from specimens.models import Prediction
from specimens.services import results
from specimens.services.batches import Batch, decode, log_batch, predictions_of
from specimens.services.counters import WorkerCounters
from specimens.services.heartbeat import Heart
from specimens.services.queue import (
    NOTHING_WAITS,
    claim_jobs,
    give_back_claim,
    most_urgent_waiting,
    return_job,
)
from specimens.services.queue_exit import finish_jobs

logger = structlog.get_logger(__name__)

T = TypeVar("T")

# Of so many batches one makes room for a job that was tried before, however long an import is.
_RETRY_EVERY: Final = 16


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
        self._since_retry = 0
        # Of two threads that use it at once, SQLite would turn one away.
        sqlite = connection.vendor == "sqlite"
        self._database: AbstractContextManager[Any] = threading.Lock() if sqlite else nullcontext()
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
            thread.submit(connections.close_all)
            thread.shutdown()
        self._heart.stop()
        self.decoders.__exit__(exception_type, exception, traceback)

    def drain(self, stopped: threading.Event | None = None) -> int:
        """Work until nothing is due, or `stopped`; return how many jobs ended.

        What has been computed by then is written; what was read ahead is given back.
        """
        self._stopped = stopped or threading.Event()
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
            more, left = self._drain_fresh()
            ended += more
            if self._stopped.is_set():
                return ended
            # One that was tried before is alone: nothing else is in hand that it could take along.
            retried = self._claim(retries=True)
            self._since_retry = 0
            ended += self._run(retried)
            if not retried.claim.jobs and not left:
                return ended

    def _drain_fresh(self) -> tuple[int, bool]:
        """Work until nothing fresh is due, or one that was tried before has its turn.

        Returns how many jobs ended, and whether fresh ones may be left.
        """
        ended = 0
        batch: Batch | None = self._claim()
        while batch is not None and batch.claim.jobs:
            if len(batch.claim.jobs) == settings.BATCH_SIZE:
                more, batch = self._run_full(batch)
            else:
                # Nothing waits behind it: whoever sent it is answered without a change of threads.
                ended += self._run(batch)
                if not batch.claim.jobs:  # given back
                    break
                more, batch = self._let_pass(self._claim())
            ended += more
        return ended, batch is None

    def _run_full(self, batch: Batch) -> tuple[int, Batch | None]:
        """Compute full batches while the next is read and the last is written.

        Returns how many jobs ended, and the first batch that is not full, or None as `_let_pass`.
        """
        ended = 0
        following: Batch | None = batch
        under_way: list[Future[Any]] = []
        try:
            while following is not None and len(following.claim.jobs) == settings.BATCH_SIZE:
                batch = following
                computation = self._begin(batch)
                if not batch.claim.jobs:  # given back
                    break
                reading = self._reader.submit(_with_connection, self._read)
                under_way.append(reading)
                predictions = self._predict(batch, computation)
                following = reading.result()
                # One write at a time: what piles up here would be lost with the process.
                ended += sum(writing.result() for writing in under_way[:-1])
                under_way = [
                    self._writer.submit(_with_connection, partial(self._write, batch, predictions))
                ]
                more, following = self._let_pass(following)
                ended += more
            return ended + sum(writing.result() for writing in under_way), following
        finally:
            wait(under_way)

    def _let_pass(self, batch: Batch) -> tuple[int, Batch | None]:
        """Before a batch that was read ahead is computed, do what is more urgent and came later.

        At most one batch of it, so that clients who never stop do not keep others out. Returns how
        many jobs ended, and the batch; None where it was given back, because one that was tried
        before has its turn or the worker is to stop.
        """
        ended, room = 0, settings.BATCH_SIZE
        self._since_retry += 1
        while batch.claim.jobs and room > 0:
            with self._database:
                fresh, retried = most_urgent_waiting()
            turn = NOTHING_WAITS if self._since_retry >= _RETRY_EVERY else batch.urgency
            if retried < turn or self._stopped.is_set():
                self._give_back(batch)
                return ended, None
            if fresh >= batch.urgency:
                break
            urgent = self._claim(limit=room, more_urgent_than=batch.urgency)
            ended += self._run(urgent)
            if not urgent.claim.jobs:  # another worker was first, or it was given back
                break
            room -= len(urgent.claim.jobs)
        return ended, batch

    def _claim(
        self, *, limit: int = 0, retries: bool = False, more_urgent_than: int | None = None
    ) -> Batch:
        """Claim what is due."""
        started = time.perf_counter()
        with self._database:
            claim = claim_jobs(
                worker=self.name,
                limit=1 if retries else limit or settings.BATCH_SIZE,
                retries=retries,
                more_urgent_than=more_urgent_than,
            )
        if claim.jobs:
            self._heart.hold(claim.token)
        return Batch(claim, started=started)

    def _read(self) -> Batch:
        """Claim what is due, and decode it while the engine has other work."""
        batch = self._claim()
        self._decode(batch)
        return batch

    def _begin(self, batch: Batch) -> Computation:
        """Have a batch computed; what has not been decoded goes to the engine image by image."""
        computation = self.engine.begin(len(batch.claim.jobs))
        if batch.decoded:
            for _, image in batch.images:
                computation.add(image.pixels)
        else:
            self._decode(batch, computation)
        return computation

    def _decode(self, batch: Batch, computation: Computation | None = None) -> None:
        """Decode the images of a claim; where the image store is away, give the claim back."""
        try:
            decode(batch, self.decoders, computation)
        except OSError as error:
            # No image is to blame. The sweep rings again, and then perhaps the store is back.
            logger.warning("the image store is away", images=len(batch.claim.jobs), error=error)
            self._give_back(batch)
        except BaseException:
            self._heart.let_go(batch.claim.token)
            raise

    def _give_back(self, batch: Batch) -> None:
        with self._database:
            give_back_claim(token=batch.claim.token)
        self._heart.let_go(batch.claim.token)
        batch.empty()

    def _run(self, batch: Batch) -> int:
        """Compute and write a batch with nothing beside it; return how many jobs ended."""
        if not batch.claim.jobs:
            return 0
        computation = self._begin(batch)
        if not batch.claim.jobs:  # given back
            return 0
        return self._write(batch, self._predict(batch, computation))

    def _write(self, batch: Batch, predictions: Sequence[Prediction]) -> int:
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
        log_batch(batch, predictions, seconds)
        return ended

    def _predict(self, batch: Batch, computation: Computation) -> list[Prediction]:
        """Wait for a batch; where that fails, compute its images one by one."""
        if not batch.images:
            return []
        try:
            found = computation.predictions()
        except Exception as error:
            logger.exception("the engine failed on a batch", images=len(batch.images))
            return self._one_by_one(batch, error)
        return predictions_of(batch, found, computation.seconds, self.version, self.engine.name)

    def _one_by_one(self, batch: Batch, error: Exception) -> list[Prediction]:
        """Compute what failed together; what fails alone is given back."""
        if len(batch.images) == 1:
            job, token = batch.images[0][0], batch.claim.token
            with self._database:
                return_job(token=token, job=job, code="engine_error", text=str(error))
            return []
        alone = [replace(batch, images=[pair]) for pair in batch.images]
        return [found for one in alone for found in self._predict(one, self._begin(one))]


def _with_connection(work: Callable[[], T]) -> T:
    """Do a step in a thread of the worker; after a failure the database is called anew."""
    try:
        return work()
    except DatabaseError:
        connection.close()
        raise
