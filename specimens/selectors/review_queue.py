"""The review queue: which cases wait for a reviewer, in which order, and how long they may."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from django.db.models import Case, Count, IntegerField, Q, QuerySet, Value, When
from django.utils import timezone

from specimens.models import CellImage, Site, Specimen, User
from specimens.models.patients_orders import Priority
from specimens.permissions import ROLES, Action, visible_to
from specimens.selectors.worklist import target_minutes

WAITING_STATES: Final = (Specimen.State.PRECLASSIFIED, Specimen.State.IN_REVIEW)


@dataclass(frozen=True, slots=True)
class QueueFilters:
    """What the queue is narrowed to; False and the empty string narrow nothing."""

    mine: bool = False
    unassigned: bool = False
    stat: bool = False
    flagged: bool = False
    site: str = ""


class Reviewed(NamedTuple):
    """Cells with a person's label, of all cells."""

    reviewed: int = 0
    total: int = 0


class Age(NamedTuple):
    """How long a case waits since receipt, and how long the site lets it, in minutes."""

    minutes: int
    target: int

    @property
    def late(self) -> bool:
        return self.minutes > self.target

    @property
    def soon(self) -> bool:
        """Whether three quarters of the time are gone."""
        return not self.late and 4 * self.minutes >= 3 * self.target


def waiting_cases(user: User) -> QuerySet[Specimen]:
    return visible_to(user, Specimen).filter(state__in=WAITING_STATES)


def queued_cases(user: User, filters: QueueFilters) -> QuerySet[Specimen]:
    """Return the waiting cases: STAT first, then those a rule brought up, then the oldest."""
    found = waiting_cases(user).select_related("site", "order__patient", "assigned_to")
    if filters.mine:
        found = found.filter(assigned_to=user)
    if filters.unassigned:
        found = found.filter(assigned_to__isnull=True)
    if filters.stat:
        found = found.filter(order__priority=Priority.STAT)
    if filters.flagged:
        found = found.exclude(review_flags=[])
    if filters.site:
        found = found.filter(site__code=filters.site)
    urgency = Case(
        When(order__priority=Priority.STAT, then=Value(0)),
        When(review_flags=[], then=Value(2)),
        default=Value(1),
        output_field=IntegerField(),
    )
    return found.order_by(urgency, "received_at", "pk")


def reviewed_of(specimen_ids: Iterable[int]) -> dict[int, Reviewed]:
    """Return by specimen how many cells are reviewed, in one query."""
    rows = (
        CellImage.objects.filter(specimen__in=list(specimen_ids))
        .values("specimen_id")
        .annotate(total=Count("pk"), reviewed=Count("pk", filter=~Q(label="")))
        .order_by()
    )
    return {row["specimen_id"]: Reviewed(row["reviewed"], row["total"]) for row in rows}


def age_of(specimen: Specimen, now: datetime | None = None) -> Age:
    """Return the age of a case against the target of its site for its priority."""
    passed = (now or timezone.now()) - specimen.received_at
    return Age(max(0, passed // timedelta(minutes=1)), target_minutes(specimen))


def reviewers_by_site(user: User) -> dict[Site, list[User]]:
    """Return who can review at each site of `user`: whom a case may be handed to."""
    found: dict[Site, list[User]] = {}
    for site in visible_to(user, Site).prefetch_related("users"):
        people = [p for p in site.users.all() if p.is_active and p.role in ROLES[Action.REVIEW]]
        found[site] = sorted(people, key=lambda person: person.display_name.casefold())
    return found
