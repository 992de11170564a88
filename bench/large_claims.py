"""What the queue costs beside the jobs of years: looking for room, queueing, claims, results."""

from typing import Final

from bench.measured import Measured, timed
from bench.queue_rows import imaged_specimen, made_up_result, model_version, queue_images

QUEUED: Final = 10_000
AT_ONCE: Final = 16
ROUNDS: Final = 100


def measure_queue(name: str) -> list[Measured]:
    """Return the times with 10,000 images of one site in the queue; all are ended behind."""
    from specimens.models import Job, Site, User
    from specimens.services.queue import Claim, claim_jobs
    from specimens.services.queue_entry import forget_counts, refuse_when_full
    from specimens.services.queue_exit import finish_jobs

    site, version = Site.objects.order_by("pk")[0], model_version()
    specimen = imaged_specimen(site, User.objects.order_by("pk")[0])
    queue_images(specimen, QUEUED)
    claims: list[Claim] = []

    def look_for_room() -> None:
        forget_counts()
        refuse_when_full(site=site, urgency=Job.Urgency.ROUTINE)

    def finish() -> None:
        claim = claims.pop()
        results = [made_up_result(job.cell_image_id, version) for job in claim.jobs]
        finish_jobs(token=claim.token, predictions=results, failures=[])

    def claim() -> None:
        claims.append(claim_jobs(worker="bench", limit=AT_ONCE))

    measured = [
        timed(f"{name}: room, {QUEUED:,} queued", look_for_room),
        timed(f"{name}: queue {AT_ONCE}", lambda: queue_images(specimen, AT_ONCE), ROUNDS),
        timed(f"{name}: claim {AT_ONCE}", claim, ROUNDS),
        timed(f"{name}: finish {AT_ONCE}", finish, ROUNDS),
    ]
    Job.objects.filter(specimen=specimen).update(state=Job.State.DONE)
    return measured
