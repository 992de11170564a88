"""The queue: claim under a lease, write results where the lease still holds, give back the rest."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from specimens import workflow
from specimens.models import CellImage, Job, Prediction, Specimen
from specimens.selectors import clock
from specimens.selectors.written_out import Columns, parted, rows, stored
from specimens.services import audit, doorbell
from specimens.services.deliveries import enqueue_preliminary
from specimens.services.review_queue import refresh_flags

State = Job.State


@dataclass(frozen=True, slots=True)
class Claim:
    """Jobs leased to one worker; the token proves it until the lease runs out."""

    token: uuid.UUID
    jobs: list[Job] = field(default_factory=list)


_JOB: Final = Columns(
    Job,
    "specimens_job",
    ["id", "cell_image_id", "site_id", "specimen_id", "priority", "turn", "attempts", "created_at"],
)
# What a worker needs of an image, so that a claim is one round trip.
_IMAGE: Final = Columns(CellImage, "image", ["id", "file", "frame", "width", "height"])
# The locking parts are CTEs: PostgreSQL may run a locking subquery of an UPDATE once for each row,
# and then takes more than the limit.
_CLAIM: Final = """
WITH {parts}
UPDATE specimens_job SET state = 'running', lease_token = %s, lease_until = %s, worker = %s,
    attempts = attempts + 1
WHERE id IN (SELECT id FROM taken)
RETURNING {returned}
"""
_OF_IMAGE: Final = "(SELECT {column} FROM specimens_cellimage image WHERE image.id = cell_image_id)"
_RETURNED: Final = ", ".join(
    [_JOB.sql, *(_OF_IMAGE.format(column=column) for column in _IMAGE.each[1:])]
)
_DUE: Final = """{name} AS MATERIALIZED (
    SELECT id, priority, turn FROM specimens_job WHERE state = 'queued' AND {which}
    ORDER BY priority, {order} LIMIT %s {lock}
)"""
_TAKEN: Final = """taken AS MATERIALIZED (
    SELECT id FROM (
        SELECT 0 AS place, stat.* FROM stat UNION ALL SELECT 0, routine.* FROM routine
        UNION ALL SELECT 1, urgent.* FROM urgent
    ) AS due
    GROUP BY id, priority, turn ORDER BY min(place), priority, turn, id LIMIT %s
)"""
_MOST_URGENT: Final = """
SELECT
    coalesce((SELECT min(priority) FROM specimens_job WHERE state = 'queued' AND attempts = 0), %s),
    coalesce((SELECT min(priority) FROM specimens_job
        WHERE state = 'queued' AND attempts > 0 AND due_at <= %s), %s)
