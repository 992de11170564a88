"""In which order a worker computes: urgent work waits for the batch under way, and for no other.

The worker is the real one; its engine is watched, so that work can arrive at an exact moment: while
a batch of an import is computed, and the next has been claimed.
"""

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from classifier.decision import CellPrediction
from classifier.engines import Engine
from classifier.engines.base import Computation, ImageArray
from specimens.models import CellImage, Job, Order, Prediction, Specimen
from specimens.services import batches, doorbell
from specimens.services.classification import ClassificationWorker
from specimens.services.queue_entry import enqueue
from tests.factories import Cast, picture
from tests.processes import wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
BATCH = 4


class Watched:
    """An engine that counts the images of each batch, and lets something happen meanwhile.

    Attributes:
        begun: how many images each batch had when it was begun, and whether it went ahead.
        sizes: how many came, in the order in which the batches were waited for.
        before: called with the number of the batch that is about to be waited for.
        at_image: called for each image.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.begun: list[tuple[int, bool]] = []
        self.sizes: list[int] = []
        self.before: Callable[[int], None] = lambda call: None
        self.at_image: Callable[[], object] = lambda: None

    @property
    def name(self) -> str:
        return self.engine.name

    def begin(self, count: int, *, ahead: bool = False) -> "WatchedComputation":
        self.begun.append((count, ahead))
        return WatchedComputation(self, self.engine.begin(count, ahead=ahead))


class WatchedComputation:
    """A batch of a watched engine. What happens does while it is under way."""

    def __init__(self, watched: Watched, computation: Computation) -> None:
        self.watched = watched
        self.computation = computation
        self.size = 0
        self.seconds = 0.0

    def add(self, image: ImageArray) -> None:
        self.size += 1
        self.watched.at_image()
        self.computation.add(image)

    def predictions(self) -> list[CellPrediction]:
        self.watched.sizes.append(self.size)
        self.watched.before(len(self.watched.sizes))
        found = self.computation.predictions()
        self.seconds = self.computation.seconds
        return found


@pytest.fixture
def worker(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClassificationWorker]:
    settings.BATCH_SIZE = BATCH
    settings.DECODER_PROCESSES = settings.ENGINE_THREADS = 1
    monkeypatch.setattr(doorbell, "ring", lambda **_: None)
    with ClassificationWorker() as worker:
        monkeypatch.setattr(worker, "engine", Watched(worker.engine))
        yield worker


@pytest.fixture
def engine(worker: ClassificationWorker) -> Watched:
    assert isinstance(worker.engine, Watched)
    return worker.engine


def _queue(cast: Cast, specimen: Specimen | None, count: int) -> list[Job]:
    images = [
        CellImage(
            site=cast.site, specimen=specimen, file=_stored(), sha256=uuid.uuid4().hex, size=1,
            filename="x.png", media_type="image/png", source="demo",
        )
        for _ in range(count)
    ]  # fmt: skip
    with transaction.atomic():
        return enqueue(images=CellImage.objects.bulk_create(images), specimen=specimen)


def _stored() -> str:
    return default_storage.save(f"{uuid.uuid4().hex}.png", ContentFile(picture(1)))


def _stat(cast: Cast) -> Specimen:
    specimen = cast.specimen()
    Order.objects.filter(pk=specimen.order_id).update(priority="stat")
    return Specimen.objects.select_related("order").get(pk=specimen.pk)


def _tried_before(jobs: list[Job]) -> None:
    Job.objects.filter(pk__in=[job.pk for job in jobs]).update(attempts=1)


def _once_the_next_is_in_hand(arrive: Callable[[], object]) -> Callable[[int], None]:
    """Let it come while the first batch is computed, and the second has been claimed."""
    running = Job.objects.filter(state=Job.State.RUNNING)

    def before(call: int) -> None:
        if call == 1:
            wait_until(lambda: running.count() == 2 * BATCH, 30, "the next batch is claimed")
            arrive()

    return before


def _all_done_once() -> bool:
    done = Job.objects.filter(state=Job.State.DONE).count()
    return done == Job.objects.count() == Prediction.objects.count()


def test_a_stat_cell_waits_for_the_batch_under_way_and_for_no_other(
    cast: Cast, worker: ClassificationWorker, engine: Watched
) -> None:
    _queue(cast, cast.specimen(), 6 * BATCH)
    stat = _stat(cast)
    arrive = _once_the_next_is_in_hand(lambda: _queue(cast, stat, 1))
    done = Job.objects.filter(specimen=stat, state=Job.State.DONE)

    def before(call: int) -> None:
        arrive(call)
        if call > 1 and threading.current_thread().name.startswith("waiter"):
            wait_until(done.exists, 30, "the STAT cell is done, with the next batch held up")

    engine.before = before
    assert worker.drain() == 6 * BATCH + 1
    assert engine.begun == [*[(BATCH, False)] * 2, (1, True), *[(BATCH, False)] * 4]
    assert _all_done_once()


def test_one_that_was_tried_before_waits_for_all_that_is_in_hand(
    cast: Cast, worker: ClassificationWorker, engine: Watched
) -> None:
    _queue(cast, cast.specimen(), 6 * BATCH)
    stat = _stat(cast)
    arrive = _once_the_next_is_in_hand(lambda: _tried_before(_queue(cast, stat, 1)))
    beside: list[int] = []

    def before(call: int) -> None:
        arrive(call)
        beside.append(Job.objects.filter(state=Job.State.RUNNING).count())

    engine.before = before
    assert worker.drain() == 6 * BATCH + 1
    assert engine.sizes == [BATCH, BATCH, 1, *[BATCH] * 4]
    assert beside[2] == 1
    assert _all_done_once()
    assert set(Job.objects.values_list("attempts", flat=True)) == {1, 2}
    assert Job.objects.filter(attempts=2).count() == 1


def test_a_routine_cell_that_was_tried_before_is_not_left_until_an_import_ends(
    cast: Cast, worker: ClassificationWorker, engine: Watched
) -> None:
    _queue(cast, cast.specimen(), 17 * BATCH)
    _tried_before(_queue(cast, cast.specimen(), 1))
    assert worker.drain() == 17 * BATCH + 1
    assert engine.sizes.index(1) <= 16
    assert _all_done_once()


def test_clients_who_never_stop_do_not_keep_a_batch_that_is_in_hand_out(
    cast: Cast, worker: ClassificationWorker, engine: Watched
) -> None:
    """One batch of theirs passes it, however many come."""
    _queue(cast, cast.specimen(), 2 * BATCH)
    arrive = _once_the_next_is_in_hand(lambda: None)
    done: list[int] = []

    def before(call: int) -> None:
        arrive(call)
        if call <= 12:
            _queue(cast, None, BATCH)
        routine = Job.objects.filter(priority=Job.Urgency.ROUTINE, state=Job.State.DONE)
        done.append(routine.count())

    engine.before = before
    assert worker.drain() == 2 * BATCH + 12 * BATCH
    assert done[4] >= 2 * BATCH - 1, "one of its places at least was behind the clients"
    assert _all_done_once()


def test_told_to_stop_it_ends_what_is_in_hand_and_leaves_the_rest(
    cast: Cast, worker: ClassificationWorker, engine: Watched
) -> None:
    _queue(cast, cast.specimen(), 6 * BATCH)
    stopped = threading.Event()
    engine.before = _once_the_next_is_in_hand(stopped.set)
    assert worker.drain(stopped) == 2 * BATCH
    assert Job.objects.filter(state=Job.State.QUEUED, attempts=0).count() == 4 * BATCH
    assert worker.drain() == 4 * BATCH
    assert _all_done_once()


@pytest.mark.parametrize("count", [BATCH - 1, BATCH])
def test_the_engine_has_the_first_image_before_the_last_is_decoded(
    count: int, cast: Cast, worker: ClassificationWorker, engine: Watched
) -> None:
    *_, last = _queue(cast, None, count)
    waited: list[bool] = []
    thumbnail = last.cell_image.thumbnail_name
    engine.at_image = lambda: waited.append(not default_storage.exists(thumbnail))
    assert worker.drain() == count
    assert (waited[0], waited[-1]) == (True, False)
    assert _all_done_once()


def test_a_claim_goes_back_where_the_image_store_goes_away_while_it_is_decoded(
    cast: Cast, worker: ClassificationWorker, engine: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    _queue(cast, None, BATCH - 1)
    with monkeypatch.context() as away:
        away.setattr(batches, "keep_written", _refuse)
        assert worker.drain() == 0
    assert Job.objects.filter(state=Job.State.QUEUED, attempts=0).count() == BATCH - 1
    assert worker.drain() == BATCH - 1
    assert _all_done_once()


def _refuse(name: str) -> None:
    raise ConnectionError("the store is away")


def test_what_fails_together_is_computed_one_by_one(
    cast: Cast, worker: ClassificationWorker, engine: Watched
) -> None:
    _queue(cast, None, BATCH)

    def before(call: int) -> None:
        if engine.sizes[-1] == BATCH:
            raise RuntimeError("too much at once")

    engine.before = before
    assert worker.drain() == BATCH
    assert engine.sizes == [BATCH, *[1] * BATCH]
    assert _all_done_once()


@pytest.mark.parametrize("place", [0, BATCH - 1])
def test_so_is_what_the_engine_does_not_take(
    place: int, cast: Cast, worker: ClassificationWorker, engine: Watched
) -> None:
    _queue(cast, None, BATCH)
    taken: list[None] = []

    def at_image() -> None:
        taken.append(None)
        if len(taken) == place + 1:
            raise RuntimeError("can't start new thread")

    engine.at_image = at_image
    assert worker.drain() == BATCH
    assert engine.begun == [(BATCH, False), *[(1, False)] * BATCH]
    assert _all_done_once()
