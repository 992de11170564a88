"""Reading the outbox: the list, one delivery with its tries, and what needs somebody."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from specimens.models import DelivererHeartbeat, Delivery, Destination, Specimen, User
from specimens.permissions import visible_to
from specimens.selectors import clock
from specimens.selectors.health import silence_limit

State = Delivery.State
# Neither arrived nor given up.
OPEN: Final = "open"


@dataclass(frozen=True, slots=True)
class DeliveryFilters:
    """What the list is narrowed to; empty values narrow nothing. `state` may also be "open"."""

    state: str = ""
    destination: int | None = None
    accession_number: str = ""


def deliveries_of(user: User, filters: DeliveryFilters) -> QuerySet[Delivery]:
    """Return deliveries of the person's sites, without the messages themselves."""
    found = visible_to(user, Delivery).select_related("destination", "specimen", "report")
    found = found.defer("payload", "content", "report__content", "destination__settings")
    if filters.state == OPEN:
        found = found.filter(state__in=Delivery.OPEN)
    elif filters.state:
        found = found.filter(state=filters.state)
    if filters.destination is not None:
        found = found.filter(destination=filters.destination)
    if filters.accession_number:
        found = found.filter(specimen__accession_number__iexact=filters.accession_number)
    return found


def delivery_page(
    user: User, filters: DeliveryFilters, *, before: int | None, size: int
) -> tuple[list[Delivery], int | None]:
    """Return a page of deliveries, the newest first, and the cursor of the next page."""
    found = deliveries_of(user, filters).order_by("-pk")
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(found[: size + 1])
    return rows[:size], rows[size - 1].pk if len(rows) > size else None


def waits_for(delivery: Delivery) -> Delivery | None:
    """Return the earlier delivery of the specimen that stands in the way, the first if several."""
    if delivery.state != State.DUE:
        return None
    earlier = Delivery.objects.filter(
        destination=delivery.destination_id,
        specimen=delivery.specimen_id,
        sequence__lt=delivery.sequence,
        state__in=Delivery.OPEN,
    )
    return earlier.defer("payload", "content").order_by("sequence").first()


def deliveries_of_specimen(user: User, specimen: Specimen) -> QuerySet[Delivery]:
    """Return where results of the specimen went or go, in the order they were made."""
    filters = DeliveryFilters()
    return deliveries_of(user, filters).filter(specimen=specimen).order_by("pk")


@dataclass(frozen=True, slots=True)
class OutboxState:
    """What needs a person: shown in the frame of every page."""

    unreachable: list[Destination]
    held: list[Destination]
    silent: bool = False
    seen_at: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.unreachable or self.held or self.silent)


def outbox_state(user: User) -> OutboxState:
    """Return the state of the outbox of the person's sites, in one query.

    Each of `held` has `held_count`.
    """
    destinations = list(destinations_of(user).filter(Q(active=True) | Q(held_count__gt=0)))
    seen_at: datetime | None = destinations[0].seen_at if destinations else None  # type: ignore[attr-defined]
    lost = seen_at is None or clock.now() - seen_at > silence_limit()
    return OutboxState(
        unreachable=[one for one in destinations if one.unreachable_since and one.active],
        held=[one for one in destinations if one.held_count],  # type: ignore[attr-defined]
        silent=lost and any(one.active for one in destinations),
        seen_at=seen_at,
    )


def destinations_of(user: User) -> QuerySet[Destination]:
    """Return the destinations of the person's sites with `held_count`, `due_count`, `seen_at`.

    `seen_at` is the last sign of life of any process that delivers.
    """
    heartbeats = DelivererHeartbeat.objects.order_by("-seen_at")
    return (
        visible_to(user, Destination)
        .select_related("site")
        .annotate(
            held_count=_count(State.HELD),
            due_count=_count(State.DUE),
            seen_at=Subquery(heartbeats.values("seen_at")[:1]),
        )
        .order_by("site", "name")
    )


def _count(state: str) -> Coalesce:
    of_this = Delivery.objects.filter(destination=OuterRef("pk"), state=state).order_by()
    counts = of_this.values("destination").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counts, output_field=IntegerField()), 0)
