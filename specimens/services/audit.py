"""Writes the audit trail: always inside the transaction of the act it records."""

from typing import Any, Final

import structlog
from django.db import connection, models, transaction
from django.utils import timezone

from specimens.models import AuditEvent, Site, Specimen, User
from specimens.models.audit import GENESIS

# One number of our own: PostgreSQL's advisory locks are shared by all users of the database.
CHAIN_LOCK: Final = 0x77_62_63_6C_61_62


def record(
    *,
    actor: User | None,
    action: str,
    subject: models.Model,
    site: Site | None = None,
    specimen: Specimen | None = None,
    details: dict[str, Any] | None = None,
) -> AuditEvent:
    """Add one event to the chain. `actor` None is the system itself.

    The chain is locked until the surrounding transaction ends, so call this late in it. Raises
    RuntimeError outside a transaction: an act and its record must stand or fall together.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("an audit event belongs into the transaction of the act it records")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CHAIN_LOCK])
    last = AuditEvent.objects.order_by("-sequence").values_list("sequence", "hash").first()
    sequence, previous_hash = last or (0, GENESIS)
    event = AuditEvent(
        sequence=sequence + 1,
        at=timezone.now(),
        actor=actor,
        actor_name=actor.get_username() if actor else "system",
        action=action,
        site=site or (specimen.site if specimen else None),
        specimen=specimen,
        object_type=subject._meta.model_name or "",
        object_id=str(subject.pk),
        details=details or {},
        previous_hash=previous_hash,
    )
    event.hash = event.computed_hash()
    event.full_clean(exclude=["actor", "site", "specimen"])
    event.save(force_insert=True)
    # The log lines that follow tell what they belong to.
    structlog.contextvars.bind_contextvars(site=event.site_id, specimen=event.specimen_id)
    return event


@transaction.atomic
def record_view(*, actor: User, specimen: Specimen) -> AuditEvent:
    """Record that `actor` looked at the patient's data of `specimen` (45 CFR 164.312(b))."""
    return record(actor=actor, action="specimen.viewed", subject=specimen, specimen=specimen)
