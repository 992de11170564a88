"""The way out of the queue: results are written where the lease still holds, specimens move on."""

import uuid
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Final

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet

from specimens import workflow
from specimens.models import Job, Prediction, Specimen
from specimens.selectors import clock
from specimens.selectors.written_out import NewRows, rows, stored
from specimens.services import audit
from specimens.services.deliveries import enqueue_preliminary
from specimens.services.review_queue import refresh_flags

State = Job.State

_END: Final = """
UPDATE specimens_job
SET state = %s, finished_at = %s, lease_until = NULL, error_code = %s, error = %s
WHERE state = 'running' AND lease_token = %s AND cell_image_id IN ({places})
RETURNING cell_image_id, specimen_id
"""
# Results and the end of their jobs in one round trip; outside a transaction it is one of its own.
_DONE: Final = """
WITH given AS MATERIALIZED (SELECT * FROM {given}), ended AS (
    UPDATE specimens_job
    SET state = 'done', finished_at = %s, lease_until = NULL, error_code = '', error = ''
    WHERE state = 'running' AND lease_token = %s
        AND cell_image_id = ANY (ARRAY(SELECT cell_image_id FROM given))
    RETURNING cell_image_id, specimen_id
), written AS (
    INSERT INTO specimens_prediction ({columns})
    SELECT {columns} FROM given WHERE cell_image_id IN (SELECT cell_image_id FROM ended)
    ON CONFLICT DO NOTHING
)
SELECT cell_image_id, specimen_id FROM ended
"""
_PREDICTIONS: Final = NewRows(Prediction)


def finish_jobs(
    *, token: uuid.UUID, predictions: Sequence[Prediction], failures: Sequence[tuple[Job, str, str]]
) -> int:
    """Write predictions and final failures (job, code, text) of a claim; return how many counted.

    A job whose lease was taken over is left alone: the other worker's result stands.
    """
    at_once = connection.vendor == "postgresql"  # which alone writes two tables in one statement
    with nullcontext() if at_once and not failures else transaction.atomic():
        ended = (_done_at_once if at_once else _done)(token, predictions)
        for job, code, text in failures:
            ended |= _end(token, State.FAILED, [job.cell_image_id], code, text)
    finish_specimens(specimen_ids=ended.values())
    return len(ended)


def _done_at_once(token: uuid.UUID, predictions: Sequence[Prediction]) -> dict[int, int | None]:
    if not predictions:
        return {}
    now, lease = stored(Job, "finished_at", clock.now()), stored(Job, "lease_token", token)
    return dict(rows(_done_statement(), [_PREDICTIONS.parameter(predictions), now, lease]))


@cache
def _done_statement() -> str:
    return _DONE.format(given=_PREDICTIONS.given, columns=_PREDICTIONS.columns)


def _done(token: uuid.UUID, predictions: Sequence[Prediction]) -> dict[int, int | None]:
    ended = _end(token, State.DONE, [p.cell_image_id for p in predictions])
    ours = [p for p in predictions if p.cell_image_id in ended]
    Prediction.objects.bulk_create(ours, ignore_conflicts=True)
    return ended


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
    complete = list(complete_specimens().filter(pk__in=ids)) if ids else []
    for specimen in complete:
        finish_specimen(specimen.pk)


def complete_specimens() -> QuerySet[Specimen]:
    """Specimens that still count as waiting, with no job that does."""
    open_jobs = Job.objects.filter(specimen=OuterRef("pk"), state__in=[State.QUEUED, State.RUNNING])
    return Specimen.objects.filter(~Exists(open_jobs), state=Specimen.State.IMAGED).order_by("pk")


@transaction.atomic
def finish_specimen(pk: int) -> None:
    # Locked first, looked at again behind it: somebody may have added images meanwhile. Who holds
    # it now adds images or finishes it too; at anything else the sweep comes again.
    rows = Specimen.objects.filter(pk=pk)
    locked = rows.select_for_update(skip_locked=True, no_key=True, of=("self",)).first()
    specimen = complete_specimens().filter(pk=pk).first() if locked else None
    if specimen is None:
        return
    specimen.state = workflow.after(workflow.Act.FINISH_CLASSIFICATION, specimen.state)
    specimen.save(update_fields=["state"])
    refresh_flags(specimen=specimen)
    enqueue_preliminary(specimen=specimen)
    audit.record(actor=None, action="specimen.classified", subject=specimen, specimen=specimen)
