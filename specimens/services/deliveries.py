"""The outbox from the laboratory's side: what is to be told, and what people do with it."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from specimens.models import Delivery, Destination, Report, Specimen, User
from specimens.models.deliveries import Event, new_message_id
from specimens.permissions import Action, require, visible_to
from specimens.selectors import clock
from specimens.selectors.case import case_of
from specimens.selectors.report_content import preliminary_content
from specimens.services import audit, deliveries_bell
from specimens.services.errors import Conflict

State = Delivery.State


def enqueue_report(*, report: Report) -> list[Delivery]:
    """Add a delivery of `report` for each destination of the site that wants it.

    Call it in the transaction that writes the report: both stand or fall together. The specimen
    must be locked, for deliveries are numbered within it.
    """
    event = Event.FINAL if report.version == 1 else Event.CORRECTED
    return _enqueue(report.specimen, event, report=report)


def enqueue_preliminary(*, specimen: Specimen) -> list[Delivery]:
    """Add a delivery of what the machine proposes, as it is now, where it is wanted.

    Like `enqueue_report`: inside the transaction, with the specimen locked.
    """
    if not any(_wanting(specimen, Event.PRELIMINARY)):
        return []
    content = preliminary_content(case_of(specimen))
    return _enqueue(specimen, Event.PRELIMINARY, content=content)


def enqueue_missing(*, actor: User, report: Report, destination: Destination) -> Delivery:
    """Add the delivery of a report that was signed while the destination was switched off.

    Raises Conflict where it is queued already, or a later version is.
    """
    require(actor, Action.ADMINISTER)
    with transaction.atomic():
        specimen = (
            visible_to(actor, Specimen).select_for_update(of=("self",)).get(pk=report.specimen_id)
        )
        if destination.site_id != specimen.site_id:
            raise ValidationError("The destination belongs to another site.")
        if Delivery.objects.filter(report=report, destination=destination).exists():
            raise Conflict("This report is among the deliveries of this destination already.")
        newer = Delivery.objects.filter(
            destination=destination, specimen=specimen, report__version__gt=report.version
        )
        if newer.exists():
            raise Conflict("A later version goes there already; this one would undo it.")
        event = Event.FINAL if report.version == 1 else Event.CORRECTED
        delivery = _add(destination, specimen, event, report=report)
        audit.record(
            actor=actor,
            action="delivery.added",
            subject=delivery,
            specimen=specimen,
            details=_named(delivery) | {"version": report.version},
        )
        transaction.on_commit(deliveries_bell.ring)
    return delivery


def _wanting(specimen: Specimen, event: Event) -> list[Destination]:
    destinations = Destination.objects.filter(site=specimen.site_id, active=True)
    return [one for one in destinations.order_by("pk") if event in one.events]


def _enqueue(specimen: Specimen, event: Event, **values: Any) -> list[Delivery]:
    deliveries = [_add(one, specimen, event, **values) for one in _wanting(specimen, event)]
    if deliveries:
        transaction.on_commit(deliveries_bell.ring)
    return deliveries


def _add(destination: Destination, specimen: Specimen, event: Event, **values: Any) -> Delivery:
    earlier = Delivery.objects.filter(destination=destination, specimen=specimen)
    last = earlier.aggregate(last=Max("sequence"))["last"] or 0
    delivery = Delivery(
        destination=destination,
        specimen=specimen,
        event=event,
        sequence=last + 1,
        due_at=clock.now(),
        **values,
    )
    delivery.save(force_insert=True)
    return delivery


def retry_delivery(*, actor: User, delivery: Delivery, render_again: bool = False) -> Delivery:
    """Make a waiting or held delivery due now.

    The same bytes go out under the same message id, unless `render_again`: then the message is
    made anew, with the settings and codes of today, under a new id. Raises Conflict where it is
    being sent, has arrived, or was cancelled.
    """
    require(actor, Action.RETRY_DELIVERY)
    with transaction.atomic():
        found = _locked(actor, delivery)
        if found.state not in (State.DUE, State.HELD):
            raise Conflict(f"It cannot be sent again: it is {found.get_state_display().lower()}.")
        before = found.message_id
        if render_again:
            found.payload, found.content_type = None, ""
            found.message_id = new_message_id()
        found.state, found.failures, found.due_at = State.DUE, 0, clock.now()
        found.finished_at = None
        found.save()
        # A person who asks for it now does not wait for the next look at the other side.
        Destination.objects.filter(pk=found.destination_id).update(paused_until=None)
        details = _named(found) | ({"message_before": before} if render_again else {})
        audit.record(
            actor=actor,
            action="delivery.retried",
            subject=found,
            specimen=found.specimen,
            details=details,
        )
        transaction.on_commit(deliveries_bell.ring)
    return found


def retry_held(*, actor: User, destination: Destination) -> int:
    """Make every held delivery of a destination due, the oldest first; return how many."""
    require(actor, Action.RETRY_DELIVERY)
    held = visible_to(actor, Delivery).filter(destination=destination, state=State.HELD)
    count = 0
    for delivery in held.order_by("pk").defer("payload", "content"):
        try:
            retry_delivery(actor=actor, delivery=delivery)
        except Conflict:
            continue  # somebody else was faster
        count += 1
    return count


def cancel_delivery(*, actor: User, delivery: Delivery, reason: str) -> Delivery:
    """Give a waiting or held delivery up for good; those behind it go on.

    Raises Conflict where it is being sent or has ended, ValidationError without a reason.
    """
    require(actor, Action.CANCEL_DELIVERY)
    if not reason.strip():
        raise ValidationError({"reason": "Say why it is not to be sent."})
    if len(reason.strip()) > 500:
        raise ValidationError({"reason": "At most 500 characters."})
    with transaction.atomic():
        found = _locked(actor, delivery)
        if found.state not in (State.DUE, State.HELD):
            raise Conflict(f"It cannot be cancelled: it is {found.get_state_display().lower()}.")
        found.state, found.finished_at = State.CANCELLED, timezone.now()
        found.cancelled_by, found.cancel_reason = actor, reason.strip()
        found.save()
        audit.record(
            actor=actor,
            action="delivery.cancelled",
            subject=found,
            specimen=found.specimen,
            details=_named(found) | {"reason": found.cancel_reason},
        )
        transaction.on_commit(deliveries_bell.ring)
    return found


@transaction.atomic
def record_payload_view(*, actor: User, delivery: Delivery) -> None:
    """Record that `actor` looked at a message as it was, or will be, sent."""
    require(actor, Action.VIEW_PAYLOAD)
    audit.record(
        actor=actor,
        action="delivery.viewed",
        subject=delivery,
        specimen=delivery.specimen,
        details=_named(delivery),
    )


def _locked(actor: User, delivery: Delivery) -> Delivery:
    rows = visible_to(actor, Delivery).select_related("specimen__site", "destination")
    return rows.select_for_update(of=("self",)).get(pk=delivery.pk)


def _named(delivery: Delivery) -> dict[str, Any]:
    return {
        "destination": delivery.destination.name,
        "event": delivery.event,
        "message": delivery.message_id,
    }
