"""What hospital systems sent: each message as it came, and what became of it."""

from typing import Final

from django.db import models
from django.db.models import Q
from django.utils import timezone

from specimens.models.accounts import Site, User
from specimens.models.patients_orders import Order, Patient
from specimens.models.specimens import Specimen


class InboundMessage(models.Model):
    """One HL7 v2 message, its bytes kept exactly as they came.

    A sender that got no answer sends the same message again: `control_id` (MSH-10) is unique among
    the messages of a sender that had an effect, so that a repeat is answered and not applied again.
    """

    class State(models.TextChoices):
        APPLIED = "applied", "Applied"
        HELD = "held", "Held"
        DISCARDED = "discarded", "Discarded"
        REFUSED = "refused", "Refused"
        DUPLICATE = "duplicate", "Refused: number used before"

    TAKEN: Final = (State.APPLIED, State.HELD, State.DISCARDED)

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="inbound_messages")
    raw = models.BinaryField(help_text="The message as it came, without the MLLP frame.")
    fingerprint = models.CharField(
        max_length=64, help_text="SHA-256 of the message with its time (MSH-7) left out."
    )
    sending_application = models.CharField(max_length=180, blank=True)
    sending_facility = models.CharField(max_length=180, blank=True)
    control_id = models.CharField(max_length=199, blank=True)
    message_type = models.CharField(max_length=15, blank=True, help_text="ORM^O01, for example.")
    peer = models.CharField(max_length=60, blank=True, help_text="Address it came from.")
    state = models.CharField(max_length=10, choices=State.choices)
    answer = models.CharField(max_length=2, help_text="MSA-1 of the acknowledgement.")
    code = models.CharField(
        max_length=40, blank=True, help_text="Why it is held, or the error (table 0357)."
    )
    location = models.CharField(max_length=40, blank=True, help_text="ERR-2: segment^set^field.")
    text = models.CharField(max_length=500, blank=True, help_text="What was done, or why not.")
    unknown_test = models.CharField(
        max_length=100, blank=True, help_text="Held for this test code: code^system."
    )
    received_at = models.DateTimeField(default=timezone.now)
    times_received = models.PositiveIntegerField(default=1)
    last_received_at = models.DateTimeField(default=timezone.now)
    handled_by = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="+", null=True, blank=True
    )
    handled_at = models.DateTimeField(null=True, blank=True)
    discard_reason = models.CharField(max_length=500, blank=True)
    patient = models.ForeignKey(
        Patient,
        on_delete=models.PROTECT,
        related_name="inbound_messages",
        null=True,
        blank=True,
    )
    orders = models.ManyToManyField(Order, related_name="inbound_messages", blank=True)
    specimens = models.ManyToManyField(Specimen, related_name="inbound_messages", blank=True)

    class Meta:
        ordering = ["-received_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["site", "sending_application", "sending_facility", "control_id"],
                condition=Q(state__in=["applied", "held", "discarded"]),
                name="one_message_per_control_id",
            )
        ]
        indexes = [
            models.Index(
                fields=["site", "sending_application", "sending_facility", "control_id"],
                name="inbound_control_id",
            ),
            models.Index(
                fields=["site", "received_at"], condition=Q(state="held"), name="inbound_held"
            ),
            models.Index(fields=["site", "-received_at"], name="inbound_received"),
        ]

    def __str__(self) -> str:
        return f"{self.message_type} {self.control_id}".strip() or f"message {self.pk}"


class OrderedTest(models.Model):
    """What a test code of the hospital (OBR-4) means to the laboratory."""

    class Meaning(models.TextChoices):
        DIFFERENTIAL = "differential", "The differential: take the order in"
        NOT_OURS = "not_ours", "Another test: leave it out"

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="ordered_tests")
    code = models.CharField(max_length=60)
    system = models.CharField(
        max_length=40, blank=True, help_text="OBR-4.3: LN, L, 99LAB; empty: any."
    )
    meaning = models.CharField(max_length=15, choices=Meaning.choices, default=Meaning.DIFFERENTIAL)

    class Meta:
        ordering = ["site", "code"]
        constraints = [
            models.UniqueConstraint(
                fields=["site", "code", "system"], name="one_meaning_per_test_code"
            )
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.system}".strip()
