"""Signed against delivered: which report has not reached which destination, and why."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery

from specimens.models import Delivery, Destination, Report
from specimens.models.deliveries import Event

NEVER_QUEUED: Final = "never queued"
_SUPERSEDED: Final = Q(delivery_state__isnull=True, later_arrived=True)


@dataclass(frozen=True, slots=True)
class Gap:
    """A signed report that a destination does not have. `why` is a state or NEVER_QUEUED."""

    report: Report
    why: str
    delivery_id: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One destination over a period; `gaps` holds the first that are missing, the oldest first.

    No gaps are cancelled ones (a person decided, with a reason) and superseded ones (never queued,
    but a later version of the report has arrived).
    """

    destination: Destination
    signed: int
    delivered: int
    cancelled: int
    superseded: int
    gaps: list[Gap]

    @property
    def missing(self) -> int:
        return self.signed - self.delivered - self.cancelled - self.superseded


def reconcile(
    destination: Destination, *, since: datetime, until: datetime, most_gaps: int = 200
) -> Reconciliation:
    """Compare the reports signed from `since` to before `until` with what has arrived.

    Counted are those the destination wants, from the moment it was entered on; of one that is
    switched off, those that were queued for it before.
    """
    wanted = _wanted(destination, since, until)
    counts = wanted.aggregate(
        signed=Count("pk"),
        delivered=Count("pk", filter=Q(delivery_state=Delivery.State.DELIVERED)),
        cancelled=Count("pk", filter=Q(delivery_state=Delivery.State.CANCELLED)),
        superseded=Count("pk", filter=_SUPERSEDED),
    )
    ended = [Delivery.State.DELIVERED, Delivery.State.CANCELLED]
    missing = wanted.filter(~Q(delivery_state__in=ended) | Q(delivery_state__isnull=True))
    missing = missing.exclude(_SUPERSEDED)
    rows = missing.select_related("specimen").defer("content").order_by("signed_at", "pk")
    return Reconciliation(
        destination=destination, gaps=[_gap(report) for report in rows[:most_gaps]], **counts
    )


def _wanted(destination: Destination, since: datetime, until: datetime) -> QuerySet[Report]:
    versions = Q()
    if Event.FINAL in destination.events:
        versions |= Q(version=1)
    if Event.CORRECTED in destination.events:
        versions |= Q(version__gt=1)
    reports = Report.objects.filter(
        versions,
        specimen__site=destination.site_id,
        signed_at__gte=max(since, destination.created_at),
        signed_at__lt=until,
    )
    if not versions:
        reports = reports.none()
    delivery = Delivery.objects.filter(report=OuterRef("pk"), destination=destination)
    if not destination.active:
        reports = reports.filter(Exists(delivery))
    later = Delivery.objects.filter(
        destination=destination,
        specimen=OuterRef("specimen"),
        report__version__gt=OuterRef("version"),
        state=Delivery.State.DELIVERED,
    )
    return reports.annotate(
        later_arrived=Exists(later),
        delivery_state=Subquery(delivery.values("state")[:1]),
        delivery_id=Subquery(delivery.values("pk")[:1]),
        delivery_error=Subquery(delivery.values("last_error")[:1]),
    )


def _gap(report: Report) -> Gap:
    state: str | None = report.delivery_state  # type: ignore[attr-defined]
    why = Delivery.State(state).label.lower() if state else NEVER_QUEUED
    return Gap(report, why, report.delivery_id, report.delivery_error or "")  # type: ignore[attr-defined]