"""
# Less urgent than any job.
NOTHING_WAITS: Final = 1 + max(Job.Urgency)

_END: Final = """
UPDATE specimens_job
SET state = %s, finished_at = %s, lease_until = NULL, error_code = %s, error = %s
WHERE state = 'running' AND lease_token = %s AND cell_image_id IN ({places})
RETURNING cell_image_id, specimen_id
"""


def claim_jobs(
    *, worker: str, limit: int, retries: bool = False, more_urgent_than: int | None = None
) -> Claim:
    """Lease up to `limit` due jobs, the most urgent first; each job goes to one worker only.

    Of sixteen places one is kept for STAT work and one for routine work: neither waits for ever
    behind what is more urgent. `retries` selects jobs that were tried before. They are claimed
    apart from fresh ones, and one at a time, so that an image that kills its worker takes no other
    with it. `more_urgent_than` leaves out fresh jobs of this urgency and below. Of their images
    only what a worker needs is read.
    """
    now, token = clock.now(), uuid.uuid4()
    lease_until = now + timedelta(seconds=settings.LEASE_SECONDS)
    parts, values = _retried(now, limit) if retries else _fresh(limit, more_urgent_than)
    values += [stored(Job, "lease_token", token), stored(Job, "lease_until", lease_until), worker]
    jobs = []
    for row in rows(_CLAIM.format(parts=parts, returned=_RETURNED), values):
        of_job, image = parted(row, _JOB)
        job = _JOB.instance(of_job)
        job.cell_image = _IMAGE.instance([job.cell_image_id, *image])
        job.state, job.worker = State.RUNNING, worker
        job.lease_token, job.lease_until = token, lease_until
        jobs.append(job)
    jobs.sort(key=lambda job: (job.priority, job.turn, job.pk))
    return Claim(token, jobs)


def most_urgent_waiting() -> tuple[int, int]:
    """Return the urgency of the most urgent fresh job, and of those due that were tried before.

    NOTHING_WAITS where there is none. A look at two short indexes, for a claim takes longer.
    """
    now = stored(Job, "due_at", clock.now())
    [(fresh, retried)] = rows(_MOST_URGENT, [NOTHING_WAITS, now, NOTHING_WAITS])
    return fresh, retried


def _fresh(limit: int, more_urgent_than: int | None) -> tuple[str, list[Any]]:
    kept = max(1, limit // 16) if limit >= 4 else 0
    which = "attempts = 0"
    if more_urgent_than is not None:
        which += f" AND priority < {more_urgent_than:d}"
    parts = [
        _due("urgent", which),
        _due("stat", f"{which} AND priority = {Job.Urgency.STAT:d}"),
        _due("routine", f"{which} AND priority = {Job.Urgency.ROUTINE:d}"),
        _TAKEN,
    ]
    return ", ".join(parts), [limit, kept, kept, limit]


def _retried(now: datetime, limit: int) -> tuple[str, list[Any]]:
    due = _due("taken", "attempts > 0 AND due_at <= %s", order="id")
    return due, [stored(Job, "due_at", now), limit]


def _due(name: str, which: str, order: str = "turn, id") -> str:
    skip = connection.features.has_select_for_update_skip_locked
    lock = "FOR UPDATE SKIP LOCKED" if skip else ""
    return _DUE.format(name=name, which=which, order=order, lock=lock)


def _held(token: uuid.UUID) -> QuerySet[Job]:
    return Job.objects.filter(state=State.RUNNING, lease_token=token)


def extend_leases(*, tokens: Iterable[uuid.UUID]) -> None:
    """Prolong the leases of a worker that is alive, from now on."""
    Job.objects.filter(state=State.RUNNING, lease_token__in=list(tokens)).update(
        lease_until=clock.now() + timedelta(seconds=settings.LEASE_SECONDS)
    )


def finish_jobs(
    *, token: uuid.UUID, predictions: Sequence[Prediction], failures: Sequence[tuple[Job, str, str]]
) -> int:
    """Write predictions and final failures (job, code, text) of a claim; return how many counted.

    A job whose lease was taken over is left alone: the other worker's result stands.
    """
    with transaction.atomic():
        ended = _end(token, State.DONE, [p.cell_image_id for p in predictions])
        ours = [p for p in predictions if p.cell_image_id in ended]
        Prediction.objects.bulk_create(ours, ignore_conflicts=True)
        for job, code, text in failures:
            ended |= _end(token, State.FAILED, [job.cell_image_id], code, text)
    finish_specimens(specimen_ids=ended.values())
    return len(ended)


def _end(
    token: uuid.UUID, state: Job.State, image_ids: Sequence[int], code: str = "", text: str = ""
) -> dict[int, int | None]:
    """End the jobs of these images that the lease still holds; return specimen by image."""
    if not image_ids:
        return {}
    places = ", ".join(["%s"] * len(image_ids))
    now, lease = stored(Job, "finished_at", clock.now()), stored(Job, "lease_token", token)
    values = [state.value, now, code, text[:500], lease, *image_ids]
    return dict(rows(_END.format(places=places), values))


def finish_specimens(*, specimen_ids: Iterable[int | None]) -> None:
    """Move each of these specimens on whose last open job has ended.

    Called behind the commit that ended jobs: of two workers with the last two jobs, the later one
    sees both, and no worker waits for another at a specimen that is not complete yet. The sweep
    calls it for who died in between.
    """
    ids = {pk for pk in specimen_ids if pk is not None}
    complete = list(_complete_specimens().filter(pk__in=ids)) if ids else []
    for specimen in complete:
        _finish_specimen(specimen.pk)


def _complete_specimens() -> QuerySet[Specimen]:
    """Specimens that still count as waiting, with no job that does."""
    open_jobs = Job.objects.filter(specimen=OuterRef("pk"), state__in=[State.QUEUED, State.RUNNING])
    return Specimen.objects.filter(~Exists(open_jobs), state=Specimen.State.IMAGED).order_by("pk")


@transaction.atomic
def _finish_specimen(pk: int) -> None:
    # Locked first, looked at again behind it: somebody may have added images meanwhile. Who holds
    # it now adds images or finishes it too; at anything else the sweep comes again.
    rows = Specimen.objects.filter(pk=pk)
    locked = rows.select_for_update(skip_locked=True, no_key=True, of=("self",)).first()
    specimen = _complete_specimens().filter(pk=pk).first() if locked else None
    if specimen is None:
        return
    specimen.state = workflow.after(workflow.Act.FINISH_CLASSIFICATION, specimen.state)
    specimen.save(update_fields=["state"])
    refresh_flags(specimen=specimen)
    enqueue_preliminary(specimen=specimen)
    audit.record(actor=None, action="specimen.classified", subject=specimen, specimen=specimen)


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
        due_at=clock.now() + pause,
        error_code=code,
        error=text[:500],
    )


@transaction.atomic
def give_back_claim(*, token: uuid.UUID) -> int:
    """Put a whole claim back as if it had not been made: what it needs is away."""
    return _held(token).update(
        state=State.QUEUED, lease_token=None, lease_until=None, attempts=F("attempts") - 1
    )


def release_expired_leases() -> int:
    """Take jobs back from workers that died; one that outlived MAX_ATTEMPTS workers fails."""
    with transaction.atomic():
        expired = Job.objects.filter(state=State.RUNNING, lease_until__lt=clock.now())
        if connection.features.has_select_for_update_skip_locked:
            expired = expired.select_for_update(skip_locked=True)
        jobs = list(expired)
        exhausted = [job for job in jobs if job.attempts >= settings.MAX_ATTEMPTS]
        Job.objects.filter(pk__in=[j.pk for j in exhausted]).update(
            state=State.FAILED,
            finished_at=clock.now(),
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
    finish_specimens(specimen_ids=[job.specimen_id for job in exhausted])
    return len(jobs)


def sweep() -> int:
    """Do what dead workers have left, and ring for what is due; return how many jobs are due."""
    release_expired_leases()
    for pk in _complete_specimens().values_list("pk", flat=True):
        _finish_specimen(pk)
    most: int = 8 * settings.BATCH_SIZE
    queued = Job.objects.filter(state=State.QUEUED)
    # Two questions, for each has an index of its own.
    fresh = queued.filter(attempts=0).order_by()[:most].count()
    again = queued.filter(attempts__gt=0, due_at__lte=clock.now()).order_by()[:most].count()
    if count := min(most, fresh + again):
        doorbell.ring(jobs=count)
    return count
