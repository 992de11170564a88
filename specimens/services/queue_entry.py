"""The way into the queue: how urgent, after whom, and whether there is room.

The order of the queue is decided here, once, and not at each claim. In its urgency, a site's jobs
get one turn after the other, the first of them the turn that is being served: ordered by turn,
sites alternate, image by image, however many each of them has queued. Within a site the order is
that of arrival, so that one specimen after the other is complete.
"""

import time
from collections.abc import Sequence
from functools import cache, partial
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Min, QuerySet

from specimens import workflow
from specimens.models import CellImage, Job, Site, Specimen, User
from specimens.models.patients_orders import Priority
from specimens.permissions import Action, require, visible_to
from specimens.selectors import clock
from specimens.selectors.written_out import NewRows, rows, stored
from specimens.services import audit, doorbell
from specimens.services.errors import QueueFull

RETRY_AFTER_SECONDS: Final = 30
_COUNT_HOLDS_SECONDS: Final = 1.0
# Written out: the ORM takes longer to say this than the database to answer it.
_TURNS: Final = """
SELECT (
    SELECT turn FROM specimens_job WHERE state = 'queued' AND attempts = 0 AND priority = %s
    ORDER BY turn LIMIT 1
), (
    SELECT turn FROM specimens_job
    WHERE state = 'queued' AND attempts = 0 AND priority = %s AND site_id = %s
    ORDER BY turn DESC LIMIT 1
)
"""
# Both rows of each image, in one round trip; outside a transaction it is one of its own.
_ADD: Final = """
WITH added AS (
    INSERT INTO specimens_cellimage ({columns}) SELECT {columns} FROM {given}
    RETURNING id, site_id, specimen_id, file
), turns (served, last) AS ({turns}), queued AS (
    INSERT INTO specimens_job (cell_image_id, site_id, specimen_id, state, priority, turn,
        attempts, worker, error_code, error, created_at, due_at)
    SELECT id, site_id, specimen_id, 'queued', %s,
        greatest(0, served, last + 1) + row_number() OVER (ORDER BY id) - 1,
        0, '', '', '', %s, %s
    FROM added, turns
)
SELECT file, id FROM added
"""
_NEW: Final = NewRows(CellImage)

# By site, urgency and limit: until when a count holds, and how many more images it leaves room for.
_counts: dict[tuple[int, int, int], tuple[float, int]] = {}


def urgency_of(specimen: Specimen | None) -> Job.Urgency:
    """Return how urgent its images are; without a specimen a client waits for the answer."""
    if specimen is None:
        return Job.Urgency.WAITING_CLIENT
    stat = specimen.order.priority == Priority.STAT
    return Job.Urgency.STAT if stat else Job.Urgency.ROUTINE


def fresh_jobs(urgency: Job.Urgency) -> QuerySet[Job]:
    """Jobs that wait for their first try; an index holds just these."""
    return Job.objects.filter(state=Job.State.QUEUED, attempts=0, priority=urgency)


def refuse_when_full(*, site: Site, urgency: Job.Urgency, images: int = 1) -> None:
    """Raise QueueFull where more than QUEUE_LIMIT images of this site and urgency wait.

    By site and urgency, so that neither a bulk import nor another site closes the door to a STAT
    specimen. A call is let in whole or not at all. Counted at most once a second in each process:
    where the queue is long, many small calls come.
    """
    key = (site.pk, int(urgency), settings.QUEUE_LIMIT)
    now = time.monotonic()
    until, room = _counts.get(key, (0.0, 0))
    if now >= until:
        waiting = fresh_jobs(urgency).filter(site=site).order_by("turn")
        room = settings.QUEUE_LIMIT + 1 - waiting[: settings.QUEUE_LIMIT + 1].count()
        until = now + _COUNT_HOLDS_SECONDS
    if room <= 0:
        _counts[key] = (until, 0)
        raise QueueFull(retry_after_seconds=RETRY_AFTER_SECONDS)
    # Where it is used up, the next call counts again.
    _counts[key] = (until, room - images) if room > images else (0.0, 0)


