"""The queue by its rules: one lease per job, results only under it, nothing lost, nothing twice."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from classifier.models import ModelVersion
from specimens.models import AuditEvent, Job, Prediction, Specimen
from specimens.services.imaging import add_cell_images
from specimens.services.queue import (
    Claim,
    claim_jobs,
    extend_leases,
    finish_jobs,
    release_expired_leases,
    requeue_cell_images,
    return_job,
    sweep,
)
from tests.factories import Cast, upload

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
