"""The queue. It lives in the database; a broker only rings (docs/architecture.md)."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from specimens.models.accounts import Site
from specimens.models.cells import CellImage
from specimens.models.specimens import Specimen

_QUEUED = Q(state="queued")


class Job(models.Model):
    """The order to classify one cell image.

    queued -> running (under a lease) -> done or failed. A running job whose lease has run out goes
    back to queued. Ordered by `priority`, then `turn`, the smaller number first. A site's jobs of
    one priority have one turn after the other, so that sites take turns (services/queue.py).
    """

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    class Urgency(models.IntegerChoices):
        WAITING_CLIENT = 0, "A client waits for the answer"
        STAT = 1, "STAT order"
        ROUTINE = 5, "Routine"

    cell_image = models.ForeignKey(CellImage, on_delete=models.PROTECT, related_name="jobs")
    # The image's own, repeated: what the queue asks must not cost a look at images. The image holds
    # both in place; a constraint here would lock their rows once more for each job.
    site = models.ForeignKey(
        Site,
        on_delete=models.DO_NOTHING,
        related_name="+",
        null=True,
        db_constraint=False,
        db_index=False,
    )
    specimen = models.ForeignKey(
        Specimen,
        on_delete=models.DO_NOTHING,
        related_name="+",
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    priority = models.SmallIntegerField(choices=Urgency.choices, default=Urgency.ROUTINE)
    turn = models.BigIntegerField(default=0, db_default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=100, blank=True)
    error_code = models.CharField(max_length=40, blank=True)
    error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["cell_image"],
                condition=Q(state__in=["queued", "running"]),
                name="one_open_job_per_cell_image",
            )
        ]
        indexes = [
            # All but the last two hold open jobs only, and stay small over the years.
            models.Index(
                fields=["priority", "turn", "id"],
                condition=_QUEUED & Q(attempts=0),
                name="job_fresh",
            ),
            models.Index(
                fields=["site", "priority", "turn"],
                condition=_QUEUED & Q(attempts=0),
                name="job_fresh_of_site",
            ),
            models.Index(
                fields=["priority", "id"],
                condition=_QUEUED & Q(attempts__gt=0),
                name="job_retried",
            ),
            # Not over lease_until: prolonging a lease then leaves every index alone.
            models.Index(fields=["lease_token"], condition=Q(state="running"), name="job_running"),
            models.Index(
                fields=["specimen"],
                condition=Q(state__in=["queued", "running"]),
                name="job_open_of_specimen",
            ),
            # Both are looked for on pages, and are few among the jobs of years.
            models.Index(fields=["cell_image"], condition=Q(state="failed"), name="job_failed"),
            models.Index(
                fields=["finished_at"],
                condition=Q(state__in=["done", "failed"]),
                name="job_finished",
            ),
        ]

    def __str__(self) -> str:
        return f"job {self.pk}: {self.state}"


class WorkerHeartbeat(models.Model):
    """A sign of life of one worker process; health and the leases rest on it."""

    worker = models.CharField(max_length=100, unique=True)
    engine = models.CharField(max_length=20)
    model_digest = models.CharField(max_length=64)
    started_at = models.DateTimeField()
    counters = models.JSONField(default=dict, help_text="What it has done since (metrics).")
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.worker
