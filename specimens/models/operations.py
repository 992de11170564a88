"""What the operation of the platform leaves on record."""

from django.db import models
from django.utils import timezone

from specimens.models.accounts import User
from specimens.models.specimens import Specimen


class OperationRun(models.Model):
    """One run of a command that has to be run now and then; monitoring asks for the newest."""

    class Operation(models.TextChoices):
        AUDIT_VERIFICATION = "audit_verification", "Audit chain verified"
        BACKUP = "backup", "Backup"
        RESTORE = "restore", "Restored from a backup"
        ARCHIVE = "archive", "Images archived"
        RETENTION = "retention", "Retention applied"

    operation = models.CharField(max_length=20, choices=Operation.choices)
    ok = models.BooleanField()
    finished_at = models.DateTimeField(default=timezone.now)
    details = models.JSONField(default=dict, blank=True)

    class Meta:
        indexes = [models.Index(fields=["operation", "ok", "-finished_at"], name="operation_run")]

    def __str__(self) -> str:
        return f"{self.operation} {self.finished_at:%Y-%m-%d %H:%M}"


class ImageCustody(models.Model):
    """Where the images of a signed case are, once they have left the image store.

    A case without a row has them there. Rows of cells stay for ever; only files move or go.
    """

    specimen = models.OneToOneField(
        Specimen, on_delete=models.PROTECT, related_name="image_custody"
    )
    archived_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)
    legal_hold = models.CharField(
        max_length=200, blank=True, help_text="Why no image may be removed; empty: no hold."
    )
    held_by = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="+", null=True, blank=True
    )

    class Meta:
        verbose_name_plural = "image custodies"

    def __str__(self) -> str:
        return f"images of {self.specimen_id}"
