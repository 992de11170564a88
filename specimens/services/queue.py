"""The queue: claim under a lease, write results where the lease still holds, give back the rest."""

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from specimens import workflow
from specimens.models import CellImage, Job, Prediction, Specimen, User
from specimens.models.patients_orders import Priority
from specimens.permissions import Action, require, visible_to
from specimens.services import audit, doorbell
from specimens.services.deliveries import enqueue_preliminary
from specimens.services.review_queue import refresh_flags

State = Job.State


@dataclass(frozen=True, slots=True)
class Claim:
    """Jobs leased to one worker; the token proves it until the lease runs out."""

    token: uuid.UUID
    jobs: list[Job] = field(default_factory=list)


def urgency_of(specimen: Specimen | None) -> Job.Urgency:
    """Return how urgent its images are; without a specimen a client waits for the answer."""
    if specimen is None:
        return Job.Urgency.WAITING_CLIENT
    stat = specimen.order.priority == Priority.STAT
    return Job.Urgency.STAT if stat else Job.Urgency.ROUTINE


def claim_jobs(*, worker: str, limit: int, retries: bool = False) -> Claim:
    """Lease up to `limit` due jobs, the most urgent first; each job goes to one worker only.

    `retries` selects those that were tried before. They are claimed apart from fresh ones, and one
    at a time, so that an image that kills its worker takes no other with it.
    """
    now = timezone.now()
    token = uuid.uuid4()
    due = Job.objects.filter(state=State.QUEUED, due_at__lte=now).order_by("priority", "id")
    due = due.filter(attempts__gt=0) if retries else due.filter(attempts=0)
    due = due.select_related("cell_image")
    if connection.features.has_select_for_update_skip_locked:
        due = due.select_for_update(skip_locked=True, of=("self",))
    lease_until = now + timedelta(seconds=settings.LEASE_SECONDS)
    with transaction.atomic():
        # Two statements on purpose: PostgreSQL may run a locking subquery of an UPDATE once for
        # each row, and then takes more than the limit.
        jobs = list(due[:limit])
        Job.objects.filter(pk__in=[job.pk for job in jobs]).update(
            state=State.RUNNING,
            lease_token=token,
            lease_until=lease_until,
            attempts=F("attempts") + 1,
            worker=worker,
        )
    for job in jobs:
        job.state, job.lease_token, job.lease_until = State.RUNNING, token, lease_until
        job.attempts, job.worker = job.attempts + 1, worker
    return Claim(token, jobs)


def _held(token: uuid.UUID) -> QuerySet[Job]:
    return Job.objects.filter(state=State.RUNNING, lease_token=token)


def extend_leases(*, tokens: Iterable[uuid.UUID]) -> None:
    """Prolong the leases of a worker that is alive, from now on."""
    Job.objects.filter(state=State.RUNNING, lease_token__in=list(tokens)).update(
        lease_until=timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
    )


@transaction.atomic
def finish_jobs(
    *, token: uuid.UUID, predictions: Sequence[Prediction], failures: Sequence[tuple[Job, str, str]]
) -> int:
    """Write predictions and final failures (job, code, text) of a claim; return how many counted.

    A job whose lease was taken over is left alone: the other worker's result stands.
    """
    held = {
        job.cell_image_id: job
        for job in _held(token).select_for_update(of=("self",)).order_by("id")
    }
    now = timezone.now()
    ours = [p for p in predictions if p.cell_image_id in held]
    Prediction.objects.bulk_create(ours, ignore_conflicts=True)
    done = [held[p.cell_image_id].pk for p in ours]
    Job.objects.filter(pk__in=done).update(
        state=State.DONE, finished_at=now, lease_until=None, error="", error_code=""
    )
    failed = [(job, code, text) for job, code, text in failures if job.cell_image_id in held]
    for job, code, text in failed:
        Job.objects.filter(pk=job.pk).update(
            state=State.FAILED, finished_at=now, lease_until=None, error_code=code, error=text[:500]
        )
    ended = [p.cell_image_id for p in ours] + [job.cell_image_id for job, _, _ in failed]
    finish_specimens(cell_image_ids=ended)
    return len(done) + len(failed)


def finish_specimens(*, cell_image_ids: Sequence[int]) -> None:
    """Move each specimen of these images on whose last open job has ended."""
    open_jobs = Job.objects.filter(
        cell_image__specimen=OuterRef("pk"), state__in=[State.QUEUED, State.RUNNING]
    )
    ids = set(
        CellImage.objects.filter(pk__in=cell_image_ids, specimen__isnull=False)
        .order_by()
        .values_list("specimen_id", flat=True)
    )
    # Locked first, looked at after: of two workers with the last two jobs, the later one sees both.
    locked = Specimen.objects.select_for_update(of=("self",)).filter(pk__in=ids).order_by("pk")
    imaged = [s.pk for s in locked if s.state == Specimen.State.IMAGED]
    for specimen in Specimen.objects.filter(~Exists(open_jobs), pk__in=imaged):
        specimen.state = workflow.after(workflow.Act.FINISH_CLASSIFICATION, specimen.state)
        specimen.save(update_fields=["state"])
        refresh_flags(specimen=specimen)
        enqueue_preliminary(specimen=specimen)
        audit.record(actor=None, action="specimen.classified", subject=specimen, specimen=specimen)


