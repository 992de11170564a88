"""What a person does with a held message: corrects and retries it, or discards it."""

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from specimens.interop.hl7.refusals import Refused
from specimens.models import InboundMessage, Order, OrderedTest, User
from specimens.permissions import Action, require, visible_to
from specimens.selectors.inbound import find_order
from specimens.services import audit
from specimens.services.errors import Conflict
from specimens.services.inbound_messages import follow, read
from specimens.services.inbound_outcomes import Correction


@transaction.atomic
def retry_message(
    *,
    actor: User,
    message: InboundMessage,
    test_meaning: str = "",
    demographics: str = "",
    accession_number: str = "",
    as_expected: bool = False,
    order_number: str = "",
) -> InboundMessage:
    """Follow a held message again, with what a person decided; it may be held once more.

    `test_meaning` (OrderedTest.Meaning) is kept for the site, the rest holds for this message:
    `demographics` "recorded" or "message", `accession_number` for the tube or `as_expected`
    without one, `order_number` (placer or accession number) of the order that is meant. Raises
    ValidationError, Conflict (no longer held), PermissionDenied.
    """
    row = _held(actor, message)
    order = _order(row, order_number.strip())
    if test_meaning:
        _keep_meaning(actor, row, test_meaning)
    correction = Correction(
        demographics=demographics,
        accession_number=accession_number.strip(),
        order=order,
        as_expected=as_expected,
    )
    try:
        request = read(bytes(row.raw))
    except Refused as refusal:  # the settings have changed since
        raise ValidationError(refusal.text) from refusal
    follow(actor=actor, row=row, request=request, correction=correction)
    if row.state == InboundMessage.State.APPLIED:
        row.handled_by, row.handled_at = actor, timezone.now()
        row.save(update_fields=["handled_by", "handled_at"])
    audit.record(
        actor=actor,
        action="message.retried",
        subject=row,
        site=row.site,
        details={
            "control_id": row.control_id,
            "state": row.state,
            "text": row.text,
            "test_meaning": test_meaning,
            "demographics": demographics,
            "accession_number": correction.accession_number,
            "order": order_number,
        },
    )
    return row


@transaction.atomic
def discard_message(*, actor: User, message: InboundMessage, reason: str) -> InboundMessage:
    """Close a held message without following it. It stays, with the reason."""
    row = _held(actor, message)
    if not reason.strip():
        raise ValidationError({"reason": "Say why the message is discarded."})
    row.state = InboundMessage.State.DISCARDED
    row.discard_reason = reason.strip()
    row.handled_by, row.handled_at = actor, timezone.now()
    row.full_clean(exclude=["raw"])
    row.save()
    audit.record(
        actor=actor,
        action="message.discarded",
        subject=row,
        site=row.site,
        details={"control_id": row.control_id, "reason": row.discard_reason},
    )
    return row


def _held(actor: User, message: InboundMessage) -> InboundMessage:
    require(actor, Action.ACCESSION)
    rows = visible_to(actor, InboundMessage).select_for_update(of=("self",))
    row = rows.select_related("site").get(pk=message.pk)
    if row.state != InboundMessage.State.HELD:
        raise Conflict(f"The message is {row.get_state_display().lower()} already.")
    return row


def _order(row: InboundMessage, number: str) -> Order | None:
    if not number:
        return None
    found = find_order(row.site, number, "") or find_order(row.site, "", number)
    if found is None:
        text = f"There is no order under {number} at this site. Type a placer or accession number."
        raise ValidationError({"order_number": text})
    return found


def _keep_meaning(actor: User, row: InboundMessage, meaning: str) -> None:
    """Write down what the unknown code means: the next order with it is not held."""
    code, _, system = row.unknown_test.partition("^")
    if not code:
        raise ValidationError({"test_meaning": "The message is not held for its test code."})
    test, _ = OrderedTest.objects.get_or_create(
        site=row.site, code=code, system=system, defaults={"meaning": meaning}
    )
    test.meaning = meaning
    test.full_clean()
    test.save()
    audit.record(
        actor=actor,
        action="test_code.mapped",
        subject=test,
        site=row.site,
        details={"code": code, "system": system, "meaning": meaning},
    )
