"""The outbox: what goes to other systems, one row for each message and destination."""

import secrets
from typing import Final

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from specimens.models.accounts import Site, User
from specimens.models.reports import Report
from specimens.models.specimens import Specimen


def new_message_id() -> str:
    """Draw an id that fits HL7 v2.5.1 MSH-10 (20 characters): 80 random bits in hexadecimal."""
    return secrets.token_hex(10)


class Event(models.TextChoices):
    PRELIMINARY = "preliminary", "Preliminary result"
    FINAL = "final", "Signed report"
    CORRECTED = "corrected", "Amended report"


def signed_events() -> list[str]:
    return [Event.FINAL, Event.CORRECTED]


class Destination(models.Model):
    """A system that gets results of one site. Secrets are named in `settings`, never stored."""

    class Kind(models.TextChoices):
        HL7 = "hl7", "HL7 v2 over MLLP"
        FHIR = "fhir", "FHIR R4"
        WEBHOOK = "webhook", "Webhook"
        DICOM_STORE = "dicom_store", "DICOM C-STORE"
        DICOM_STOW = "dicom_stow", "DICOMweb STOW-RS"

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="destinations")
    name = models.CharField(max_length=60)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    address = models.CharField(max_length=500)
    settings = models.JSONField(default=dict, blank=True)
    events = models.JSONField(default=signed_events)
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)
    # What the lane knows of the other side: while it is unreachable, one delivery at a time asks
    # whether it is back, at growing intervals.
    unreachable_since = models.DateTimeField(null=True, blank=True)
    paused_until = models.DateTimeField(null=True, blank=True)
    pauses = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=500, blank=True)
    last_delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["site", "name"]
        constraints = [
            models.UniqueConstraint(fields=["site", "name"], name="one_destination_per_name")
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse an unknown event; the channel judges the address and its own settings."""
        known = set(Event.values)
        if not isinstance(self.events, list) or not self.events or set(self.events) - known:
            raise ValidationError({"events": f"Name at least one of {', '.join(sorted(known))}."})
        if not isinstance(self.settings, dict):
            raise ValidationError({"settings": "Must be a JSON object."})


class Delivery(models.Model):
    """One message to one destination: due -> running (under a lease) -> delivered, held, cancelled.

    The deliveries of a specimen to a destination go out in `sequence`; a later one waits for the
    earlier one, also while that is held. `payload` is rendered once, before the first attempt, so
    that each retry sends the same bytes under the same message id.
    """

    class State(models.TextChoices):
        DUE = "due", "Waiting"
        RUNNING = "running", "Being sent"
        DELIVERED = "delivered", "Delivered"
        HELD = "held", "Held"
        CANCELLED = "cancelled", "Cancelled"

    OPEN: Final = (State.DUE, State.RUNNING, State.HELD)

    destination = models.ForeignKey(
        Destination, on_delete=models.PROTECT, related_name="deliveries"
    )
    specimen = models.ForeignKey(Specimen, on_delete=models.PROTECT, related_name="deliveries")
    report = models.ForeignKey(
        Report, on_delete=models.PROTECT, null=True, blank=True, related_name="deliveries"
    )
    event = models.CharField(max_length=12, choices=Event.choices)
    sequence = models.PositiveIntegerField()
    message_id = models.CharField(max_length=20, unique=True, default=new_message_id)
    state = models.CharField(max_length=10, choices=State.choices, default=State.DUE)
    attempts = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(
        default=0, help_text="Those that count towards being held; a person's retry sets it to 0."
    )
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now)
    first_tried_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=100, blank=True)
    content = models.JSONField(
        null=True, blank=True, help_text="A preliminary result as it was; a report has its own."
    )
    payload = models.BinaryField(null=True, blank=True)
    content_type = models.CharField(max_length=100, blank=True)
    last_error = models.CharField(max_length=500, blank=True)
    receipt = models.CharField(max_length=500, blank=True)
    cancelled_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    cancel_reason = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(
                fields=["destination", "specimen", "sequence"], name="one_delivery_per_sequence"
            ),
            models.UniqueConstraint(
                fields=["destination", "report"], name="one_delivery_per_report"
            ),
        ]
        indexes = [
            models.Index(
                fields=["destination", "due_at"], condition=Q(state="due"), name="delivery_due"
            ),
            models.Index(
                fields=["lease_until"], condition=Q(state="running"), name="delivery_running"
            ),
            # Few among the deliveries of years, and asked for before each attempt.
            models.Index(
                fields=["destination", "specimen", "sequence"],
                condition=Q(state__in=["due", "running", "held"]),
                name="delivery_open",
            ),
        ]

    def __str__(self) -> str:
        return f"delivery {self.message_id}: {self.state}"


class DeliveryAttempt(models.Model):
    """One try, written when it begins: what a killed worker had in hand stays on record."""

    class Outcome(models.TextChoices):
        RUNNING = "running", "Being sent"
        DELIVERED = "delivered", "Delivered"
        UNREACHABLE = "unreachable", "Not reached"
        FAILED = "failed", "Failed, will be tried again"
        REFUSED = "refused", "Refused"
        LOST = "lost", "Our worker stopped; whether it arrived is not known"

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="log")
    number = models.PositiveIntegerField()
    worker = models.CharField(max_length=100)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=12, choices=Outcome.choices, default=Outcome.RUNNING)
    text = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["delivery", "number"]
        constraints = [
            models.UniqueConstraint(fields=["delivery", "number"], name="one_attempt_per_number")
        ]

    def __str__(self) -> str:
        return f"{self.delivery_id} attempt {self.number}: {self.outcome}"


class DelivererHeartbeat(models.Model):
    """A sign of life of one process that sends deliveries."""

    worker = models.CharField(max_length=100, unique=True)
    started_at = models.DateTimeField()
    counters = models.JSONField(default=dict, help_text="What it has done since (metrics).")
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.worker
