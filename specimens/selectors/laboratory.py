"""Smaller reads of the portal: accession numbers, registered patients, the course of a specimen."""

from datetime import date, timedelta
from typing import NamedTuple

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from classifier.models import ModelVersion
from specimens.models import AuditEvent, Job, Patient, Site, Specimen, User, WorkerHeartbeat
from specimens.permissions import visible_to


class QueueDepth(NamedTuple):
    """Jobs of the sites a person belongs to."""

    queued: int
    running: int
    failed_today: int
    done_today: int


def next_accession_number(site: Site, day: date | None = None) -> str:
    """Propose the next free number of the day, YYMMDD-nnn. Two people may be offered the same."""
    prefix = f"{day or timezone.localdate():%y%m%d}-"
    taken = Specimen.objects.filter(site=site, accession_number__startswith=prefix)
    numbers = [
        int(tail)
        for number in taken.values_list("accession_number", flat=True)
        if (tail := number.removeprefix(prefix)).isdecimal()
    ]
    return f"{prefix}{max(numbers, default=0) + 1:03d}"


def registered_patient(user: User, site: Site, identifier: str, issuer: str = "") -> Patient | None:
    """The patient this number belongs to at `site`, if there is one."""
    return visible_to(user, Patient).filter(site=site, identifier=identifier, issuer=issuer).first()


def timeline(user: User, specimen: Specimen) -> QuerySet[AuditEvent]:
    """What happened to the specimen, the newest first; who merely looked stands in the audit."""
    return (
        visible_to(user, AuditEvent)
        .filter(specimen=specimen)
        .exclude(action__in=["specimen.viewed", "report.viewed", "delivery.viewed", "fhir.read"])
        .order_by("-sequence")
    )


def active_model() -> ModelVersion | None:
    return ModelVersion.objects.filter(is_active=True).first()


def workers() -> list[WorkerHeartbeat]:
    """Workers heard of within a day, the latest first."""
    since = timezone.now() - timedelta(days=1)
    return list(WorkerHeartbeat.objects.filter(seen_at__gte=since).order_by("-seen_at", "worker"))


def last_heartbeat() -> "QuerySet[WorkerHeartbeat]":
    return WorkerHeartbeat.objects.order_by("-seen_at")


def queue_depth(user: User) -> QueueDepth:
    """How much waits, and what became of today's jobs."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    # Two questions, for each has an index of its own; one for all would read the jobs of years.
    still_open = visible_to(user, Job).filter(state__in=[Job.State.QUEUED, Job.State.RUNNING])
    today = visible_to(user, Job).filter(
        state__in=[Job.State.DONE, Job.State.FAILED], finished_at__gte=midnight
    )
    found = still_open.aggregate(
        queued=Count("pk", filter=Q(state=Job.State.QUEUED)),
        running=Count("pk", filter=Q(state=Job.State.RUNNING)),
    ) | today.aggregate(
        failed_today=Count("pk", filter=Q(state=Job.State.FAILED)),
        done_today=Count("pk", filter=Q(state=Job.State.DONE)),
    )
    return QueueDepth(**found)
