"""The blood specimen and the stained smears made of it."""

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from specimens.models.accounts import Site, User
from specimens.models.patients_orders import Order


class Specimen(models.Model):
    """A tube of blood under its accession number; the differential belongs to it."""

    class State(models.TextChoices):
        ACCESSIONED = "accessioned", "Accessioned"
        IMAGED = "imaged", "Imaged"
        PRECLASSIFIED = "preclassified", "Preclassified"
        IN_REVIEW = "in_review", "In review"
        SIGNED_OUT = "signed_out", "Signed out"
        AMENDED = "amended", "Amended"
        REJECTED = "rejected", "Rejected"

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="specimens")
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="specimens")
    accession_number = models.CharField(
        max_length=32,
        validators=[
            RegexValidator(
                r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
                "Use letters, digits and . _ / - only: the number is printed as a barcode.",
            )
        ],
    )
    state = models.CharField(max_length=20, choices=State.choices, default=State.ACCESSIONED)
    collected_at = models.DateTimeField(null=True, blank=True)
    received_at = models.DateTimeField()
    wbc_count = models.DecimalField(
        "WBC count (10^9/L)",
        max_digits=6,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="From the analyser; absolute counts are given only with it.",
    )
    assigned_to = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="assigned_specimens", null=True, blank=True
    )
    review_flags = models.JSONField(
        default=list, blank=True, help_text="Why the case needs attention: rule codes and texts."
    )
    amendment_reason = models.CharField(
        max_length=500, blank=True, help_text="Why a signed case was opened again."
    )
    rejection_reason = models.CharField(max_length=200, blank=True)
    is_synthetic = models.BooleanField(default=False)
    accessioned_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["site", "accession_number"], name="one_specimen_per_accession_number"
            )
        ]
        indexes = [
            models.Index(fields=["site", "state", "-received_at"], name="specimen_worklist"),
            models.Index(fields=["site", "-received_at"], name="specimen_received"),
            # Those whose cells are being classified: few, and looked through at each sweep.
            models.Index(fields=["id"], condition=Q(state="imaged"), name="specimen_imaged"),
        ]

    def __str__(self) -> str:
        return self.accession_number


class Slide(models.Model):
    """A stained smear of a specimen (DICOM PS3.3 C.7.6.22: container)."""

    specimen = models.ForeignKey(Specimen, on_delete=models.PROTECT, related_name="slides")
    label = models.CharField(max_length=64)
    stain = models.CharField(max_length=60, blank=True, default="May-Grünwald-Giemsa")
    micrometres_per_pixel = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0.001)]
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["specimen", "label"], name="one_slide_per_label")
        ]

    def __str__(self) -> str:
        return f"{self.specimen} / {self.label}"