@transaction.atomic
def return_job(*, token: uuid.UUID, job: Job, code: str, text: str) -> None:
    """Give a job back after a failure that may pass; after MAX_ATTEMPTS it ends as failed."""
    if job.attempts >= settings.MAX_ATTEMPTS:
        finish_jobs(token=token, predictions=[], failures=[(job, code, text)])
        return
    pause = timedelta(seconds=min(60.0, 0.5 * 2**job.attempts))
    _held(token).filter(pk=job.pk).update(
        state=State.QUEUED,
        lease_token=None,
        lease_until=None,
        due_at=timezone.now() + pause,
        error_code=code,
        error=text[:500],
    )


@transaction.atomic
def release_expired_leases() -> int:
    """Take jobs back from workers that died; one that outlived MAX_ATTEMPTS workers fails."""
    expired = Job.objects.filter(state=State.RUNNING, lease_until__lt=timezone.now())
    if connection.features.has_select_for_update_skip_locked:
        expired = expired.select_for_update(skip_locked=True)
    jobs = list(expired)
    exhausted = [job for job in jobs if job.attempts >= settings.MAX_ATTEMPTS]
    Job.objects.filter(pk__in=[j.pk for j in exhausted]).update(
        state=State.FAILED,
        finished_at=timezone.now(),
        lease_until=None,
        error_code="worker_died",
        error=(
            f"The worker stopped {settings.MAX_ATTEMPTS} times while it had this image. "
            "Look at the image; requeue it when the cause is known."
        ),
    )
    Job.objects.filter(pk__in=[j.pk for j in jobs if j not in exhausted]).update(
        state=State.QUEUED, lease_token=None, lease_until=None
    )
    finish_specimens(cell_image_ids=[j.cell_image_id for j in exhausted])
    return len(jobs)


def sweep() -> int:
    """Take expired leases back and ring for what is due; return how many jobs are due."""
    release_expired_leases()
    due = Job.objects.filter(state=State.QUEUED, due_at__lte=timezone.now())
    count = due.order_by("priority", "id")[: 8 * settings.BATCH_SIZE].count()
    if count:
        doorbell.ring(jobs=count)
    return count


@transaction.atomic
def requeue_cell_images(
    *, actor: User, specimen: Specimen, cell_images: Sequence[CellImage] | None = None
) -> int:
    """Queue failed images of a specimen again (all of them, or those named); return how many."""
    require(actor, Action.REQUEUE)
    specimen = visible_to(actor, Specimen).select_for_update(of=("self",)).get(pk=specimen.pk)
    specimen.state = workflow.after(workflow.Act.REQUEUE, specimen.state)
    images = specimen.cell_images.filter(predictions__isnull=True).exclude(
        jobs__state__in=[State.QUEUED, State.RUNNING]
    )
    if cell_images is not None:
        images = images.filter(pk__in=[image.pk for image in cell_images])
    jobs = Job.objects.bulk_create(
        [Job(cell_image=image, priority=urgency_of(specimen)) for image in images]
    )
    if jobs:
        specimen.save(update_fields=["state"])
        audit.record(
            actor=actor,
            action="specimen.requeued",
            subject=specimen,
            specimen=specimen,
            details={"images": len(jobs)},
        )
        transaction.on_commit(partial(doorbell.ring, jobs=len(jobs)))
    return len(jobs)


def await_results(
    cell_images: Sequence[CellImage], *, seconds: float
) -> dict[int, Prediction | Job]:
    """Wait until each image has a prediction or a failed job, at most `seconds`.

    Returns them by image id; what is not finished is absent. The pauses grow from 2 to 50 ms: a
    single image is answered at once, a long wait costs the database little.
    """
    results: dict[int, Prediction | Job] = {}
    pending = {image.pk for image in cell_images}
    deadline = time.monotonic() + seconds
    pause = 0.002
    while pending:
        ended = Job.objects.filter(
            cell_image__in=pending, state__in=[State.DONE, State.FAILED]
        ).order_by("id")
        jobs = {job.cell_image_id: job for job in ended}
        done = [pk for pk, job in jobs.items() if job.state == State.DONE]
        predictions = Prediction.objects.filter(cell_image__in=done).select_related("model_version")
        results |= {pk: job for pk, job in jobs.items() if job.state == State.FAILED}
        results |= {p.cell_image_id: p for p in predictions.order_by("id")} if done else {}
        pending -= results.keys()
        if not pending or time.monotonic() >= deadline:
            break
        time.sleep(pause)
        pause = min(0.05, pause * 1.25)
    return results
