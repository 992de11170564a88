"""Tells who waits for a class that it is there, from the worker to the web process.

The result is what the database says, or what the worker that has just committed it tells along
(specimens/services/announcements.py). A message that is lost costs the waiting request a pause of
up to half a second, and nothing else.
"""

import contextlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import redis
from django.conf import settings
from django.db import connection

from classifier.models import ModelVersion
from specimens.models import CellImage, Job, Prediction
from specimens.selectors.written_out import Columns, parted, rows
from specimens.services import announcements
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
# Less than half of the row.
_PREDICTION: Final = Columns(Prediction, "p", ["id", *announcements.SHOWN])
_MODEL: Final = Columns(ModelVersion, "v", announcements.SHOWN_OF_MODEL)
_COLUMNS: Final = f"{_PREDICTION.sql}, {_MODEL.sql}"
_PREDICTIONS: Final = """
SELECT {columns}
FROM specimens_prediction p JOIN classifier_modelversion v ON v.id = p.model_version_id
WHERE p.cell_image_id IN ({places}) ORDER BY p.id
"""


def announce(*, cell_image_ids: Sequence[int], predictions: Sequence[Prediction] = ()) -> None:
    """Say that these images may have a result. Never raises: who waits looks by itself as well.

    `predictions` are those of them that are committed, and that a client waits for.
    """
    _board.post(cell_image_ids, {})
    for first in range(0, len(cell_image_ids), _AT_ONCE):
        some = cell_image_ids[first : first + _AT_ONCE]
        if settings.REDIS_URL:
            told = [one for one in predictions if one.cell_image_id in some]
            try:
                broker().publish(CHANNEL, announcements.message(some, told))
            except redis.RedisError as error:
                logger.warning("the broker cannot be reached (%s); who waits will look", error)
        else:
            _write_pipe(announcements.message(some))


def listen() -> None:
    """Take announcements from now on; call it before work is queued that will be waited for."""
    _listener.start()


def anybody_waits() -> bool:
    """Whether a request of this process waits for a class."""
    return _board.is_waited_at


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
    # Under load an answer takes longer than a short pause, and each look costs what the news spare.
    pause = _LONGEST_PAUSE_SECONDS if _listener.hears else _FIRST_PAUSE_SECONDS
    with _board.waiting(pending) as news_within:
        while True:
            _let_connection_go()
            left = deadline - time.monotonic()
            news = news_within(max(0.0, min(pause, left)))
            if news is None:
                pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)
            else:
                results |= news.told
                pending -= news.told.keys()
            if pending and (news is None or news.untold):
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


@dataclass(slots=True)
class _News:
    """What one who waits has heard: results, and whether there are others."""

    told: dict[int, Prediction] = field(default_factory=dict)
    untold: bool = False


class _Waiter:
    """One request that waits for its images. Changed under the board's lock."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.news = _News()

    def hear(self, pk: int, result: Prediction | None) -> None:
        if result is None:
            self.news.untold = True
        else:
            self.news.told[pk] = result
        self.event.set()


class _Board:
    """Which images are waited for in this process, and which were announced lately."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, list[_Waiter]] = {}
        self._lately: OrderedDict[int, None] = OrderedDict()

    @property
    def is_waited_at(self) -> bool:
        return bool(self._waiting)

    def waited_for(self, cell_image_ids: Iterable[int]) -> set[int]:
        with self._lock:
            return {pk for pk in cell_image_ids if pk in self._waiting}

    def post(self, cell_image_ids: Iterable[int], told: Mapping[int, Prediction]) -> None:
        with self._lock:
            for pk in cell_image_ids:
                self._lately[pk] = None
                for waiter in self._waiting.get(pk, ()):
                    waiter.hear(pk, told.get(pk))
            while len(self._lately) > _REMEMBERED:
                self._lately.popitem(last=False)

    @contextmanager
    def waiting(self, pending: set[int]) -> Iterator[Callable[[float], _News | None]]:
        """Give a function that waits for news of `pending`, at most so many seconds."""
        waiter, images = _Waiter(), set(pending)
        with self._lock:
            for pk in images:
                self._waiting.setdefault(pk, []).append(waiter)
                if pk in self._lately:
                    waiter.hear(pk, None)

        def news_within(seconds: float) -> _News | None:
            heard = waiter.event.wait(seconds)
            with self._lock:
                waiter.event.clear()
                news, waiter.news = waiter.news, _News()
            return news if heard else None

        try:
            yield news_within
        finally:
            with self._lock:
                for pk in images:
                    self._waiting[pk].remove(waiter)
                    if not self._waiting[pk]:
                        del self._waiting[pk]


class _Listener:
    """A thread of a web process, started with the first request that will wait.

    Attributes:
        hears: whether announcements come in, as far as is known.
    """

    hears = False

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

    def _begin(self) -> None:
        self.hears = True
        self._listening.set()

    def _take_published(self) -> None:
        while True:
            try:
                with broker().pubsub(ignore_subscribe_messages=True) as subscription:
                    subscription.subscribe(CHANNEL)
                    self._begin()
                    while True:
                        if message := subscription.get_message(timeout=5):
                            _read(message["data"])
            except redis.RedisError as error:
                self.hears = False
                logger.warning("the broker cannot be reached (%s); results are polled", error)
                time.sleep(_RETRY_SECONDS)

    def _take_piped(self) -> None:
        with PipeListener(settings.RESULTS_PATH) as pipe:
            self._begin()
            while True:
                _read(pipe.read())


def _read(message: bytes) -> None:
    images = announcements.images_of(message)
    wanted = _board.waited_for(images)
    _board.post(images, announcements.results_of(message, wanted) if wanted else {})


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
