"""Following what a hospital system asks for: orders placed, changed, cancelled; patients updated.

Everything here runs inside the transaction of the message. What cannot be followed without a guess
is raised as Held: a person decides.
"""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.utils import timezone

from specimens import workflow
from specimens.interop.hl7.orders import CANCEL, CHANGE, NEW, OrderMessage, OrderRequest
from specimens.interop.hl7.persons import Person
from specimens.models import Order, OrderedTest, Site, Specimen, User
from specimens.models.patients_orders import Priority
from specimens.permissions import visible_to
from specimens.selectors.inbound import find_order, find_patient, meaning_of
from specimens.services import audit
from specimens.services.accessioning import OrderData, accession_specimen, new_order
from specimens.services.inbound_outcomes import Correction, Held, Outcome
from specimens.services.inbound_patients import patient_data, update_patient
from specimens.services.order_entry import CLOSED, change_order, change_specimen


def apply_orders(
    *, actor: User, site: Site, message: OrderMessage, correction: Correction
) -> Outcome:
    """Follow every order of a message, or none. Raises Held and what services refuse with."""
    outcome = Outcome()
    for request in message.orders:
        if _is_not_ours(site, request):
            outcome.texts.append(f"Test {request.service.code} is another's: left out.")
        elif request.control in NEW:
            _place(actor, site, message.person, request, correction, outcome)
        elif request.control in CHANGE:
            _change(actor, site, message.person, request, correction, outcome)
        elif request.control in CANCEL:
            _cancel(actor, site, message.person, request, correction, outcome)
        else:
            raise Held(
                "unknown_control",
                f"Order control {request.control} (ORC-1) is not followed by itself; "
                f"{', '.join((*NEW, *CHANGE, *CANCEL))} are.",
            )
    return outcome


def _is_not_ours(site: Site, request: OrderRequest) -> bool:
    """Whether the test is known to be another's; raises Held where nobody has said."""
    service = request.service
    meaning = meaning_of(site, service)
    if meaning is None and service.code and request.control in NEW:
        code = f"{service.code}^{service.system}".rstrip("^")
        raise Held(
            "unknown_test",
            f"Test code {code}{f' ({service.text})' if service.text else ''} is not known here. "
            "Say what it means.",
            unknown_test=code[:100],
        )
    return meaning == OrderedTest.Meaning.NOT_OURS


def _place(
    actor: User,
    site: Site,
    person: Person,
    request: OrderRequest,
    correction: Correction,
    outcome: Outcome,
) -> None:
    known = find_order(site, request.placer.number, request.filler.number)
    if known is not None:
        _change(actor, site, person, request, correction, outcome)
        return
    patient = _patient(actor, site, person, correction)
    now = timezone.now()
    order = new_order(
        site,
        patient,
        OrderData(
            placer_number=request.placer.number,
            priority=request.priority or Priority.ROUTINE,
            requester=request.requester,
            clinical_information=request.clinical_information,
            ordered_at=request.ordered_at,
        ),
        ordered_at=request.collected_at or now,
        filler_number=request.filler.number,
        reference=_reference(request),
        expected_since=now,
    )
    audit.record(
        actor=actor,
        action="order.placed",
        subject=order,
        site=site,
        details={"placer_number": order.placer_number, "priority": order.priority},
    )
    specimen = _accession(actor, site, order, request, correction)
    if specimen is None:
        outcome.did(f"Order {order} is expected.", order)
    else:
        outcome.did(f"Order {order}: {specimen} accessioned.", order, specimen)


def _patient(actor: User, site: Site, person: Person, correction: Correction) -> Any:
    """The patient's data for the order, after what a person decided about a difference."""
    known = find_patient(site, person)
    if known is None or not correction.demographics:
        return patient_data(person, known=None)
    if correction.demographics == "message":
        update_patient(actor=actor, patient=known, person=person)
    return patient_data(person, known=known)


def _accession(
    actor: User, site: Site, order: Order, request: OrderRequest, correction: Correction
) -> Specimen | None:
    """Accession the tube under the number the hospital gave; None where it gave none."""
    number = correction.accession_number or request.specimen_number or request.filler.number
    if correction.as_expected or not number:
        return None
    try:
        return accession_specimen(
            actor=actor,
            site=site,
            accession_number=number,
            order=order,
            collected_at=request.collected_at,
            received_at=request.received_at,
            wbc_count=request.wbc_count,
        )
    except ValidationError as error:
        if not hasattr(error, "error_dict") or "accession_number" not in error.error_dict:
            raise
        text = " ".join(error.message_dict["accession_number"])
        raise Held("accession_number", f"Number {number} cannot be used: {text}") from error


