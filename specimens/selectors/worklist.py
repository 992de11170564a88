"""The lists of specimens: what stands in them, in which order, and how far each has come."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import (
    Case,
    Count,
    Exists,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.utils import timezone

from classifier.classes import UNIDENTIFIED
from specimens.models import CellImage, Job, Prediction, Specimen, User
from specimens.models.patients_orders import Priority
from specimens.permissions import visible_to

State = Specimen.State

# What still waits for somebody; the rest is found under Specimens.
OPEN_STATES: Final = (State.ACCESSIONED, State.IMAGED, State.PRECLASSIFIED, State.IN_REVIEW)


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list is narrowed to; empty strings and False narrow nothing."""

    open_only: bool = True
    state: str = ""
    priority: str = ""
    site: str = ""
    mine: bool = False
    failed: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the cell images of one specimen have come."""

    total: int = 0
    classified: int = 0
    waiting: int = 0
    unidentified: int = 0

    @property
    def failed(self) -> int:
        return self.total - self.classified - self.waiting


def open_jobs() -> QuerySet[Job]:
    """Jobs of the outer query's cell image that have not ended."""
    return Job.objects.filter(
        cell_image=OuterRef("pk"), state__in=[Job.State.QUEUED, Job.State.RUNNING]
    )


def failed_images(images: QuerySet[CellImage]) -> QuerySet[CellImage]:
    """Those of `images` whose last job failed: neither classified nor waiting."""
    return images.filter(
        Exists(Job.objects.filter(cell_image=OuterRef("pk"), state=Job.State.FAILED)),
        ~Exists(Prediction.objects.filter(cell_image=OuterRef("pk"))),
        ~Exists(open_jobs()),
    )


def listed_specimens(user: User, filters: Filters) -> QuerySet[Specimen]:
    """The specimens of a list with patient and order: STAT first, then the oldest.

    Outside the worklist the newest comes first.
    """
    found = visible_to(user, Specimen).select_related("site", "order__patient")
    if filters.open_only:
        found = found.filter(state__in=OPEN_STATES)
    if filters.state:
        found = found.filter(state=filters.state)
    if filters.priority:
        found = found.filter(order__priority=filters.priority)
    if filters.site:
        found = found.filter(site__code=filters.site)
    if filters.mine:
        found = found.filter(accessioned_by=user)
    if filters.failed:
        found = found.filter(
            Exists(failed_images(CellImage.objects.filter(specimen=OuterRef("pk"))))
        ).exclude(state=State.REJECTED)
    for word in filters.text.split():
        found = found.filter(_matches(word))
    if not filters.open_only:
        return found.order_by("-received_at", "-pk")
    stat_first = Case(
        When(order__priority=Priority.STAT, then=Value(0)),
        default=Value(1),
        output_field=IntegerField(),
    )
    return found.order_by(stat_first, "received_at", "pk")


def _matches(word: str) -> Q:
    return (
        Q(accession_number__icontains=word)
        | Q(order__placer_number__istartswith=word)
        | Q(order__patient__identifier__istartswith=word)
        | Q(order__patient__family_name__istartswith=word)
        # SQLite ignores the case of ASCII letters only.
        | Q(order__patient__family_name__startswith=word.capitalize())
        | Q(order__patient__given_name__istartswith=word)
    )


def progress_of(specimen_ids: Iterable[int]) -> dict[int, Progress]:
    """Progress by specimen in one query; a specimen without images is absent."""
    latest = Prediction.objects.filter(cell_image=OuterRef("pk")).order_by("-pk")
    rows = (
        CellImage.objects.filter(specimen__in=list(specimen_ids))
        .annotate(
            decided=Subquery(latest.values("decision")[:1]),
            is_open=Exists(open_jobs()),
        )
        .values("specimen_id")
        .annotate(
            total=Count("pk"),
            classified=Count("pk", filter=Q(decided__isnull=False)),
            waiting=Count("pk", filter=Q(decided__isnull=True, is_open=True)),
            unidentified=Count("pk", filter=Q(decided=UNIDENTIFIED.name)),
        )
        .order_by()
    )
    return {
        row["specimen_id"]: Progress(
            row["total"], row["classified"], row["waiting"], row["unidentified"]
        )
        for row in rows
    }


def specimens_by_scan(user: User, text: str) -> list[Specimen]:
    """Specimens whose accession number is exactly what a scanner typed; several only across sites.

    Scanners and people differ in capitals, so those are ignored where nothing matches exactly.
    """
    found = visible_to(user, Specimen)
    return list(found.filter(accession_number=text)[:2]) or list(
        found.filter(accession_number__iexact=text)[:2]
    )


def is_late(specimen: Specimen, now: datetime | None = None) -> bool:
    """Whether an open specimen is past the target of its priority."""
    if specimen.state not in OPEN_STATES:
        return False
    age = (now or timezone.now()) - specimen.received_at
    return age > timedelta(minutes=target_minutes(specimen))


def target_minutes(specimen: Specimen) -> int:
    """Minutes from receipt to result that the site aims at for the priority of this specimen."""
    site = specimen.site
    is_stat = specimen.order.priority == Priority.STAT
    return site.stat_target_minutes if is_stat else site.routine_target_minutes
