"""The queue: claim under a lease, give back what cannot be done, look after what is left."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, QuerySet

from specimens.models import CellImage, Job
from specimens.selectors import clock
from specimens.selectors.written_out import Columns, parted, rows, stored
from specimens.services import doorbell
from specimens.services.queue_exit import (
    complete_specimens,
    finish_jobs,
    finish_specimen,
    finish_specimens,
)

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
    for pk in complete_specimens().values_list("pk", flat=True):
        finish_specimen(pk)
    most: int = 8 * settings.BATCH_SIZE
    queued = Job.objects.filter(state=State.QUEUED)
    # Two questions, for each has an index of its own.
    fresh = queued.filter(attempts=0).order_by()[:most].count()
    again = queued.filter(attempts__gt=0, due_at__lte=clock.now()).order_by()[:most].count()
    if count := min(most, fresh + again):
        doorbell.ring(jobs=count)
    return count
