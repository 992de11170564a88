"""What a worker tells along with its news is what is stored, and taken only where it is signed."""

import threading
import time
from contextlib import closing
from typing import Any

import pytest
from django.core import signing
from django.db import connection
from django.test.utils import CaptureQueriesContext

from classifier.classes import CELL_CLASSES
from classifier.models import ModelVersion
from specimens.api.answers import prediction_body
from specimens.models import CellImage, Job, Prediction
from specimens.selectors.predictions import outcome_of
from specimens.services import announcements, results
from specimens.services.batches import Batch
from specimens.services.broker import broker
from specimens.services.imaging import add_cell_images
from specimens.services.queue import claim_jobs
from tests.counterparts import skip_unless_ci
from tests.factories import Cast, make_cast, upload
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def _images(cast: Cast, *numbers: int) -> list[CellImage]:
    received = add_cell_images(
        actor=cast.integration, site=cast.site, specimen=None, uploads=[upload(n) for n in numbers]
    )
    return [one.cell_image for one in received if one.cell_image is not None]


def _classify(image: CellImage, predicted_class: str = "Monocyte") -> Prediction:
    version, _ = ModelVersion.objects.get_or_create(
        name="m", version="1", defaults={"digest": "d", "metadata": {}}
    )
    prediction = Prediction.objects.create(
        cell_image=image, model_version=version, predicted_class=predicted_class,
        decision="Unidentified", reasons=["far_from_training", "low_confidence"],
        confidence=0.9981864075027543, probabilities=[1e-06, 0.998186, 0.0, 0.001813, 1.0],
        ood_score=1 / 3, embedding=b"", explanation=b"", engine="none", milliseconds=8.123456789,
    )  # fmt: skip
    Job.objects.filter(cell_image=image).update(state=Job.State.DONE)
    return prediction


class _Waiting:
    """A request that waits for images, in a thread of its own."""

    def __init__(self, images: list[CellImage]) -> None:
        self.found: dict[int, Any] = {}
        self.queries = 0
        self._images = images
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()
        waited_for = {image.pk for image in images}
        wait_until(lambda: results._board.waited_for(waited_for) == waited_for, 10, "it waits")

    def _wait(self) -> None:
        with CaptureQueriesContext(connection) as queries:
            self.found = results.await_results(self._images, seconds=20)
        self.queries = len(queries)
        connection.close()

    def ends(self) -> dict[int, Any]:
        self._thread.join(10)
        assert not self._thread.is_alive(), "it was not woken"
        return self.found


@pytest.fixture(autouse=True)
def _nobody_looks_by_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_FIRST_PAUSE_SECONDS", 50.0)
    monkeypatch.setattr(results, "_LONGEST_PAUSE_SECONDS", 50.0)


def test_a_result_that_is_told_is_shown_as_the_stored_one_without_asking(cast: Cast) -> None:
    [image] = _images(cast, 1)
    waiting = _Waiting([image])
    results._read(announcements.message([image.pk], [_classify(image)]))
    told = waiting.ends()[image.pk]
    assert waiting.queries == 0
    stored = outcome_of(image)
    assert isinstance(stored, Prediction)
    assert prediction_body(image, told, {}) == prediction_body(image, stored, {})
    assert len(told.probabilities) == len(CELL_CLASSES)


def test_what_is_not_signed_only_wakes(cast: Cast) -> None:
    [image] = _images(cast, 1)
    prediction = _classify(image)
    prediction.predicted_class = "Lymphocyte"  # a forger's
    message = announcements.message([image.pk], [prediction])
    waiting = _Waiting([image])
    results._read(message.rstrip() + b"A\n")
    assert waiting.ends()[image.pk].predicted_class == "Monocyte"
    assert waiting.queries == 1