def forget_counts() -> None:
    """Count anew at the next call."""
    _counts.clear()


def add_and_enqueue(
    *, images: Sequence[CellImage], specimen: Specimen | None, notice: bytes = b""
) -> None:
    """Write new images of one site, each with a file of its own, and queue them in their order.

    They get their numbers. In the transaction at hand, else in one of its own. Rings on commit, for
    the worker that took `notice` of them.
    """
    if not images:
        return
    if connection.vendor != "postgresql":  # which alone writes two tables in one statement
        with transaction.atomic():
            enqueue(images=CellImage.objects.bulk_create(images), specimen=specimen)
        return
    urgency, now = urgency_of(specimen).value, stored(Job, "due_at", clock.now())
    values = [_NEW.parameter(images), urgency, urgency, images[0].site_id, urgency, now, now]
    numbers = dict(rows(_add_statement(), values))
    for image in images:
        image.pk = numbers[image.file.name]
        image._state.adding, image._state.db = False, connection.alias
    transaction.on_commit(partial(doorbell.ring, jobs=len(images), notice=notice))


@cache
def _add_statement() -> str:
    return _ADD.format(columns=_NEW.columns, given=_NEW.given, turns=_TURNS)


def enqueue(*, images: Sequence[CellImage], specimen: Specimen | None) -> list[Job]:
    """Queue images of one site; in the transaction that writes them. Rings on commit."""
    if not images:
        return []
    site_id, urgency = images[0].site_id, urgency_of(specimen)
    turn, now = _next_turn(site_id, urgency), clock.now()
    jobs = Job.objects.bulk_create(
        Job(
            cell_image=image,
            site_id=site_id,
            specimen=specimen,
            priority=urgency,
            turn=place,
            created_at=now,
            due_at=now,
        )
        for place, image in enumerate(images, start=turn)
    )
    transaction.on_commit(partial(doorbell.ring, jobs=len(jobs)))
    return jobs


def change_urgency(*, specimen: Specimen) -> None:
    """Give what waits of `specimen` its urgency of now, behind the site's jobs of that urgency."""
    urgency = urgency_of(specimen)
    waiting = Job.objects.filter(specimen=specimen, state=Job.State.QUEUED)
    waiting = waiting.exclude(priority=urgency)
    first = waiting.aggregate(first=Min("turn"))["first"]
    if first is not None:
        ahead = _next_turn(specimen.site_id, urgency) - first
        waiting.update(priority=urgency, turn=F("turn") + ahead)


@transaction.atomic
def requeue_cell_images(
    *, actor: User, specimen: Specimen, cell_images: Sequence[CellImage] | None = None
) -> int:
    """Queue failed images of a specimen again (all of them, or those named); return how many."""
    require(actor, Action.REQUEUE)
    specimen = visible_to(actor, Specimen).select_for_update(of=("self",)).get(pk=specimen.pk)
    specimen.state = workflow.after(workflow.Act.REQUEUE, specimen.state)
    images = specimen.cell_images.filter(predictions__isnull=True).order_by("pk")
    images = images.exclude(jobs__state__in=[Job.State.QUEUED, Job.State.RUNNING])
    if cell_images is not None:
        images = images.filter(pk__in=[image.pk for image in cell_images])
    jobs = enqueue(images=list(images), specimen=specimen)
    if jobs:
        specimen.save(update_fields=["state"])
        audit.record(
            actor=actor,
            action="specimen.requeued",
            subject=specimen,
            specimen=specimen,
            details={"images": len(jobs)},
        )
    return len(jobs)


def _next_turn(site_id: int, urgency: Job.Urgency) -> int:
    """Return the turn behind the site's last job, and not before the one that is served now."""
    [(served, last)] = rows(_TURNS, [urgency.value, urgency.value, site_id])
    return max(served or 0, -1 if last is None else last + 1, 0)
