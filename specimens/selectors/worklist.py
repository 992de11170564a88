"""The lists of specimens: what stands in them, in which order, and how far each has come."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import (
    Case,
    Exists,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
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
    # From the failed jobs outwards: they are few, the images are many. Most were queued again and
    # have a prediction, so that is asked before anything is read of the image.
    failed = Job.objects.filter(
        ~Exists(Prediction.objects.filter(cell_image=OuterRef("cell_image"))),
        state=Job.State.FAILED,
    )
    return images.filter(~Exists(open_jobs()), pk__in=failed.values("cell_image"))


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
        images = failed_images(CellImage.objects.filter(specimen__isnull=False))
        found = found.filter(pk__in=images.values("specimen")).exclude(state=State.REJECTED)
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
    """Progress by specimen in one query; a specimen without images is absent.

    An image counts by its newest prediction. That is picked here: picked in the database, image by
    image, it costs more than the rest of the page.
    """
    rows = (
        CellImage.objects.filter(specimen__in=list(specimen_ids))
        .annotate(is_open=Exists(open_jobs()))
        .order_by("predictions__pk")
        .values_list("pk", "specimen_id", "predictions__decision", "is_open")
    )
    newest = {pk: (specimen, decision, is_open) for pk, specimen, decision, is_open in rows}
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for specimen_id, decision, is_open in newest.values():
        count = counts[specimen_id]
        count["total"] += 1
        count["classified"] += bool(decision)
        count["waiting"] += is_open and not decision
        count["unidentified"] += decision == UNIDENTIFIED.name
    return {specimen_id: Progress(**count) for specimen_id, count in counts.items()}


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
