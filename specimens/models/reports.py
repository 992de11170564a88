"""Signed reports and the ranges their values are judged by."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from classifier.classes import ALL_CLASSES
from specimens.models.accounts import Site, User
from specimens.models.patients_orders import Sex
from specimens.models.specimens import Specimen


def content_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of a report's content."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Report(models.Model):
    """One signed version of a case. It is written once; the database refuses to change it.

    `content` is everything the report shows, as it was at the signature: patient, specimen,
    differential, comments, pictures, model version, bypasses (docs/workflow.md has its form).
    """

    specimen = models.ForeignKey(Specimen, on_delete=models.PROTECT, related_name="reports")
    version = models.PositiveSmallIntegerField()
    content = models.JSONField()
    sha256 = models.CharField(max_length=64, help_text="Over the canonical JSON of the content.")
    signed_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    signer_name = models.CharField(max_length=150)
    signed_at = models.DateTimeField(default=timezone.now)
    meaning = models.CharField(max_length=200)
    amendment_reason = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["specimen", "version"]
        constraints = [
            models.UniqueConstraint(fields=["specimen", "version"], name="one_report_per_version")
        ]

    def __str__(self) -> str:
        return f"{self.specimen} report {self.version}"


class ReferenceRange(models.Model):
    """Normal and critical limits of one class, by age and sex. The most specific row holds."""

    class Quantity(models.TextChoices):
        PERCENT = "percent", "%"
        ABSOLUTE = "absolute", "10^9/L"

    site = models.ForeignKey(
        Site, on_delete=models.CASCADE, null=True, blank=True, help_text="Empty: all sites."
    )
    cell_class = models.CharField(
        max_length=30, choices=[(c.key, c.name) for c in ALL_CLASSES if c.key != "unidentified"]
    )
    quantity = models.CharField(max_length=10, choices=Quantity.choices)
    sex = models.CharField(
        max_length=1, choices=Sex.choices[:2], blank=True, help_text="Empty: both."
    )
    age_from_days = models.PositiveIntegerField(default=0)
    age_to_days = models.PositiveIntegerField(default=150 * 365, help_text="Not included.")
    low = models.DecimalField(max_digits=6, decimal_places=2, null=True, blank=True)
    high = models.DecimalField(max_digits=6, decimal_places=2, null=True, blank=True)
    critical_low = models.DecimalField(max_digits=6, decimal_places=2, null=True, blank=True)
    critical_high = models.DecimalField(max_digits=6, decimal_places=2, null=True, blank=True)
    source = models.CharField(max_length=200, help_text="Where the limits come from.")

    class Meta:
        ordering = ["cell_class", "quantity", "age_from_days"]

    def __str__(self) -> str:
        return f"{self.cell_class} {self.low}-{self.high} {self.get_quantity_display()}"

    def clean(self) -> None:
        """Refuse limits in the wrong order: they would flag everything or nothing."""
        given = [self.critical_low, self.low, self.high, self.critical_high]
        limits = [limit for limit in given if limit is not None]
        if limits != sorted(limits):
            raise ValidationError("Limits must ascend: critical low, low, high, critical high.")
        if self.age_from_days >= self.age_to_days:
            raise ValidationError({"age_to_days": "Must be greater than the age it starts at."})
