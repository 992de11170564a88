"""Who did what to which object, when. Rows are only ever added; the database refuses the rest."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from django.db import models

from specimens.models.accounts import Site, User
from specimens.models.specimens import Specimen

GENESIS = "0" * 64


def event_hash(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 over the canonical JSON of an event, which names its parent's hash."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class AuditEvent(models.Model):
    """One act. `hash` covers every column and the hash of the row before it (the chain)."""

    sequence = models.BigIntegerField(unique=True)
    at = models.DateTimeField()
    actor = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="+", null=True, help_text="None: the system."
    )
    actor_name = models.CharField(max_length=150)
    action = models.CharField(max_length=60)
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="+", null=True)
    specimen = models.ForeignKey(
        Specimen, on_delete=models.PROTECT, related_name="audit_events", null=True
    )
    object_type = models.CharField(max_length=60)
    object_id = models.CharField(max_length=64)
    details = models.JSONField(default=dict, blank=True)
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["sequence"]

    def __str__(self) -> str:
        return f"{self.sequence} {self.action}"

    def content(self) -> dict[str, Any]:
        """Return what the hash covers, as plain JSON values; an export holds the same."""
        return {
            "sequence": self.sequence,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "actor": self.actor_id,
            "actor_name": self.actor_name,
            "action": self.action,
            "site": self.site_id,
            "specimen": self.specimen_id,
            "object_type": self.object_type,
            "object_id": self.object_id,
            "details": self.details,
            "previous_hash": self.previous_hash,
        }

    def computed_hash(self) -> str:
        """Return what `hash` must be."""
        return event_hash(self.content())
