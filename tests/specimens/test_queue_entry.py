"""The way into the queue writes the same rows in one statement as the ORM does in several."""

import uuid
from typing import Any

import pytest
from django.db import connection, transaction
from django.forms.models import model_to_dict
from django.test.utils import CaptureQueriesContext

from specimens.models import CellImage, Job
from specimens.services.queue_entry import add_and_enqueue, enqueue
from tests.factories import Cast

pytestmark = [pytest.mark.core, pytest.mark.django_db]

ODD_NAME = 'Zelle "ä" \\ \u2603 %s {x}.png'


def _images(cast: Cast, count: int, **values: Any) -> list[CellImage]:
    return [
        CellImage(
            site=cast.site, file=f"cells/{uuid.uuid4().hex}.png", sha256=2 * uuid.uuid4().hex,
            filename=f"{number} {ODD_NAME}", media_type="image/png", size=1 + number, width=64,
            height=None, source="api", received_from=cast.technician, **values,
        )
        for number in range(count)
    ]  # fmt: skip


def _row(one: Any) -> dict[str, Any]:
    own = ("id", "file", "sha256", "cell_image", "created_at", "due_at")
    return {name: value for name, value in model_to_dict(one).items() if name not in own}


@pytest.mark.parametrize("of_specimen", [False, True])
def test_the_rows_are_those_that_the_models_would_write(cast: Cast, of_specimen: bool) -> None:
    specimen = cast.specimen() if of_specimen else None
    ours, theirs = (_images(cast, 3, specimen=specimen, is_synthetic=True) for _ in range(2))
    with transaction.atomic():
        enqueue(images=CellImage.objects.bulk_create(theirs), specimen=specimen)
    expected = [_row(job) for job in Job.objects.order_by("id")]
    Job.objects.all().delete()
    add_and_enqueue(images=ours, specimen=specimen)
    by_file = {image.file.name: image for image in CellImage.objects.all()}
    for mine, other in zip(ours, theirs, strict=True):
        stored = by_file[mine.file.name]
        assert stored.pk == mine.pk and not mine._state.adding
        assert (stored.created_at, stored.sha256) == (mine.created_at, mine.sha256)
        assert _row(stored) == _row(by_file[other.file.name])
    jobs = list(Job.objects.order_by("turn"))
    assert [job.cell_image_id for job in jobs] == [image.pk for image in ours]
    assert [_row(job) for job in jobs] == expected
    late = [abs((job.due_at - ours[0].created_at).total_seconds()) for job in jobs]
    assert max(late) < 60 and all(job.due_at == job.created_at for job in jobs)


def test_what_comes_later_queues_behind(cast: Cast) -> None:
    for count in (2, 1, 12):
        add_and_enqueue(images=_images(cast, count), specimen=None)
    turns = Job.objects.order_by("cell_image_id").values_list("turn", flat=True)
    assert list(turns) == list(range(15))


def test_no_image_is_no_query(cast: Cast, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        add_and_enqueue(images=[], specimen=None)


def test_postgresql_is_asked_once_for_both_rows(cast: Cast) -> None:
    for count in (1, 10):
        with CaptureQueriesContext(connection) as queries:
            add_and_enqueue(images=_images(cast, count), specimen=None)
        if connection.vendor == "postgresql":
            assert len(queries) == 1
        else:
            assert len(queries) == 5  # two tables, turns, and the savepoint of its own
