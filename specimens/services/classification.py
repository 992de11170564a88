"""The worker: claims due jobs, decodes, classifies outside any transaction, writes results."""

import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeVar

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
from specimens.services.head_start import HeadStart
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
# How often a worker that waits for its engine looks for what is more urgent.
_LOOK_SECONDS: Final = 0.02


class _UnderWay(NamedTuple):
    """What becomes of a batch that is with the engine: its predictions, and how many jobs ended."""

    computed: Future[list[Prediction]]
    written: Future[int]


class ClassificationWorker:
    """One engine, its decoder processes and a heartbeat. Use as a context manager; then `drain`.

    Not for two threads at once. Threads of its own wait for one batch and write the last, while the
    next is claimed and decoded.
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
        self._head_start: HeadStart | None = None
        self._since_retry = 0
        # Of two threads that use it at once, SQLite would turn one away.
        sqlite = connection.vendor == "sqlite"
        self._database: AbstractContextManager[Any] = threading.Lock() if sqlite else nullcontext()
        self._waiter = ThreadPoolExecutor(1, thread_name_prefix="waiter")
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
        for thread in (self._waiter, self._writer):
            thread.submit(connections.close_all)
            thread.shutdown()
        self._heart.stop()
        self.decoders.__exit__(exception_type, exception, traceback)

    def give_head_start(self, names: Sequence[str]) -> None:
        """Begin with images that will be on record in a moment; names of files in the image store.

        Never raises: what fails here is met again, and dealt with, once they are claimed.
        """
        before, self._head_start = self._head_start, None
        try:
            if before is not None:
                before.discard()
            self._head_start = HeadStart(names, self.decoders, self.engine)
        except Exception as error:
            logger.warning("no head start", images=len(names), error=error)

    def drain(self, stopped: threading.Event | None = None) -> int:
        """Work until nothing is due, or `stopped`; return how many jobs ended.

        What has been claimed by then is computed and written.
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
            if len(batch.claim.jobs) > 1:
                more, batch = self._stream(batch)
            else:
                # Nothing waits behind it: who sent it is answered without a change of threads.
                ended += self._run(batch)
                if not batch.claim.jobs:  # given back
                    break
                more, batch = self._next()
            ended += more
        return ended, batch is None

    def _stream(self, batch: Batch) -> tuple[int, Batch | None]:
        """Hand one batch after the other to the engine, so that no core waits for the next.

        While one is computed the next is claimed and decoded, and the last is written. Returns how
        many jobs ended, and what came instead of a next batch: an empty one, or None as `_next`.
        """
        ended = 0
        under_way: deque[_UnderWay] = deque()
        following: Batch | None = batch
        try:
            while following is not None and following.claim.jobs:
                batch = following
                computation = self._begin(batch)
                if not batch.claim.jobs:  # given back
                    break
                under_way.append(self._hand_over(batch, computation))
                # One write at a time: what piles up here would be lost with the process.
                while len(under_way) > 2:
                    ended += under_way.popleft().written.result()
                # Two batches in the engine keep all cores busy to the end of the first; more would
                # only keep out what is more urgent.
                before = under_way[-2] if len(under_way) > 1 else None
                more, following = self._next(before, batch.urgency)
                ended += more
            return ended + sum(each.written.result() for each in under_way), following
        finally:
            wait([each.written for each in under_way])

    def _hand_over(self, batch: Batch, computation: Computation) -> "_UnderWay":
        """Have a batch that is with the engine waited for and written, in threads of their own."""
        computed = self._waiter.submit(_with_connection, partial(self._predict, batch, computation))
        written = self._writer.submit(
            _with_connection, lambda: self._write(batch, computed.result())
        )
        return _UnderWay(computed, written)

    def _next(self, before: _UnderWay | None = None, urgency: int = 0) -> tuple[int, Batch | None]:
        """Claim a batch, once the one before the last is computed.

        Until then, do what is more urgent than the last and came later: at most one batch of it, so
        that clients who never stop do not keep others out. Returns how many jobs ended, and the
        batch; None instead where one that was tried before has its turn or the worker is to stop.
        """
        ended, room = 0, settings.BATCH_SIZE
        self._since_retry += 1
        while True:
            ready = before is None or bool(wait([before.computed], _LOOK_SECONDS).done)
            with self._database:
                fresh, retried = most_urgent_waiting()
            turn = NOTHING_WAITS if self._since_retry >= _RETRY_EVERY else fresh
            if retried < turn or self._stopped.is_set():
                return ended, None
            if fresh < urgency and room > 0:
                urgent = self._claim(limit=room, more_urgent_than=urgency)
                room -= len(urgent.claim.jobs)
                ended += self._run(urgent, ahead=True)
            elif ready:
                return ended, Batch.none() if fresh == NOTHING_WAITS else self._claim()

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

    def _begin(self, batch: Batch, *, ahead: bool = False) -> Computation:
        """Decode a batch, of which the engine begins with what it has, unless it has begun."""
        head_start = self._head_start
        if head_start is not None and head_start.hand_over(batch):
            self._head_start = None
            return head_start.computation
        computation = self.engine.begin(len(batch.claim.jobs), ahead=ahead)
        self._decode(batch, computation)
        return computation

    def _decode(self, batch: Batch, computation: Computation) -> None:
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

    def _run(self, batch: Batch, *, ahead: bool = False) -> int:
        """Compute and write a batch in this thread; return how many jobs ended."""
        if not batch.claim.jobs:
            return 0
        computation = self._begin(batch, ahead=ahead)
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
        results.announce(
            cell_image_ids=[job.cell_image_id for job in batch.claim.jobs],
            predictions=batch.waited_for(predictions, ended),
        )
        seconds = time.perf_counter() - batch.started
        self.counters.add_batch(predictions, [code for _, code, _ in failures], seconds)
        log_batch(batch, predictions, seconds)
        return ended

    def _predict(self, batch: Batch, computation: Computation) -> list[Prediction]:
        """Wait for a batch; where that fails, compute its images one by one."""
        if not batch.images:
            return []
        try:
            if batch.error is not None:
                raise batch.error
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
        alone = [replace(batch, images=[pair], error=None) for pair in batch.images]
        return [found for one in alone for found in self._predict(one, self._again(one))]

    def _again(self, batch: Batch) -> Computation:
        """Begin a batch whose images are decoded."""
        computation = self.engine.begin(len(batch.images))
        batch.compute(computation)
        return computation


def _with_connection(work: Callable[[], T]) -> T:
    """Do a step in a thread of the worker; after a failure the database is called anew."""
    try:
        return work()
    except DatabaseError:
        connection.close()
        raise
