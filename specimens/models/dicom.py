"""DICOM instances as they were received, their frames, and the log of everything that came."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from specimens.models.accounts import Site, User
from specimens.models.cells import CellImage
from specimens.models.specimens import Specimen

UID_LENGTH = 64  # PS3.5 section 9.1


def instance_path(instance: "DicomInstance", filename: str) -> str:
    """Name the stored file: by day and at random, never by what the sender called it."""
    return f"dicom/{timezone.now():%Y/%m/%d}/{uuid.uuid4().hex}.dcm"


class Way(models.TextChoices):
    """How an instance came in."""

    UPLOAD = "upload", "Upload page"
    API = "api", "REST"
    COMMAND = "command", "Command"
    C_STORE = "c-store", "C-STORE"
    STOW = "stow", "STOW-RS"
    RETRIEVE = "retrieve", "Query and retrieve"


class DicomInstance(models.Model):
    """One SOP instance, the file kept exactly as it was received.

    matched: its frames are cell images of `specimen`. unmatched: no specimen fits, or several do.
    quarantined: it contradicts itself or what is recorded, and a person has to look. discarded: a
    person has put it aside; the file stays.
    """

    class State(models.TextChoices):
        MATCHED = "matched", "Matched"
        UNMATCHED = "unmatched", "Unmatched"
        QUARANTINED = "quarantined", "Quarantined"
        DISCARDED = "discarded", "Discarded"

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="dicom_instances")
    specimen = models.ForeignKey(
        Specimen, on_delete=models.PROTECT, related_name="dicom_instances", null=True, blank=True
    )
    state = models.CharField(max_length=12, choices=State.choices)
    reason = models.CharField(
        max_length=500, blank=True, help_text="Why it is in this state, for people."
    )
    sop_class_uid = models.CharField(max_length=UID_LENGTH)
    sop_instance_uid = models.CharField(max_length=UID_LENGTH)
    series_instance_uid = models.CharField(max_length=UID_LENGTH, blank=True)
    study_instance_uid = models.CharField(max_length=UID_LENGTH, blank=True)
    transfer_syntax_uid = models.CharField(max_length=UID_LENGTH)
    number_of_frames = models.PositiveIntegerField(default=1)
    rows = models.PositiveIntegerField()
    columns = models.PositiveIntegerField()
    micrometres_per_pixel = models.FloatField(
        null=True, blank=True, help_text="Where the data set says it."
    )
    file = models.FileField(upload_to=instance_path, max_length=200)
    filename = models.CharField(max_length=255, blank=True, help_text="As the sender named it.")
    size = models.PositiveBigIntegerField("size in bytes")
    sha256 = models.CharField(max_length=64, help_text="Of the file as received.")
    content_sha256 = models.CharField(
        max_length=64, help_text="Of pixel data, their description and the identifiers."
    )
    identifiers = models.JSONField(
        default=dict,
        blank=True,
        help_text="What the data set says of patient, order, specimen and container.",
    )
    icc_profile = models.CharField(
        max_length=120, blank=True, help_text="The embedded profile; empty: none."
    )
    way = models.CharField(max_length=10, choices=Way.choices)
    sender = models.CharField(max_length=120, help_text="AE title, account or address.")
    received_from = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="+", null=True, blank=True
    )
    received_at = models.DateTimeField(default=timezone.now)
    conflicts_with = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        related_name="conflicts",
        null=True,
        blank=True,
        help_text="The instance received first under the same UID, with other content.",
    )
    decided_by = models.ForeignKey(
        User,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        help_text="Who assigned or discarded it by hand.",
    )
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["site", "sop_instance_uid"],
                condition=Q(conflicts_with__isnull=True),
                name="one_dicom_instance_per_uid",
            ),
            models.UniqueConstraint(
                fields=["site", "sop_instance_uid", "content_sha256"],
                name="one_dicom_instance_per_content",
            ),
            models.CheckConstraint(
                condition=Q(state="matched", specimen__isnull=False)
                | (~Q(state="matched") & Q(specimen__isnull=True)),
                name="dicom_matched_to_a_specimen",
            ),
        ]
        indexes = [
            models.Index(
                fields=["site", "-received_at"],
                condition=Q(state__in=["unmatched", "quarantined"]),
                name="dicom_waiting",
            ),
            models.Index(fields=["site", "study_instance_uid"], name="dicom_study"),
        ]

    def __str__(self) -> str:
        return self.sop_instance_uid

    def thumbnail_name(self, frame: int) -> str:
        """Storage name of the small picture of a frame, numbered from 1."""
        return f"{self.file.name}.{frame}.thumb.jpg"


class DicomFrame(models.Model):
    """One frame of an instance; its cell image exists as soon as the instance is matched."""

    instance = models.ForeignKey(DicomInstance, on_delete=models.PROTECT, related_name="frames")
    number = models.PositiveIntegerField(help_text="From 1.")
    sha256 = models.CharField(max_length=64, help_text="Of the encoded frame.")
    cell_image = models.OneToOneField(
        CellImage, on_delete=models.PROTECT, related_name="dicom_frame", null=True, blank=True
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["instance", "number"], name="one_row_per_dicom_frame")
        ]

    def __str__(self) -> str:
        return f"{self.instance} frame {self.number}"


class DicomImport(models.Model):
    """One line of the log: what came in, or was refused, and why. Only ever added to."""

    class Outcome(models.TextChoices):
        STORED = "stored", "Stored"
        DUPLICATE = "duplicate", "Known already"
        UNMATCHED = "unmatched", "Unmatched"
        QUARANTINED = "quarantined", "Quarantined"
        REFUSED = "refused", "Refused"

    site = models.ForeignKey(
        Site, on_delete=models.PROTECT, related_name="dicom_imports", null=True, blank=True
    )
    instance = models.ForeignKey(
        DicomInstance, on_delete=models.PROTECT, related_name="imports", null=True, blank=True
    )
    outcome = models.CharField(max_length=12, choices=Outcome.choices)
    code = models.CharField(max_length=40, blank=True, help_text="Of the refusal.")
    text = models.CharField(max_length=1000, blank=True)
    way = models.CharField(max_length=10, choices=Way.choices)
    sender = models.CharField(max_length=120)
    actor = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="+", null=True, blank=True
    )
    filename = models.CharField(max_length=255, blank=True)
    size = models.PositiveBigIntegerField("size in bytes", null=True, blank=True)
    sop_class_uid = models.CharField(max_length=UID_LENGTH, blank=True)
    sop_instance_uid = models.CharField(max_length=UID_LENGTH, blank=True)
    study_instance_uid = models.CharField(max_length=UID_LENGTH, blank=True)
    transfer_syntax_uid = models.CharField(max_length=UID_LENGTH, blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["site", "-at"], name="dicom_import_log"),
            models.Index(
                fields=["site", "-at"], condition=Q(outcome="refused"), name="dicom_import_refused"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.outcome} {self.sop_instance_uid}"
