"""The outbox as a queue: claim under a lease, in order, and write down what became of each try."""

import random
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from specimens.interop.channels import (
    DeliveryFailure,
    Payload,
    PermanentFailure,
    Receipt,
    Unreachable,
)
from specimens.models import Delivery, DeliveryAttempt, Destination
from specimens.selectors import clock
from specimens.services import audit

State = Delivery.State
Outcome = DeliveryAttempt.Outcome


def back_off(failures: int, *, draw: Callable[[float, float], float] = random.uniform) -> timedelta:
    """Return how long to wait after the n-th failure in a row: full jitter under a growing limit.

    Drawn evenly from nothing to min(cap, base * 2^(n-1)), so that what failed together does not
    come back together.
    """
    limit = settings.DELIVERY_BACKOFF_SECONDS * 2 ** min(max(0, failures - 1), 30)
    return timedelta(seconds=draw(0.0, min(settings.DELIVERY_BACKOFF_CAP_SECONDS, limit)))


def _ready(now: datetime) -> QuerySet[Delivery]:
    """What may be tried now: due, its destination neither switched off nor resting, none before it.

    A delivery that is held stands in the way of the later ones of its specimen: a corrected report
    must never arrive before, or without, the one that it corrects.
    """
    earlier = Delivery.objects.filter(
        destination=OuterRef("destination"),
        specimen=OuterRef("specimen"),
        sequence__lt=OuterRef("sequence"),
        state__in=Delivery.OPEN,
    )
    awake = Q(destination__paused_until__isnull=True) | Q(destination__paused_until__lte=now)
    due = Delivery.objects.filter(awake, state=State.DUE, due_at__lte=now, destination__active=True)
    return due.filter(~Exists(earlier))


def destinations_with_work() -> list[int]:
    """Return the ids of the destinations that something can be sent to now."""
    ready = _ready(clock.now()).order_by().values_list("destination", flat=True)
    return list(ready.distinct())


def seconds_to_next(*, at_most: float) -> float:
    """Return how long nothing new becomes due, at most `at_most`: what waits out a pause."""
    now = clock.now()
    due = Delivery.objects.filter(state=State.DUE, destination__active=True)
    times = [
        due.filter(due_at__gt=now).order_by("due_at").values_list("due_at", flat=True).first(),
        Destination.objects.filter(active=True, paused_until__gt=now)
        .order_by("paused_until")
        .values_list("paused_until", flat=True)
        .first(),
    ]
    waits = [(at - now).total_seconds() for at in times if at is not None]
    return max(0.01, min([at_most, *waits]))


@transaction.atomic
def claim_delivery(*, destination_id: int, worker: str) -> Delivery | None:
    """Lease the next delivery of a destination, or None. Each goes to one worker only.

    While the destination is unreachable the one that has waited longest since its last try asks.
    """
    now = clock.now()
    ready = _ready(now).filter(destination=destination_id).order_by("due_at", "id")
    if connection.features.has_select_for_update_skip_locked:
        ready = ready.select_for_update(skip_locked=True, of=("self",))
    # Locked first, leased then: see claim_jobs.
    found = list(ready.values_list("pk", flat=True)[:1])
    if not found:
        return None
    Delivery.objects.filter(pk__in=found).update(
        state=State.RUNNING,
        lease_token=uuid.uuid4(),
        lease_until=now + timedelta(seconds=settings.LEASE_SECONDS),
        attempts=F("attempts") + 1,
        worker=worker,
    )
    related = ("destination", "specimen__site", "report")
    delivery = Delivery.objects.select_related(*related).get(pk=found[0])
    if delivery.first_tried_at is None:
        delivery.first_tried_at = now
        delivery.save(update_fields=["first_tried_at"])
    DeliveryAttempt.objects.create(
        delivery=delivery, number=delivery.attempts, worker=worker, started_at=now
    )
    return delivery


def extend_leases(*, tokens: Iterable[uuid.UUID]) -> None:
    """Prolong the leases of a worker that is alive, from now on."""
    Delivery.objects.filter(state=State.RUNNING, lease_token__in=list(tokens)).update(
        lease_until=clock.now() + timedelta(seconds=settings.LEASE_SECONDS)
    )


def keep_payload(*, delivery: Delivery, payload: Payload) -> bool:
    """Keep the rendered bytes before the first try; False where the lease was taken over."""
    kept = Delivery.objects.filter(
        pk=delivery.pk, state=State.RUNNING, lease_token=delivery.lease_token
    ).update(payload=payload.content, content_type=payload.content_type)
    return bool(kept)


