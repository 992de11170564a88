"""Who waits for a class is woken by the worker, and does not look at the database meanwhile."""

import threading
import time
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from classifier.models import ModelVersion
from specimens.models import CellImage, Job, Prediction
from specimens.services import doorbell, results
from specimens.services.broker import broker
from specimens.services.imaging import add_cell_images
from tests.counterparts import skip_unless_ci
from tests.factories import Cast, make_cast, upload
from tests.processes import wait_until

pytestmark = [pytest.mark.core, pytest.mark.django_db(transaction=True)]


def _waiting_image(cast: Cast) -> CellImage:
    received = add_cell_images(
        actor=cast.integration, site=cast.site, specimen=None, uploads=[upload(1)]
    )
    image = received[0].cell_image
    assert image is not None
    return image


def _classify(image: CellImage) -> None:
    version = ModelVersion.objects.create(name="m", version="1", digest="d", metadata={})
    Prediction.objects.create(
        cell_image=image, model_version=version, predicted_class="Monocyte", decision="Monocyte",
        confidence=0.9, probabilities=[0.9], ood_score=0.1, embedding=b"", explanation=b"",
        engine="none", milliseconds=1.0,
    )  # fmt: skip
    Job.objects.filter(cell_image=image).update(state=Job.State.DONE)


def _as_another_process(image: CellImage, settings: Any) -> None:
    """Announce as a worker does: not through the memory of this process."""
    message = b"%d\n" % image.pk
    if settings.REDIS_URL:
        broker().publish(results.CHANNEL, message)
    else:
        results._write_pipe(message)


def test_the_one_who_waits_is_woken(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_LONGEST_PAUSE_SECONDS", 50.0)  # it would not look by itself
    image = _waiting_image(make_cast())
    results.listen()
    wait_until(lambda: results._listener.hears, 10, "news come in")
    found: dict[int, Any] = {}
    seconds: list[float] = []

    def wait() -> None:
        started = time.perf_counter()
        with CaptureQueriesContext(connection) as queries:
            found.update(results.await_results([image], seconds=60))
        seconds.append(time.perf_counter() - started)
        assert len(queries) == 1, "it looked before it was told"
        connection.close()

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    _classify(image)
    _as_another_process(image, settings)
    thread.join()
    assert found[image.pk].decision == "Monocyte"
    assert seconds[0] < 40


def test_news_that_were_lost_cost_a_pause(settings: Any) -> None:
    image = _waiting_image(make_cast())
    _classify(image)
    assert isinstance(results.await_results([image], seconds=5)[image.pk], Prediction)


def test_where_no_news_come_in_it_looks_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    results.listen()
    monkeypatch.setattr(results._listener, "hears", False)
    monkeypatch.setattr(results, "_LONGEST_PAUSE_SECONDS", 50.0)
    image = _waiting_image(make_cast())
    _classify(image)
    started = time.perf_counter()
    assert image.pk in results.await_results([image], seconds=60)
    assert time.perf_counter() - started < 40


def test_what_was_announced_before_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_FIRST_PAUSE_SECONDS", 50.0)
    monkeypatch.setattr(results, "_LONGEST_PAUSE_SECONDS", 50.0)
    image = _waiting_image(make_cast())
    _classify(image)
    results.announce(cell_image_ids=[image.pk])
    started = time.perf_counter()
    assert image.pk in results.await_results([image], seconds=60)
    assert time.perf_counter() - started < 40


@pytest.mark.redis
def test_rings_nobody_hears_do_not_pile_up(settings: Any) -> None:
    if not settings.REDIS_URL:
        skip_unless_ci("Redis does not run (make test starts it)")
    for _ in range(20):
        doorbell.ring(jobs=1000)
    assert 0 < broker().llen(doorbell.LIST) <= doorbell.MOST_RINGS
    with doorbell.listen() as bell:
        assert bell.wait(1)
    broker().delete(doorbell.LIST)


@pytest.mark.postgres
def test_who_waits_holds_no_connection() -> None:
    image = _waiting_image(make_cast())
    results.listen()
    held: list[Any] = []

    def wait() -> None:
        held.append(connections["default"])  # each thread has one of its own
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        results.await_results([image], seconds=30)

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_until(
        lambda: bool(held) and held[0].connection is None, 10, "the connection is given back"
    )
    assert waiting.is_alive()
    _classify(image)
    results.announce(cell_image_ids=[image.pk])
    waiting.join(10)
    assert not waiting.is_alive()
