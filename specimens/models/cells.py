"""The pictures of cells and what the machine made of them."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from classifier.models import ModelVersion
from specimens.models.accounts import Site, User
from specimens.models.specimens import Slide, Specimen


def image_path(instance: "CellImage", filename: str) -> str:
    """Name the stored file: by day and at random, never by what the sender called it."""
    suffix = filename.rpartition(".")[2]
    return f"cells/{timezone.now():%Y/%m/%d}/{uuid.uuid4().hex}.{suffix}"


def whole_image() -> list[float]:
    """What a model saw that looked at the whole central square of the image."""
    return [0.0, 0.0, 1.0]


class CellImage(models.Model):
    """One picture of one cell, kept exactly as it was received.

    Without a specimen it came through the predict calls of the REST API. `width` and `height` are
    in pixels, None until a DICOM file has been decoded. A frame of a DICOM object shares the file
    with the other frames; its digest is that of the file and the frame number.
    """

    class Source(models.TextChoices):
        BROWSER = "browser", "Browser"
        API = "api", "REST"
        DICOM = "dicom", "DICOM"
        DEMO = "demo", "Demo"

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="cell_images")
    specimen = models.ForeignKey(
        Specimen, on_delete=models.PROTECT, related_name="cell_images", null=True, blank=True
    )
    slide = models.ForeignKey(
        Slide, on_delete=models.PROTECT, related_name="cell_images", null=True, blank=True
    )
    file = models.FileField(upload_to=image_path, max_length=200)
    sha256 = models.CharField(max_length=64)
    filename = models.CharField(max_length=255, help_text="As the sender named it.")
    media_type = models.CharField(max_length=50)
    size = models.PositiveIntegerField("size in bytes")
    frame = models.PositiveIntegerField(
        null=True, blank=True, help_text="Number of the frame within the DICOM file, from 1."
    )
    micrometres_per_pixel = models.FloatField(
        null=True, blank=True, help_text="Where the file says it."
    )
    width = models.PositiveIntegerField(null=True, blank=True)
    height = models.PositiveIntegerField(null=True, blank=True)
    source = models.CharField(max_length=10, choices=Source.choices)
    is_synthetic = models.BooleanField(default=False)
    received_from = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="+", null=True, blank=True
    )
    created_at = models.DateTimeField(default=timezone.now)
    # What the reviewers made of it, the newest Review repeated: pages and gates read it per cell.
    label = models.CharField(max_length=30, blank=True, help_text="Class key; empty: unreviewed.")
    labelled_by = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="+", null=True, blank=True
    )
    revision = models.PositiveIntegerField(default=0, help_text="How many reviews it has had.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["specimen", "sha256"],
                condition=Q(specimen__isnull=False),
                name="one_cell_image_per_content",
            )
        ]

    def __str__(self) -> str:
        return f"{self.filename} ({self.pk})"

    @property
    def thumbnail_name(self) -> str:
        """Storage name of the gallery picture, written by the worker when it decodes the file."""
        name = self.file.name if self.frame is None else f"{self.file.name}.{self.frame}"
        return f"{name}.thumb.jpg"


class Prediction(models.Model):
    """What one model version says of one cell image: written once, never changed."""

    cell_image = models.ForeignKey(CellImage, on_delete=models.PROTECT, related_name="predictions")
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="predictions"
    )
    predicted_class = models.CharField(max_length=20)
    decision = models.CharField(
        max_length=20, help_text="The class, or Unidentified where the model abstains."
    )
    reasons = models.JSONField(default=list, blank=True)
    confidence = models.FloatField()
    probabilities = models.JSONField(help_text="Calibrated, in the order of the model's classes.")
    ood_score = models.FloatField()
    embedding = models.BinaryField(help_text="256 values, float16, little endian.")
    explanation = models.BinaryField(help_text="16 x 16 values, uint8, row by row.")
    shown = models.JSONField(
        default=whole_image,
        help_text="Left, top and side of what the model saw, in parts of the central square.",
    )
    engine = models.CharField(max_length=20)
    milliseconds = models.FloatField(help_text="The image's share of its batch in the engine.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["cell_image", "model_version"], name="one_prediction_per_model_version"
            )
        ]

    def __str__(self) -> str:
        return f"{self.decision} ({self.confidence:.3f})"
