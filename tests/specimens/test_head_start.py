"""A worker with nothing to do begins with a predict call's images while they are put on record.

The worker is the real one; that it does not decode an image twice shows that it used what it had.
"""

import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection, transaction

from classifier.imaging.pool import DecoderPool, PathPair
from specimens.models import CellImage, Job, Prediction
from specimens.services import doorbell, imaging, queue_entry, results
from specimens.services.attendance import attend
from specimens.services.broker import broker
from specimens.services.classification import ClassificationWorker
from specimens.services.imaging import add_cell_images
from specimens.services.queue_entry import enqueue
from tests.counterparts import skip_unless_ci
from tests.factories import Cast, picture, upload
from tests.processes import wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def worker(settings: Any) -> Iterator[ClassificationWorker]:
    settings.BATCH_SIZE = 4
    settings.DECODER_PROCESSES = settings.ENGINE_THREADS = 1
    settings.SWEEP_SECONDS = 120.0  # no ring is replaced by it
    with ClassificationWorker() as worker:
        yield worker


@pytest.fixture
def decoded(worker: ClassificationWorker, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that decoders were given."""
    names: list[str] = []
    original = DecoderPool.answers

    def answers(self: DecoderPool, paths: Sequence[PathPair]) -> Any:
        names.extend(path[0].name for path in paths)
        return original(self, paths)

    monkeypatch.setattr(DecoderPool, "answers", answers)
    return names


@pytest.fixture
def redis(settings: Any) -> Iterator[None]:
    if not settings.REDIS_URL:
        skip_unless_ci("Redis does not run (make test starts it)")
    broker().delete(doorbell.LIST, doorbell.notices())
    yield
    broker().delete(doorbell.LIST, doorbell.notices())


def _stored(content: bytes) -> str:
    return default_storage.save(f"{uuid.uuid4().hex}.png", ContentFile(content))


def _queue(cast: Cast, *names: str) -> list[Job]:
    images = [
        CellImage(
            site=cast.site, file=name, sha256=uuid.uuid4().hex, size=1, filename="x.png",
            media_type="image/png", source="api",
        )
        for name in names
    ]  # fmt: skip
    with transaction.atomic():
        return enqueue(images=CellImage.objects.bulk_create(images), specimen=None)


def _prediction(job: Job) -> Prediction:
    return Prediction.objects.get(cell_image_id=job.cell_image_id)


@pytest.mark.parametrize("count", [1, 3])
def test_a_claim_gets_what_was_begun(
    count: int, cast: Cast, worker: ClassificationWorker, decoded: list[str]
) -> None:
    contents = [picture(colour) for colour in range(count)]
    names = [_stored(content) for content in contents]
    worker.give_head_start(names[::-1])
    assert len(decoded) == count
    early = _queue(cast, *names)
    assert worker.drain() == count
    assert len(decoded) == count, "it was decoded again"
    others = _queue(cast, *(_stored(content) for content in contents))
    assert worker.drain() == count
    assert len(decoded) == 2 * count
    for job, other in zip(early, others, strict=True):
        expected = pytest.approx(_prediction(other).probabilities, abs=1e-5)
        assert _prediction(job).probabilities == expected
        assert default_storage.exists(job.cell_image.thumbnail_name)


def test_a_claim_with_others_is_begun_anew(
    cast: Cast, worker: ClassificationWorker, decoded: list[str]
) -> None:
    names = [_stored(picture(colour)) for colour in range(2)]
    worker.give_head_start(names[:1])
    _queue(cast, *names)
    assert worker.drain() == 2
    assert sorted(decoded) == sorted([names[0], *names])
    assert Job.objects.filter(state=Job.State.DONE).count() == 2


def test_a_claim_of_something_else_in_between_takes_nothing_away(
    cast: Cast, worker: ClassificationWorker, decoded: list[str]
) -> None:
    first, between = _stored(picture(1)), _stored(picture(2))
    worker.give_head_start([first])
    _queue(cast, between)
    assert worker.drain() == 1
    _queue(cast, first)
    assert worker.drain() == 1
    assert sorted(decoded) == sorted([first, between])


def test_what_is_refused_is_refused_once(
    cast: Cast, worker: ClassificationWorker, decoded: list[str]
) -> None:
    names = [_stored(picture(1)), _stored(picture(2)[:60])]
    worker.give_head_start(names)
    good, cut = _queue(cast, *names)
    assert worker.drain() == 2
    assert len(decoded) == 2
    cut.refresh_from_db()
    assert (cut.state, cut.error_code) == (Job.State.FAILED, "truncated")
    assert _prediction(good)


def test_images_that_do_not_get_on_record_leave_nothing(worker: ClassificationWorker) -> None:
    gone, kept = _stored(picture(1)), _stored(picture(2))
    worker.give_head_start([gone])
    assert default_storage.exists(f"{gone}.thumb.jpg")
    default_storage.delete(gone)
    worker.give_head_start([kept])
    worker.give_head_start([])
    assert not default_storage.exists(f"{gone}.thumb.jpg")
    assert default_storage.exists(f"{kept}.thumb.jpg")


@pytest.mark.parametrize("name", ["../../etc/hostname", "/etc/hostname", "nowhere.png", ""])
def test_a_notice_of_nonsense_harms_nobody(
    name: str, cast: Cast, worker: ClassificationWorker
) -> None:
    worker.give_head_start([name])
    _queue(cast, _stored(picture(1)))
    assert worker.drain() == 1
    assert Prediction.objects.count() == 1


def test_a_worker_begins_before_the_images_are_on_record(
    cast: Cast,
    worker: ClassificationWorker,
    decoded: list[str],
    redis: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original, before = queue_entry.add_and_enqueue, []

    def once_it_has_begun(**arguments: Any) -> None:
        wait_until(lambda: len(decoded) == 2, 30, "the worker begins")
        before.append(CellImage.objects.count())
        original(**arguments)

    monkeypatch.setattr(imaging, "add_and_enqueue", once_it_has_begun)
    stopped = threading.Event()

    def work() -> None:
        with doorbell.listen() as bell:
            attend(worker, bell, stopped=stopped, sweeps=False)
        connection.close()

    working = threading.Thread(target=work)
    working.start()
    try:
        received = _predict(cast)
        done = Job.objects.filter(state=Job.State.DONE)
        wait_until(lambda: done.count() == 2, 30, "both have their class")
    finally:
        stopped.set()
        doorbell.ring()
        working.join(30)
    assert (before, len(decoded)) == ([0], 2)
    assert {str(image.file.name).rpartition("/")[2] for image in received} == set(decoded)


def _predict(cast: Cast) -> list[CellImage]:
    answers = add_cell_images(
        actor=cast.integration, site=cast.site, specimen=None, uploads=[upload(1), upload(2)]
    )
    return [answer.cell_image for answer in answers if answer.cell_image is not None]


def _waiting_workers(begun: dict[int, list[str]], rung: list[int]) -> list[threading.Thread]:
    def wait(number: int) -> None:
        with doorbell.listen() as bell:
            if bell.wait(1.5, lambda names: begun.update({number: list(names)})):
                rung.append(number)

    threads = [threading.Thread(target=wait, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    return threads


def test_the_ring_goes_to_the_worker_that_took_notice(redis: None) -> None:
    begun: dict[int, list[str]] = {}
    rung: list[int] = []
    threads = _waiting_workers(begun, rung)
    wait_until(lambda: broker().info("clients")["blocked_clients"] >= 3, 10, "all of them wait")
    names = [f"{uuid.uuid4().hex}.png" for _ in range(2)]
    notice = doorbell.give_notice(names=names)
    wait_until(lambda: bool(begun), 10, "one of them begins")
    doorbell.ring(jobs=2, notice=notice)
    for thread in threads:
        thread.join()
    assert list(begun.values()) == [names]
    assert rung == list(begun)


def test_a_ring_for_others_does_not_make_it_forget_that(redis: None) -> None:
    begun: list[str] = []
    with doorbell.listen() as bell:
        notice = doorbell.give_notice(names=["a.png"])
        doorbell.ring()
        assert bell.wait(1, begun.extend)  # for others
        assert not bell.wait(0.1, begun.extend)
        assert begun == ["a.png"]
        notice = doorbell.give_notice(names=["b.png"])
        threading.Timer(0.2, doorbell.ring).start()
        assert bell.wait(5, begun.extend)
        doorbell.ring(notice=notice)
        assert bell.wait(1, begun.extend)
    assert begun == ["a.png", "b.png"]


def test_where_no_worker_took_notice_all_hear_the_ring(redis: None) -> None:
    notice = doorbell.give_notice(names=["a.png"])
    doorbell.ring(notice=notice)
    begun: list[str] = []
    with doorbell.listen() as bell:
        assert bell.wait(1, begun.extend)
        assert not bell.wait(0.1, begun.extend)
    assert begun == []


def test_notice_is_given_where_a_client_waits_and_a_worker_may_be_idle(
    cast: Cast, redis: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    _predict(cast)  # the first of a day makes its folder, and waits for that
    monkeypatch.setattr("os.fsync", lambda _: given.append(broker().llen(doorbell.notices())))

    def notices() -> set[int]:
        given.clear()
        _predict(cast)
        return set(given)

    assert notices() == {1}, "before the disk is waited for"
    assert broker().llen(doorbell.notices()) == 0
    settings.BATCH_SIZE = 1
    assert notices() == {0}, "two batches are for two workers"
    settings.BATCH_SIZE = 16
    with results._board.waiting({1}):
        assert notices() == {0}, "the worker has something to do"
    given.clear()
    add_cell_images(
        actor=cast.technician, site=cast.site, specimen=cast.specimen(), uploads=[upload(3)]
    )
    assert set(given) == {0}, "nobody waits"


def test_a_worker_of_another_machine_takes_no_notice(
    redis: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notice = doorbell.give_notice(names=["a.png"])
    begun: list[str] = []
    with monkeypatch.context() as elsewhere, doorbell.listen() as bell:
        (tmp_path / "boot_id").write_text("6d0c3c5e-0000-4000-8000-000000000000\n")
        elsewhere.setattr(doorbell, "_BOOT_ID", tmp_path / "boot_id")
        doorbell.notices.cache_clear()
        assert not bell.wait(0.2, begun.extend)
        elsewhere.setattr(doorbell, "_BOOT_ID", tmp_path / "none")
        doorbell.notices.cache_clear()
        assert doorbell.give_notice(names=["b.png"]) == b""
        assert not bell.wait(0.1, begun.extend)
    doorbell.notices.cache_clear()
    doorbell.ring(notice=notice)
    with doorbell.listen() as bell:
        assert bell.wait(1)
    assert begun == []
