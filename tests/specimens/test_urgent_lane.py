"""A bulk import of 10,000 images and a real worker: urgent work waits for what is in hand only."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from specimens.models import CellImage, Job, Order, Site, Specimen
from specimens.services.queue_entry import enqueue
from tests.factories import make_cast, picture
from tests.processes import wait_until
from tests.roles import require_servers, roles

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(300),
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


def test_urgent_work_waits_for_what_is_in_hand_and_another_site_for_a_few_batches(
    settings: Any, tmp_path: Path
) -> None:
    require_servers()
    cast = make_cast()
    stat = cast.specimen()
    Order.objects.filter(pk=stat.order_id).update(priority="stat")
    stat = Specimen.objects.select_related("order").get(pk=stat.pk)
    other = cast.specimen(site=cast.other_site)
    _queue(cast.site, cast.specimen(), BULK)
    urgent = Job.objects.filter(priority__lt=Job.Urgency.ROUTINE)
    small = Job.objects.filter(site=cast.other_site)
    with roles(tmp_path) as start:
        start("worker")
        under_way = 2 * settings.BATCH_SIZE
        wait_until(lambda: _ended().count() >= under_way, 120, "the import is under way")
        _queue(cast.site, stat, 1)
        _queue(cast.site, None, 1)
        _queue(cast.other_site, other, 20)
        wait_until(lambda: not (urgent | small).exclude(state="done").exists(), 150, "all are done")
    arrived = urgent.earliest("created_at").created_at

    def bulk_before(jobs: Any) -> int:
        """Images of the import that ended between the arrival of these jobs and their own end."""
        last = jobs.latest("finished_at").finished_at
        between = _ended().filter(finished_at__gt=arrived, finished_at__lte=last)
        return int(between.exclude(pk__in=jobs).count())

    # In hand when they came: the batch that was written, and the one computed; each of the two then
    # goes before what was read ahead, or with what is read next.
    assert bulk_before(urgent) <= 3 * settings.BATCH_SIZE
    # Twenty images that alternate with as many of the import, in batches.
    assert bulk_before(small) <= 3 * settings.BATCH_SIZE + 3 * settings.BATCH_SIZE
    assert _ended().count() < BULK, "the import was over: the test proved nothing"


def _ended() -> Any:
    return Job.objects.filter(state=Job.State.DONE)
