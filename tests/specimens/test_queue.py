"""The queue by its rules: one lease per job, results only under it, nothing lost, nothing twice."""

import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from classifier.models import ModelVersion
from specimens.models import AuditEvent, CellImage, Job, Order, Prediction, Site, Specimen
from specimens.services.errors import QueueFull
from specimens.services.imaging import add_cell_images
from specimens.services.order_entry import change_order
from specimens.services.queue import (
    NOTHING_WAITS,
    Claim,
    claim_jobs,
    extend_leases,
    most_urgent_waiting,
    release_expired_leases,
    return_job,
    sweep,
)
from specimens.services.queue_entry import enqueue, refuse_when_full, requeue_cell_images
from specimens.services.queue_exit import finish_jobs
from tests.factories import Cast, OrderFactory, upload

pytestmark = [pytest.mark.core, pytest.mark.django_db]


@pytest.fixture
def version(db: None) -> ModelVersion:
    return ModelVersion.objects.create(
        name="dmfnet", version="1", digest="0" * 64, metadata={}, is_active=True
    )


def _queue(cast: Cast, count: int, **specimen: Any) -> Specimen:
    made = cast.specimen(**specimen)
    uploads = [upload(colour) for colour in range(count)]
    add_cell_images(actor=cast.technician, site=cast.site, specimen=made, uploads=uploads)
    made.refresh_from_db()
    return made


def _prediction(job: Job, version: ModelVersion) -> Prediction:
    return Prediction(
        cell_image=job.cell_image,
        model_version=version,
        predicted_class="Basophil",
        decision="Basophil",
        confidence=0.9,
        probabilities=[0.9, 0.1, 0, 0, 0],
        ood_score=0.1,
        embedding=b"",
        explanation=b"",
        engine="onnxruntime",
        milliseconds=1.0,
    )


def _finish(claim: Claim, version: ModelVersion) -> int:
    predictions = [_prediction(job, version) for job in claim.jobs]
    return finish_jobs(token=claim.token, predictions=predictions, failures=[])


def _expire_leases() -> None:
    Job.objects.filter(state="running").update(lease_until=timezone.now() - timedelta(seconds=1))


def test_two_claims_never_share_a_job(cast: Cast) -> None:
    _queue(cast, 5)
    first, second = claim_jobs(worker="a", limit=3), claim_jobs(worker="b", limit=3)
    assert len(first.jobs) == 3
    assert len(second.jobs) == 2
    assert not {j.pk for j in first.jobs} & {j.pk for j in second.jobs}
    assert not claim_jobs(worker="c", limit=3).jobs


def test_urgent_jobs_come_first(cast: Cast) -> None:
    _queue(cast, 3)
    stat = cast.specimen()
    stat.order.priority = "stat"
    stat.order.save()
    add_cell_images(actor=cast.technician, site=cast.site, specimen=stat, uploads=[upload(99)])
    add_cell_images(
        actor=cast.integration, site=cast.site, specimen=None, uploads=[upload(98)], source="api"
    )
    order = [job.priority for job in claim_jobs(worker="a", limit=5).jobs]
    assert order == [0, 1, 5, 5, 5]


def test_what_is_more_urgent_is_seen_and_claimed_alone(cast: Cast) -> None:
    assert most_urgent_waiting() == (NOTHING_WAITS, NOTHING_WAITS)
    _queue(cast, 3)
    _queue(cast, 3, order=OrderFactory.create(site=cast.site, priority="stat"))
    assert most_urgent_waiting() == (Job.Urgency.STAT, NOTHING_WAITS)
    claim = claim_jobs(worker="a", limit=2, more_urgent_than=Job.Urgency.ROUTINE)
    assert [job.priority for job in claim.jobs] == [1, 1]
    claim = claim_jobs(worker="a", limit=16, more_urgent_than=Job.Urgency.ROUTINE)
    assert [job.priority for job in claim.jobs] == [1]
    assert most_urgent_waiting() == (Job.Urgency.ROUTINE, NOTHING_WAITS)
    _expire_leases()
    release_expired_leases()
    assert most_urgent_waiting() == (Job.Urgency.ROUTINE, Job.Urgency.STAT)
    Job.objects.filter(attempts=1).update(due_at=timezone.now() + timedelta(seconds=60))
    assert most_urgent_waiting() == (Job.Urgency.ROUTINE, NOTHING_WAITS)