def test_nothing_is_taken_for_signed_that_is_not(cast: Cast) -> None:
    [image] = _images(cast, 1)
    message = announcements.message([image.pk], [_classify(image)])
    number, signed = message.split()
    content = signing.loads(signed.decode(), salt=announcements._SALT)
    assert announcements.results_of(message, {image.pk}).keys() == {image.pk}
    for spoilt in (
        signed[:-1],
        b"A" + signed,
        signed.rpartition(b":")[0] + b":" + 43 * b"A",
        b":::",
        b"\xff:\xff",
        b"[]",
        signing.dumps(content, key="of another installation", salt=announcements._SALT).encode(),
        signing.dumps(content, salt="another purpose").encode(),
    ):
        assert announcements.results_of(number + b" " + spoilt + b"\n", {image.pk}) == {}, spoilt
    for shorter in (number, b"", b"\n"):
        assert announcements.results_of(shorter, {image.pk}) == {}


def test_what_was_signed_a_while_ago_only_wakes(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    [image] = _images(cast, 1)
    prediction, now = _classify(image), time.time()
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "time", lambda: now - 61)
        message = announcements.message([image.pk], [prediction])
    waiting = _Waiting([image])
    results._read(message)
    waiting.ends()
    assert waiting.queries == 1


def test_a_number_that_a_result_was_put_behind_does_not_get_it(cast: Cast) -> None:
    mine, other = _images(cast, 1, 2)
    signed = announcements.message([other.pk], [_classify(other, "Basophil")]).split()[1]
    _classify(mine)
    waiting = _Waiting([mine])
    results._read(b"%d %b\n" % (mine.pk, signed))
    assert waiting.ends()[mine.pk].predicted_class == "Monocyte"


def test_images_of_one_call_may_be_told_and_stored(cast: Cast) -> None:
    first, second, third = _images(cast, 1, 2, 3)
    waiting = _Waiting([first, second, third])
    results._read(announcements.message([first.pk], [_classify(first)]))
    time.sleep(0.1)
    results._read(announcements.message([second.pk], [_classify(second)]))
    _classify(third)
    results._read(announcements.message([third.pk]))
    assert waiting.ends().keys() == {first.pk, second.pk, third.pk}
    assert waiting.queries == 1, "what is told needs no look at the others"


def test_an_endless_number_does_not_end_the_listener() -> None:
    assert announcements.images_of(b"1 " + b"9" * 5000 + b" 2\n") == [1, 2]


def test_what_waits_in_a_specimen_or_may_be_another_workers_is_not_told(cast: Cast) -> None:
    [alone] = _images(cast, 1)
    specimen = cast.specimen()
    add_cell_images(actor=cast.technician, site=cast.site, specimen=specimen, uploads=[upload(2)])
    batch = Batch(claim_jobs(worker="w", limit=16))
    assert len(batch.claim.jobs) == 2
    predictions = [Prediction(cell_image_id=job.cell_image_id) for job in batch.claim.jobs]
    assert [one.cell_image_id for one in batch.waited_for(predictions, 2)] == [alone.pk]
    assert batch.waited_for(predictions, 1) == []


@pytest.mark.redis
def test_the_worker_tells_through_redis(cast: Cast, settings: Any) -> None:
    if not settings.REDIS_URL:
        skip_unless_ci("Redis does not run (make test starts it)")
    told, untold = _images(cast, 1, 2)
    with closing(broker().pubsub(ignore_subscribe_messages=True)) as another_process:
        another_process.subscribe(results.CHANNEL)
        wait_until(
            lambda: broker().pubsub_numsub(results.CHANNEL)[0][1] > 0, 10, "somebody listens"
        )
        results.announce(cell_image_ids=[told.pk, untold.pk], predictions=[_classify(told)])
        messages: list[bytes] = []

        def _heard() -> bool:
            if message := another_process.get_message(timeout=1):
                messages.append(message["data"])
            return any(announcements.images_of(one) == [told.pk, untold.pk] for one in messages)

        wait_until(_heard, 10, "it is told")
    found = announcements.results_of(messages[-1], {told.pk, untold.pk})
    assert found.keys() == {told.pk}