def _reference(request: OrderRequest) -> dict[str, Any]:
    """What the result repeats as the hospital wrote it."""
    service = request.service
    found: dict[str, Any] = {
        "placer_assigner": list(request.placer.assigner),
        "filler_assigner": list(request.filler.assigner),
        "test": [service.code, service.text, service.system] if service.code else [],
    }
    return {name: value for name, value in found.items() if value}


def _known_order(
    site: Site, person: Person, request: OrderRequest, correction: Correction
) -> Order:
    """The order a change or a cancellation is about, locked; raises Held where it is not clear."""
    found = correction.order or find_order(site, request.placer.number, request.filler.number)
    numbers = " / ".join(n for n in (request.placer.number, request.filler.number) if n)
    if found is None:
        raise Held("unknown_order", f"There is no order {numbers}. Assign it, or discard this.")
    order = Order.objects.select_for_update(of=("self",)).get(pk=found.pk, site=site)
    owner = order.patient
    same = (owner.identifier, owner.issuer) in {
        (person.identifier, person.issuer), *person.others
    }  # fmt: skip
    if not same and correction.order is None:
        raise Held(
            "other_patient",
            f"Order {numbers} is of patient {owner.identifier}, the message is about "
            f"{person.identifier}. Assign it to an order, or discard this.",
        )
    return order


def _change(
    actor: User,
    site: Site,
    person: Person,
    request: OrderRequest,
    correction: Correction,
    outcome: Outcome,
) -> None:
    """Take over what differs; accession the tube where the number comes only now."""
    order = _known_order(site, person, request, correction)
    if order.cancelled_at is not None:
        raise Held("cancelled", f"Order {order} was cancelled before. Ask for a new one.")
    specimens = list(order.specimens.order_by("pk"))
    if any(specimen.state in CLOSED for specimen in specimens):
        raise Held("too_late", f"Order {order} has a specimen that is signed out or rejected.")
    wanted = {
        "priority": request.priority,
        "requester": request.requester,
        "clinical_information": request.clinical_information,
    }
    _take_numbers(actor, order, request)
    change_order(actor=actor, order=order, changes=_given(wanted))
    if specimens:
        values = {"collected_at": request.collected_at, "wbc_count": request.wbc_count}
        for specimen in specimens:
            change_specimen(actor=actor, specimen=specimen, changes=_given(values))
        did = "was here already" if request.control in NEW else "changed"
        outcome.did(f"Order {order} {did}.", order, specimens[0])
        return
    new = _accession(actor, site, order, request, correction)
    outcome.did(f"Order {order} {f'changed: {new} accessioned' if new else 'changed'}.", order, new)


def _take_numbers(actor: User, order: Order, request: OrderRequest) -> None:
    """Give a tube that was accessioned by hand the hospital's numbers, now that its order came."""
    if order.placer_number or not request.placer:
        return
    order.placer_number = request.placer.number
    order.filler_number = order.filler_number or request.filler.number
    order.reference = _reference(request)
    order.full_clean()
    order.save(update_fields=["placer_number", "filler_number", "reference"])
    audit.record(
        actor=actor,
        action="order.changed",
        subject=order,
        site=order.site,
        details={"placer_number": ["", order.placer_number]},
    )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in ("", None)}


def _cancel(
    actor: User,
    site: Site,
    person: Person,
    request: OrderRequest,
    correction: Correction,
    outcome: Outcome,
) -> None:
    """Cancel an order nobody has begun with; otherwise a person decides."""
    order = _known_order(site, person, request, correction)
    if order.cancelled_at is not None:
        outcome.did(f"Order {order} was cancelled before.", order)
        return
    specimens = list(visible_to(actor, Specimen).select_for_update(of=("self",)).filter(
        order=order))  # fmt: skip
    begun = [s for s in specimens if s.state not in ("accessioned", "rejected")]
    if begun:
        raise Held(
            "too_late",
            f"{begun[0]} is {begun[0].get_state_display().lower()} already. Reject it and retry, "
            "or go on with it and discard this.",
        )
    for specimen in specimens:
        if specimen.state == Specimen.State.ACCESSIONED:
            _reject(actor, specimen)
    order.cancelled_at, order.expected_since = timezone.now(), None
    order.save(update_fields=["cancelled_at", "expected_since"])
    audit.record(actor=actor, action="order.cancelled", subject=order, site=site,
                 details={"placer_number": order.placer_number})  # fmt: skip
    outcome.did(f"Order {order} cancelled.", order, specimens[0] if specimens else None)


def _reject(actor: User, specimen: Specimen) -> None:
    """Turn the tube away whose order is cancelled: nothing was done with it yet."""
    reason = "The hospital cancelled the order."
    specimen.state = workflow.after(workflow.Act.REJECT, specimen.state)
    specimen.rejection_reason = reason
    specimen.save(update_fields=["state", "rejection_reason"])
    audit.record(actor=actor, action="specimen.rejected", subject=specimen, specimen=specimen,
                 details={"reason": reason})  # fmt: skip