def test_results_count_once_and_move_the_specimen_on(cast: Cast, version: ModelVersion) -> None:
    specimen = _queue(cast, 3)
    assert specimen.state == Specimen.State.IMAGED
    claim = claim_jobs(worker="a", limit=2)
    assert _finish(claim, version) == 2
    specimen.refresh_from_db()
    assert specimen.state == Specimen.State.IMAGED
    assert _finish(claim, version) == 0, "the same results again change nothing"
    assert _finish(claim_jobs(worker="a", limit=2), version) == 1
    specimen.refresh_from_db()
    assert specimen.state == Specimen.State.PRECLASSIFIED
    assert Prediction.objects.count() == 3
    assert AuditEvent.objects.filter(action="specimen.classified").count() == 1


@pytest.mark.parametrize("failures", [0, 1])
def test_a_result_is_stored_as_it_was_made(
    failures: int, cast: Cast, version: ModelVersion
) -> None:
    _queue(cast, 3 + failures)
    claim = claim_jobs(worker="a", limit=3 + failures)
    made = []
    for number, job in enumerate(claim.jobs[:3]):
        one = _prediction(job, version)
        one.reasons = ["low_confidence", "out_of_distribution"][:number]
        one.confidence, one.ood_score, one.milliseconds = 1 / 3, 1e-9 + number, 12345.678901
        one.probabilities, one.shown = [0.333333, 1e-06, 0.0, 0.5, number], [0.1, 0.25, 0.5]
        one.embedding, one.explanation = bytes(range(256)) * 2, bytes(256)
        made.append(one)
    failed = [(job, "damaged", 'cut "off" \\ %s') for job in claim.jobs[3:]]
    with CaptureQueriesContext(connection) as queries:
        assert finish_jobs(token=claim.token, predictions=made, failures=failed) == 3 + failures
    if connection.vendor == "postgresql" and not failures:
        [written] = [q["sql"] for q in queries if "INSERT INTO specimens_prediction" in q["sql"]]
        assert "UPDATE specimens_job" in written
    names = [field.attname for field in Prediction._meta.concrete_fields if field.name != "id"]
    for one in made:
        stored = Prediction.objects.get(cell_image=one.cell_image)
        for name in names:
            value = getattr(stored, name)
            assert (bytes(value) if isinstance(value, memoryview) else value) == getattr(one, name)
    assert Job.objects.filter(state="done", error="", finished_at__isnull=False).count() == 3
    assert Job.objects.filter(state="failed", error='cut "off" \\ %s').count() == failures


def test_a_lease_that_was_taken_over_voids_the_late_result(
    cast: Cast, version: ModelVersion
) -> None:
    _queue(cast, 1)
    late = claim_jobs(worker="a", limit=1)
    _expire_leases()
    assert release_expired_leases() == 1
    successor = claim_jobs(worker="b", limit=1, retries=True)
    assert _finish(late, version) == 0
    assert not Prediction.objects.exists()
    assert _finish(successor, version) == 1


def test_an_extended_lease_does_not_expire(cast: Cast) -> None:
    _queue(cast, 1)
    claim = claim_jobs(worker="a", limit=1)
    _expire_leases()
    extend_leases(tokens=[claim.token, uuid.uuid4()])
    assert release_expired_leases() == 0


def test_retried_jobs_are_not_claimed_with_fresh_ones(cast: Cast) -> None:
    _queue(cast, 4)
    claim_jobs(worker="a", limit=2)
    _expire_leases()
    release_expired_leases()
    assert len(claim_jobs(worker="b", limit=10).jobs) == 2
    assert len(claim_jobs(worker="b", limit=1, retries=True).jobs) == 1


def test_an_image_that_outlives_every_worker_fails_visibly(cast: Cast, settings: Any) -> None:
    settings.MAX_ATTEMPTS = 2
    specimen = _queue(cast, 1)
    claim_jobs(worker="a", limit=1)
    for _ in range(2):
        _expire_leases()
        release_expired_leases()
        claim_jobs(worker="a", limit=1, retries=True)
    job = Job.objects.get()
    assert (job.state, job.error_code) == (Job.State.FAILED, "worker_died")
    assert "2 times" in job.error
    specimen.refresh_from_db()
    assert specimen.state == Specimen.State.PRECLASSIFIED