@transaction.atomic
def finish_delivery(*, delivery: Delivery, receipt: Receipt) -> bool:
    """Write down that it arrived; False where the lease was taken over meanwhile."""
    held = _still_ours(delivery)
    if held is None:
        return False
    now = clock.now()
    held.state, held.finished_at, held.receipt = State.DELIVERED, now, receipt.text[:500]
    held.last_error, held.lease_until = "", None
    held.save()
    _end_attempt(held, Outcome.DELIVERED, receipt.text)
    reached = Destination.objects.select_for_update(of=("self",)).get(pk=held.destination_id)
    if reached.unreachable_since is not None:
        # It is back: what waited out a pause need not wait any longer.
        Delivery.objects.filter(destination=reached, state=State.DUE, due_at__gt=now).update(
            due_at=now
        )
    reached.unreachable_since = reached.paused_until = None
    reached.pauses, reached.last_error, reached.last_delivered_at = 0, "", now
    reached.save()
    audit.record(
        actor=None,
        action="delivery.delivered",
        subject=held,
        specimen=held.specimen,
        details=_details(held),
    )
    return True


@transaction.atomic
def fail_delivery(*, delivery: Delivery, failure: DeliveryFailure) -> bool:
    """Write down why a try failed: held, or due again later. False where the lease was taken over.

    That nobody answers counts against a delivery only if the destination took another one since
    this was first tried: an outage holds nothing, a message that its receiver chokes on is held.
    """
    held = _still_ours(delivery)
    if held is None:
        return False
    destination = Destination.objects.select_for_update(of=("self",)).get(pk=held.destination_id)
    held.last_error, held.lease_until, held.lease_token = str(failure)[:500], None, None
    if isinstance(failure, PermanentFailure):
        _hold(held, Outcome.REFUSED, held.last_error)
        return True
    away = isinstance(failure, Unreachable)
    held.failures += _counts(held, destination, away=away)
    if away:
        held.due_at = _rest(destination, held.last_error)
    else:
        held.due_at = clock.now() + back_off(held.failures)
    outcome = Outcome.UNREACHABLE if away else Outcome.FAILED
    if held.failures >= settings.DELIVERY_MAX_ATTEMPTS:
        _hold(held, outcome, f"Held after {held.failures} failed tries. {held.last_error}")
        return True
    held.state = State.DUE
    held.save()
    _end_attempt(held, outcome, held.last_error)
    return True


def _counts(delivery: Delivery, destination: Destination, *, away: bool) -> bool:
    if not away:
        return True
    taken, tried = destination.last_delivered_at, delivery.first_tried_at
    return taken is not None and tried is not None and taken > tried


def _rest(destination: Destination, error: str) -> datetime:
    """Let the destination rest; return until when."""
    now = clock.now()
    destination.unreachable_since = destination.unreachable_since or now
    destination.pauses += 1
    destination.paused_until = now + back_off(destination.pauses)
    destination.last_error = error
    destination.save()
    return destination.paused_until


def _hold(delivery: Delivery, outcome: Outcome, text: str) -> None:
    delivery.state, delivery.last_error = State.HELD, text[:500]
    delivery.save()
    _end_attempt(delivery, outcome, text)
    audit.record(
        actor=None,
        action="delivery.held",
        subject=delivery,
        specimen=delivery.specimen,
        details=_details(delivery) | {"reason": text[:500]},
    )


@transaction.atomic
def release_expired_deliveries() -> int:
    """Take deliveries back from workers that died: they are sent again, under the same id.

    Whether the message had arrived is not known; the receiver tells by the id. One that outlived
    too many workers is held: it may be what kills them.
    """
    expired = Delivery.objects.filter(state=State.RUNNING, lease_until__lt=clock.now())
    if connection.features.has_select_for_update_skip_locked:
        expired = expired.select_for_update(skip_locked=True, of=("self",))
    found = list(expired.select_related("specimen__site", "destination").order_by("pk"))
    for delivery in found:
        delivery.lease_token = delivery.lease_until = None
        delivery.failures += 1
        text = "Our worker stopped while it sent this; whether it arrived is not known."
        if delivery.failures >= settings.DELIVERY_MAX_ATTEMPTS:
            _hold(delivery, Outcome.LOST, f"Held after {delivery.failures} failed tries. {text}")
            continue
        delivery.state, delivery.last_error = State.DUE, text
        delivery.save()
        _end_attempt(delivery, Outcome.LOST, text)
    return len(found)


def _still_ours(delivery: Delivery) -> Delivery | None:
    rows = Delivery.objects.select_related("specimen__site", "destination")
    return (
        rows.select_for_update(of=("self",))
        .filter(pk=delivery.pk, state=State.RUNNING, lease_token=delivery.lease_token)
        .first()
    )


def _end_attempt(delivery: Delivery, outcome: Outcome, text: str) -> None:
    DeliveryAttempt.objects.filter(delivery=delivery, number=delivery.attempts).update(
        finished_at=clock.now(), outcome=outcome, text=text[:500]
    )


def _details(delivery: Delivery) -> dict[str, object]:
    return {
        "destination": delivery.destination.name,
        "event": delivery.event,
        "message": delivery.message_id,
        "attempts": delivery.attempts,
    }
