"""Tells who waits for a class that it is there, from the worker to the web process.

The message names cell images and nothing else: the result is what the database says. A message that
is lost costs the waiting request a pause of up to half a second, and nothing else.
"""

import contextlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import redis
from django.conf import settings
from django.db import connection

from classifier.models import ModelVersion
from specimens.models import CellImage, Job, Prediction
from specimens.selectors.written_out import Columns, parted, rows
from specimens.services.broker import broker
from specimens.services.doorbell import PipeListener

logger = logging.getLogger(__name__)

CHANNEL: Final = "wbclab.results"
# In one message: a pipe takes 4 KiB whole or not at all.
_AT_ONCE: Final = 200
# What came before its image was waited for; more than all calls of a process have under way.
_REMEMBERED: Final = 10_000
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 1.0
# What a waiting client is shown, which is less than half of the row.
_PREDICTION: Final = Columns(
    Prediction,
    "p",
    [
        "id",
        "cell_image_id",
        "model_version_id",
        "predicted_class",
        "decision",
        "reasons",
        "confidence",
        "probabilities",
        "ood_score",
        "engine",
        "milliseconds",
        "created_at",
    ],
)
_MODEL: Final = Columns(ModelVersion, "v", ["id", "name", "version"])
_COLUMNS: Final = f"{_PREDICTION.sql}, {_MODEL.sql}"
_PREDICTIONS: Final = """
SELECT {columns}
FROM specimens_prediction p JOIN classifier_modelversion v ON v.id = p.model_version_id
WHERE p.cell_image_id IN ({places}) ORDER BY p.id
"""


def announce(*, cell_image_ids: Sequence[int]) -> None:
    """Say that these images may have a result. Never raises: who waits looks by itself as well."""
    _board.post(cell_image_ids)
    for first in range(0, len(cell_image_ids), _AT_ONCE):
        message = b" ".join(b"%d" % pk for pk in cell_image_ids[first : first + _AT_ONCE]) + b"\n"
        if settings.REDIS_URL:
            try:
                broker().publish(CHANNEL, message)
            except redis.RedisError as error:
                logger.warning("the broker cannot be reached (%s); who waits will look", error)
        else:
            _write_pipe(message)


def listen() -> None:
    """Take announcements from now on; call it before work is queued that will be waited for."""
    _listener.start()


def await_results(
    cell_images: Sequence[CellImage], *, seconds: float
) -> dict[int, Prediction | Job]:
    """Wait until each image has a prediction or a failed job, at most `seconds`.

    Returns them by image id; what is not finished is absent. Of a prediction, embedding and
    explanation are not read.
    """
    listen()
    results: dict[int, Prediction | Job] = {}
    pending = {image.pk for image in cell_images}
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE_SECONDS
    with _board.waiting(pending) as announced:
        while True:
            _let_connection_go()
            left = deadline - time.monotonic()
            if not announced(max(0.0, min(pause, left))):
                pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)
            results |= _ended(pending)
            pending -= results.keys()
            if not pending or time.monotonic() >= deadline:
                return results


def _let_connection_go() -> None:
    """Give it back to its pool: more may wait than there are."""
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        connection.close()


def _ended(pending: set[int]) -> dict[int, Prediction | Job]:
    places = ", ".join(["%s"] * len(pending))
    found: dict[int, Prediction | Job] = {}
    for row in rows(_PREDICTIONS.format(columns=_COLUMNS, places=places), list(pending)):
        values, model = parted(row, _PREDICTION)
        prediction = _PREDICTION.instance(values)
        prediction.model_version = _MODEL.instance(model)
        found[prediction.cell_image_id] = prediction
    if missing := pending - found.keys():
        failed = Job.objects.filter(cell_image__in=missing, state=Job.State.FAILED)
        found |= {job.cell_image_id: job for job in failed.order_by("id")}
    return found


class _Board:
    """Which images are waited for in this process, and which were announced lately."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, list[threading.Event]] = {}
        self._lately: OrderedDict[int, None] = OrderedDict()

    def post(self, cell_image_ids: Iterable[int]) -> None:
        with self._lock:
            for pk in cell_image_ids:
                self._lately[pk] = None
                for event in self._waiting.get(pk, ()):
                    event.set()
            while len(self._lately) > _REMEMBERED:
                self._lately.popitem(last=False)

    @contextmanager
    def waiting(self, pending: set[int]) -> Iterator[Callable[[float], bool]]:
        """Give a function that waits until one of `pending` is announced, at most its argument."""
        event, images = threading.Event(), set(pending)
        with self._lock:
            for pk in images:
                self._waiting.setdefault(pk, []).append(event)
            if not self._lately.keys().isdisjoint(images):
                event.set()

        def announced(seconds: float) -> bool:
            rung = event.wait(seconds)
            event.clear()
            return rung

        try:
            yield announced
        finally:
            with self._lock:
                for pk in images:
                    self._waiting[pk].remove(event)
                    if not self._waiting[pk]:
                        del self._waiting[pk]


class _Listener:
    """A thread of a web process, started with the first request that will wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listening = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    take = self._take_published if settings.REDIS_URL else self._take_piped
                    self._thread = threading.Thread(target=take, name="results", daemon=True)
                    self._thread.start()
            self._listening.wait(_FIRST_PAUSE_SECONDS)

    def _take_published(self) -> None:
        while True:
            try:
                with broker().pubsub(ignore_subscribe_messages=True) as subscription:
                    subscription.subscribe(CHANNEL)
                    self._listening.set()
                    while True:
                        if message := subscription.get_message(timeout=5):
                            _read(message["data"])
            except redis.RedisError as error:
                logger.warning("the broker cannot be reached (%s); results are polled", error)
                time.sleep(_RETRY_SECONDS)

    def _take_piped(self) -> None:
        with PipeListener(settings.RESULTS_PATH) as pipe:
            self._listening.set()
            while True:
                _read(pipe.read())


def _read(message: bytes) -> None:
    _board.post(int(number) for number in message.split() if number.isdigit())


def _write_pipe(message: bytes) -> None:
    # ENXIO and ENOENT: nobody waits; EAGAIN: the pipe is full, which only a reader that hangs does.
    with contextlib.suppress(OSError):
        descriptor = os.open(settings.RESULTS_PATH, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(descriptor, message)
        finally:
            os.close(descriptor)


_board = _Board()
_listener = _Listener()