def test_a_returned_job_waits_and_fails_in_the_end(cast: Cast, settings: Any) -> None:
    settings.MAX_ATTEMPTS = 2
    _queue(cast, 1)
    claim = claim_jobs(worker="a", limit=1)
    return_job(token=claim.token, job=claim.jobs[0], code="engine_error", text="out of memory")
    assert not claim_jobs(worker="a", limit=1, retries=True).jobs, "it is not due yet"
    Job.objects.update(due_at=timezone.now())
    claim = claim_jobs(worker="a", limit=1, retries=True)
    return_job(token=claim.token, job=claim.jobs[0], code="engine_error", text="out of memory")
    assert Job.objects.get().state == Job.State.FAILED


def test_a_person_requeues_what_failed(cast: Cast) -> None:
    specimen = _queue(cast, 2)
    claim = claim_jobs(worker="a", limit=2)
    failures = [(job, "truncated", "cut off") for job in claim.jobs]
    assert finish_jobs(token=claim.token, predictions=[], failures=failures) == 2
    assert requeue_cell_images(actor=cast.technician, specimen=specimen) == 2
    assert requeue_cell_images(actor=cast.technician, specimen=specimen) == 0
    specimen.refresh_from_db()
    assert specimen.state == Specimen.State.IMAGED
    assert len(claim_jobs(worker="a", limit=5).jobs) == 2


def test_sweep_counts_what_is_due(cast: Cast) -> None:
    _queue(cast, 3)
    assert sweep() == 3
    claim_jobs(worker="a", limit=3)
    assert sweep() == 0
    _expire_leases()
    assert sweep() == 3


def _queue_rows(site: Site, count: int, specimen: Specimen | None = None) -> None:
    """Queue `count` images without files, as one call does."""
    name = uuid.uuid4().hex
    images = CellImage.objects.bulk_create(
        CellImage(
            site=site, specimen=specimen, file=f"{name}.png", sha256=f"{name}{number}",
            filename="x.png", media_type="image/png", size=1, source="demo",
        )
        for number in range(count)
    )  # fmt: skip
    with transaction.atomic():
        enqueue(images=images, specimen=specimen)


def _stat(cast: Cast, **values: Any) -> Specimen:
    specimen = cast.specimen(**values)
    Order.objects.filter(pk=specimen.order_id).update(priority="stat")
    return Specimen.objects.select_related("order").get(pk=specimen.pk)


class TestFairness:
    def test_a_small_site_is_served_beside_a_large_one(self, cast: Cast) -> None:
        _queue_rows(cast.site, 200, cast.specimen())
        claim_jobs(worker="a", limit=64)
        _queue_rows(cast.other_site, 20, cast.specimen(site=cast.other_site))
        claims = [claim_jobs(worker="a", limit=16) for _ in range(3)]
        by_site = [Counter(job.site_id for job in claim.jobs) for claim in claims]
        assert [count[cast.other_site.pk] for count in by_site] == [8, 8, 4]
        assert [len(claim.jobs) for claim in claims] == [16, 16, 16]

    def test_who_comes_in_small_parts_gets_no_more_than_who_comes_in_one(self, cast: Cast) -> None:
        _queue_rows(cast.site, 100, cast.specimen())
        other = cast.specimen(site=cast.other_site)
        for _ in range(25):
            _queue_rows(cast.other_site, 4, other)
        sites = [job.site_id for _ in range(4) for job in claim_jobs(worker="a", limit=16).jobs]
        assert sites == [cast.site.pk, cast.other_site.pk] * 32

    def test_a_site_that_was_idle_has_saved_nothing_up(self, cast: Cast) -> None:
        _queue_rows(cast.site, 300, cast.specimen())
        for _ in range(10):
            claim_jobs(worker="a", limit=16)
        _queue_rows(cast.other_site, 100, cast.specimen(site=cast.other_site))
        sites = Counter(job.site_id for job in claim_jobs(worker="a", limit=16).jobs)
        assert sites == {cast.site.pk: 8, cast.other_site.pk: 8}

    def test_within_a_site_one_specimen_after_the_other(self, cast: Cast) -> None:
        first, second = cast.specimen(), cast.specimen()
        _queue_rows(cast.site, 10, first)
        _queue_rows(cast.site, 10, second)
        found = [job.specimen_id for job in claim_jobs(worker="a", limit=20).jobs]
        assert found == [first.pk] * 10 + [second.pk] * 10


