"""Who the blood is from and who asked for the differential."""

from django.db import models
from django.db.models import Q

from specimens.models.accounts import Site


class Sex(models.TextChoices):
    """Administrative sex, HL7 table 0001 reduced to what reference ranges need."""

    FEMALE = "F", "Female"
    MALE = "M", "Male"
    OTHER = "O", "Other"
    UNKNOWN = "U", "Unknown"


class Patient(models.Model):
    """A person under one identifier of one issuer (DICOM PS3.3 C.7.1.1, HL7 PID-3)."""

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="patients")
    identifier = models.CharField("patient number", max_length=64)
    issuer = models.CharField(max_length=64, blank=True)
    family_name = models.CharField(max_length=100)
    given_name = models.CharField(max_length=100, blank=True)
    birth_date = models.DateField(null=True, blank=True)
    sex = models.CharField(max_length=1, choices=Sex.choices, default=Sex.UNKNOWN)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["site", "issuer", "identifier"], name="one_patient_per_identifier"
            )
        ]

    def __str__(self) -> str:
        return f"{self.family_name}, {self.given_name}" if self.given_name else self.family_name


class Priority(models.TextChoices):
    ROUTINE = "routine", "Routine"
    STAT = "stat", "STAT"


class Order(models.Model):
    """A request for a differential; the placer number is the hospital's (HL7 ORC-2).

    Without a specimen it is expected (`expected_since`), until a tube is accessioned for it.
    `reference` is what a result has to repeat as the hospital wrote it: placer_assigner and
    filler_assigner (components 2 to 4 of ORC-2 and ORC-3), test (code, text, system of OBR-4).
    """

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="orders")
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="orders")
    placer_number = models.CharField(max_length=64, blank=True)
    priority = models.CharField(max_length=10, choices=Priority.choices, default=Priority.ROUTINE)
    requester = models.CharField(max_length=120, blank=True)
    clinical_information = models.TextField(blank=True)
    ordered_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    filler_number = models.CharField(
        max_length=64, blank=True, help_text="ORC-3, where the hospital gave one."
    )
    reference = models.JSONField(default=dict, blank=True)
    expected_since = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["site", "placer_number"],
                condition=~Q(placer_number=""),
                name="one_order_per_placer_number",
            )
        ]
        indexes = [
            models.Index(
                fields=["site", "expected_since"],
                condition=Q(expected_since__isnull=False),
                name="order_expected",
            ),
            models.Index(
                fields=["site", "filler_number"],
                condition=~Q(filler_number=""),
                name="order_filler_number",
            ),
        ]

    def __str__(self) -> str:
        return self.placer_number or f"order {self.pk}"
