"""A bulk import of 10,000 images and a real worker: urgent work waits for what is in hand only."""

import uuid
from threading import Thread
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection, transaction

from specimens.models import CellImage, Job, Order, Site, Specimen
from specimens.services.classification import ClassificationWorker
from specimens.services.queue_entry import enqueue
from tests.factories import make_cast, picture
from tests.processes import wait_until

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
]
BULK = 10_000


def _queue(site: Site, specimen: Specimen | None, count: int) -> None:
    """Queue `count` cell images that share a file, as one call does."""
    name = f"{uuid.uuid4().hex}.png"
    default_storage.save(name, ContentFile(picture(1)))
    images = [
        CellImage(
            site=site, specimen=specimen, file=name, sha256=f"{name}{number}"[-64:], size=1,
            filename="x.png", media_type="image/png", source="demo",
        )
        for number in range(count)
    ]  # fmt: skip
    with transaction.atomic():
        enqueue(images=CellImage.objects.bulk_create(images), specimen=specimen)


def test_urgent_work_waits_for_one_batch_and_another_site_for_a_few(settings: Any) -> None:
    cast = make_cast()
    stat = cast.specimen()
    Order.objects.filter(pk=stat.order_id).update(priority="stat")
    stat = Specimen.objects.select_related("order").get(pk=stat.pk)
    other = cast.specimen(site=cast.other_site)
    _queue(cast.site, cast.specimen(), BULK)

    with ClassificationWorker() as worker:
        # It stops in the middle of the import: the rest is taken from under it.
        working = Thread(target=_drain, args=(worker,))
        working.start()
        try:
            wait_until(lambda: _ended().count() > 100, 120, "the import is under way")
            _queue(cast.site, stat, 1)
            _queue(cast.site, None, 1)
            _queue(cast.other_site, other, 20)
            urgent = Job.objects.filter(priority__lt=Job.Urgency.ROUTINE)
            small = Job.objects.filter(site=cast.other_site)
            arrived = urgent.earliest("created_at").created_at
            wait_until(
                lambda: not (urgent | small).exclude(state=Job.State.DONE).exists(), 120, "all done"
            )
        finally:
            Job.objects.filter(state=Job.State.QUEUED).update(state=Job.State.FAILED)
            working.join(120)
    # Threads came through the pool: what it keeps open would be in the way of the next test run.
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined] # PostgreSQL only

    batch = settings.BATCH_SIZE

    def bulk_before(jobs: Any) -> int:
        """Images of the import that ended between the arrival of these jobs and their own end."""
        last = jobs.latest("finished_at").finished_at
        return _ended().filter(finished_at__gt=arrived, finished_at__lt=last).exclude(
            pk__in=jobs
        ).count()  # fmt: skip

    # In hand when it came: the batch that was written, the one computed and the one read ahead.
    assert bulk_before(urgent) <= 3 * batch
    # And twenty images that alternate with as many of the import.
    assert bulk_before(small) <= 3 * batch + 2 * 20 + batch
    assert _ended().count() < BULK, "the import was over: the test proved nothing"


def _drain(worker: ClassificationWorker) -> None:
    try:
        worker.drain()
    finally:
        connection.close()


def _ended() -> Any:
    return Job.objects.filter(state=Job.State.DONE)
