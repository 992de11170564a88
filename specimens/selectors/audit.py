"""Reading the audit trail: all of it for the verification, a page of it for an administrator."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from django.db.models import QuerySet
from django.utils import timezone

from specimens.models import AuditEvent, User
from specimens.permissions import visible_to

_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """What the audit page is narrowed to; empty values narrow nothing."""

    actor: str = ""
    action: str = ""
    accession_number: str = ""
    day: date | None = None


def chain_lines() -> Iterator[dict[str, Any]]:
    """Yield every event as an export holds it, in batches: memory does not grow with the trail."""
    last: int | None = None
    while True:
        events = AuditEvent.objects.order_by("sequence")
        batch = list((events if last is None else events.filter(sequence__gt=last))[:_BATCH])
        for event in batch:
            yield event.content() | {"hash": event.hash}
        if len(batch) < _BATCH:
            return
        last = batch[-1].sequence


def audit_page(
    user: User, filters: AuditFilters, *, before: int | None, size: int
) -> tuple[list[AuditEvent], int | None]:
    """Return events of the person's sites, the newest first, and the cursor of the next page."""
    found = _filtered(visible_to(user, AuditEvent), filters)
    if before is not None:
        found = found.filter(sequence__lt=before)
    rows = list(found.select_related("specimen", "site").order_by("-sequence")[: size + 1])
    return rows[:size], rows[size - 1].sequence if len(rows) > size else None


def _filtered(found: "QuerySet[AuditEvent]", filters: AuditFilters) -> "QuerySet[AuditEvent]":
    if filters.actor:
        found = found.filter(actor_name__iexact=filters.actor)
    if filters.action:
        found = found.filter(action__istartswith=filters.action)
    if filters.accession_number:
        found = found.filter(specimen__accession_number__iexact=filters.accession_number)
    if filters.day:
        start = timezone.make_aware(datetime.combine(filters.day, time.min))
        found = found.filter(at__gte=start, at__lt=start + timedelta(days=1))
    return found