class TestUrgency:
    def test_stat_and_a_waiting_client_come_before_a_bulk_import(self, cast: Cast) -> None:
        _queue_rows(cast.site, 1000, cast.specimen())
        _queue_rows(cast.site, 3, _stat(cast))
        _queue_rows(cast.site, 2)
        found = [job.priority for job in claim_jobs(worker="a", limit=16).jobs]
        assert found == [0, 0, 1, 1, 1] + [5] * 11

    def test_one_place_of_sixteen_is_kept_for_what_is_less_urgent(self, cast: Cast) -> None:
        _queue_rows(cast.site, 10, cast.specimen())
        _queue_rows(cast.site, 10, _stat(cast))
        _queue_rows(cast.site, 100)
        for _ in range(3):
            found = [job.priority for job in claim_jobs(worker="a", limit=16).jobs]
            assert found == [0] * 14 + [1, 5]
        found = [job.priority for job in claim_jobs(worker="a", limit=48).jobs]
        assert Counter(found) == {0: 42, 1: 3, 5: 3}

    def test_waiting_images_follow_the_priority_of_their_order(self, cast: Cast) -> None:
        late, stat = cast.specimen(), _stat(cast)
        _queue_rows(cast.site, 30, cast.specimen())
        _queue_rows(cast.site, 4, late)
        _queue_rows(cast.site, 4, stat)
        change_order(actor=cast.technician, order=late.order, changes={"priority": "stat"})
        claim = claim_jobs(worker="a", limit=9)
        found = [(job.specimen_id, job.priority) for job in claim.jobs[:8]]
        assert found == [(stat.pk, 1)] * 4 + [(late.pk, 1)] * 4

    def test_a_claim_knows_what_a_worker_asks_of_an_image(
        self, cast: Cast, django_assert_num_queries: Any
    ) -> None:
        _queue_rows(cast.site, 2, cast.specimen())
        with django_assert_num_queries(1):
            claim = claim_jobs(worker="a", limit=2)
            names = [(job.cell_image.thumbnail_name, job.cell_image.width) for job in claim.jobs]
        assert all(name.endswith(".png.thumb.jpg") for name, _ in names)
        job = Job.objects.get(pk=claim.jobs[0].pk)
        assert (job.state, job.attempts, job.worker) == (Job.State.RUNNING, 1, "a")
        assert (job.lease_token, job.lease_until) == (claim.token, claim.jobs[0].lease_until)


class TestRoom:
    def test_one_site_and_one_urgency_close_the_door_to_no_other(
        self, cast: Cast, settings: Any
    ) -> None:
        settings.QUEUE_LIMIT = 9
        _queue_rows(cast.site, 10, cast.specimen())
        with pytest.raises(QueueFull):
            refuse_when_full(site=cast.site, urgency=Job.Urgency.ROUTINE)
        refuse_when_full(site=cast.site, urgency=Job.Urgency.STAT)
        refuse_when_full(site=cast.other_site, urgency=Job.Urgency.ROUTINE)

    def test_many_small_calls_are_counted_without_asking_each_time(
        self, cast: Cast, settings: Any, django_assert_max_num_queries: Any
    ) -> None:
        settings.QUEUE_LIMIT = 20
        with django_assert_max_num_queries(2):
            for _ in range(20):
                refuse_when_full(site=cast.site, urgency=Job.Urgency.ROUTINE)
        _queue_rows(cast.site, 21, cast.specimen())
        refuse_when_full(site=cast.site, urgency=Job.Urgency.ROUTINE)
        with django_assert_max_num_queries(1):
            for _ in range(20):
                with pytest.raises(QueueFull):
                    refuse_when_full(site=cast.site, urgency=Job.Urgency.ROUTINE)
