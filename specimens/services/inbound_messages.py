"""Messages of hospital systems: kept, followed once, answered; what is unclear is held."""

from datetime import tzinfo
from functools import partial
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DatabaseError, DataError, IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from specimens.interop.hl7.acknowledgements import ACCEPTED, acknowledge, refuse
from specimens.interop.hl7.message import Header, fingerprint, parse_message, read_header
from specimens.interop.hl7.orders import OrderMessage, PatientUpdate, read_request
from specimens.interop.hl7.refusals import ErrorCode, Refused
from specimens.models import InboundMessage, Site, User
from specimens.models.deliveries import new_message_id
from specimens.permissions import Action, require, visible_to
from specimens.selectors.inbound import earlier_messages, find_patient
from specimens.services import audit
from specimens.services.errors import Conflict
from specimens.services.inbound_orders import apply_orders
from specimens.services.inbound_outcomes import NO_CORRECTION, Correction, Held, Outcome
from specimens.services.inbound_patients import update_patient, with_own_issuer
from specimens.workflow import NotAllowedInState

logger = structlog.get_logger(__name__)

State = InboundMessage.State
TEXT_LENGTH: Final = 500
Request = OrderMessage | PatientUpdate


def receive_message(*, actor: User, site: Site, raw: bytes, peer: str = "") -> bytes:
    """Take one HL7 v2 message in, return its acknowledgement; when it returns, all is committed.

    AA: followed, or held for a person. AE and AR: refused, nothing was changed. The same message
    again gets the same answer and has no effect; another message under the same control id is
    refused. Raises PermissionDenied, DatabaseError (nothing was recorded: the sender may repeat).
    """
    require(actor, Action.ACCESSION)
    visible_to(actor, Site).get(pk=site.pk)
    if (refused := unreadable_answer(raw)) is not None:
        return refused
    header = read_header(raw)
    for last_try in (False, True):
        try:
            return _receive(actor, site, raw, header, peer)
        except IntegrityError:
            # The same message on another connection was a moment faster: now it is found.
            if last_try:
                raise
    raise AssertionError


@transaction.atomic
def _receive(actor: User, site: Site, raw: bytes, header: Header, peer: str) -> bytes:
    digest = fingerprint(raw)
    request, refusal = _read_or_refusal(raw)
    earlier = list(earlier_messages(site, header).defer("raw")) if header.control_id else []
    for message in earlier:
        # What was refused is looked at anew: the settings may have changed since.
        readable_now = request is not None and message.state == State.REFUSED
        if message.fingerprint == digest and not readable_now:
            return _answer_again(actor, message, header)
    row = _new_row(site, raw, header, peer, digest)
    if any(message.state in InboundMessage.TAKEN for message in earlier):
        refusal = Refused(
            f"Control id {header.control_id} (MSH-10) was used before, for another message. "
            "Give each message its own.",
            ErrorCode.DUPLICATE_KEY,
            answer="AR",
            location="MSH^1^10",
        )
        return _refuse(actor, row, header, refusal, state=State.DUPLICATE)
    if request is None:
        assert refusal is not None  # noqa: S101 - narrows the type
        return _refuse(actor, row, header, refusal)
    row.state = State.HELD  # until it has been followed: the constraint holds from here on
    row.save()
    follow(actor=actor, row=row, request=request)
    _record(actor, row, "message.received")
    return _answer(row, header)


def _read_or_refusal(raw: bytes) -> tuple[Request | None, Refused | None]:
    try:
        return read(raw), None
    except Refused as refusal:
        return None, refusal


def read(raw: bytes) -> Request:
    """Parse a message and read what it asks for; raises Refused."""
    zone: tzinfo = timezone.get_default_timezone()
    message = parse_message(raw, default_charset=settings.HL7_CHARSET)
    request = read_request(message, zone=zone, processing_id=settings.HL7_PROCESSING_ID)
    person = with_own_issuer(request.person)
    if isinstance(request, PatientUpdate):
        return PatientUpdate(person)
    return OrderMessage(person, request.orders)


def follow(
    *,
    actor: User,
    row: InboundMessage,
    request: Request,
    correction: Correction = NO_CORRECTION,
) -> None:
    """Do what the message asks, or hold it with the reason; `row` is saved either way.

    Call it inside a transaction; what a message that is held had begun with is undone.
    """
    try:
        with transaction.atomic():
            outcome = _apply(actor, row.site, request, correction)
    except Held as held:
        _hold(row, held.code, held.text, held.unknown_test)
    except Conflict as conflict:
        _hold(row, "patient_differs", str(conflict))
    except NotAllowedInState as refusal:
        _hold(row, "too_late", str(refusal))
    except PermissionDenied as refusal:
        _hold(row, "not_permitted", str(refusal))
    except ValidationError as error:
        _hold(row, "not_valid", _words(error))
    except DatabaseError as error:
        if not isinstance(error, DataError):
            raise  # nothing is recorded, and the sender repeats
        _fault(row, error)
    except Exception as error:
        _fault(row, error)
    else:
        _applied(row, outcome)


def _apply(actor: User, site: Site, request: Request, correction: Correction) -> Outcome:
    if isinstance(request, OrderMessage):
        return apply_orders(actor=actor, site=site, message=request, correction=correction)
    patient = find_patient(site, request.person)
    if patient is None:
        # The hospital tells of all its patients; few of them have blood here.
        return Outcome(texts=["No patient with this number is known here: nothing to update."])
    changed = update_patient(actor=actor, patient=patient, person=request.person)
    names = ", ".join(name.replace("_", " ") for name in changed)
    return Outcome(texts=[f"Patient updated: {names}." if names else "Nothing was different."],
                   patient=patient)  # fmt: skip


def _words(error: ValidationError) -> str:
    if hasattr(error, "error_dict"):
        return "; ".join(f"{name.replace('_', ' ')}: {' '.join(texts)}"
                         for name, texts in error.message_dict.items())  # fmt: skip
    return " ".join(error.messages)


def _hold(row: InboundMessage, code: str, text: str, unknown_test: str = "") -> None:
    row.state, row.answer = State.HELD, ACCEPTED
    row.code, row.text, row.unknown_test = code, text[:TEXT_LENGTH], unknown_test
    row.save()


def _fault(row: InboundMessage, error: Exception) -> None:
    """A fault of ours: the sender has done nothing wrong, and the order must not be lost."""
    logger.exception("a message could not be followed", message=row.pk)
    _hold(row, "fault", f"A fault in wbclab ({type(error).__name__}). Tell who looks after it.")


def _applied(row: InboundMessage, outcome: Outcome) -> None:
    row.state, row.answer, row.code, row.unknown_test = State.APPLIED, ACCEPTED, "", ""
    row.text = " ".join(outcome.texts)[:TEXT_LENGTH]
    row.patient = outcome.patient
    row.save()
    row.orders.set(outcome.orders)
    row.specimens.set(outcome.specimens)


def _new_row(site: Site, raw: bytes, header: Header, peer: str, digest: str) -> InboundMessage:
    now = timezone.now()
    return InboundMessage(
        site=site,
        raw=raw,
        fingerprint=digest,
        sending_application=header.application,
        sending_facility=header.facility,
        control_id=header.control_id,
        message_type=header.message_type,
        peer=peer[:60],
        answer=ACCEPTED,
        received_at=now,
        last_received_at=now,
    )


def _refuse(
    actor: User,
    row: InboundMessage,
    header: Header,
    refusal: Refused,
    state: str = State.REFUSED,
) -> bytes:
    row.state, row.answer, row.code = state, refusal.answer, refusal.code
    row.text, row.location = refusal.text[:TEXT_LENGTH], refusal.location
    row.save()
    _record(actor, row, "message.refused")
    return _answer(row, header)


def _answer_again(actor: User, message: InboundMessage, header: Header) -> bytes:
    # In the database: another connection may be counting the same repeat.
    InboundMessage.objects.filter(pk=message.pk).update(
        times_received=F("times_received") + 1, last_received_at=timezone.now()
    )
    _record(actor, message, "message.repeated")
    return _answer(message, header)


def _answer(row: InboundMessage, header: Header) -> bytes:
    refused = row.answer != ACCEPTED
    return acknowledge(
        header,
        answer=row.answer,
        now=timezone.localtime(),
        message_id=new_message_id(),
        code=row.code if refused else "",
        text=row.text if refused else "",
        location=row.location,
    )


def _refusal(header: Header, refusal: Refused) -> bytes:
    return refuse(header, refusal, now=timezone.localtime(), message_id=new_message_id())


def unreadable_answer(raw: bytes) -> bytes | None:
    """Return the answer to what has no header and is not kept; None where it has one."""
    try:
        read_header(raw)
    except Refused as refusal:
        return _refusal(Header(), refusal)
    return None


def too_large_answer(head: bytes, text: str) -> bytes:
    """Return the answer to a message that exceeds the limit, by its beginning."""
    try:
        header = read_header(head)
    except Refused:
        header = Header()
    return _refusal(header, Refused(text, ErrorCode.INTERNAL, answer="AR"))


def unavailable_answer(raw: bytes, text: str = "") -> bytes:
    """Return the answer where nothing can be recorded: AE, so that the sender keeps the message."""
    try:
        header = read_header(raw)
    except Refused as refusal:
        return _refusal(Header(), refusal)
    text = text or "The laboratory's database cannot be reached."
    text += " Nothing was recorded; send it again."
    return _refusal(header, Refused(text, ErrorCode.INTERNAL))


@transaction.atomic
def record_message_view(*, actor: User, message: InboundMessage) -> None:
    """Record that `actor` looked at a message, which holds a patient's data."""
    audit.record(actor=actor, action="message.viewed", subject=message, site=message.site,
                 details={"control_id": message.control_id})  # fmt: skip


def _record(actor: User, row: InboundMessage, action: str) -> None:
    details: dict[str, Any] = {
        "control_id": row.control_id,
        "type": row.message_type,
        "state": row.state,
        "answer": row.answer,
        "text": row.text,
    }
    audit.record(actor=actor, action=action, subject=row, site=row.site, details=details)
    fields = {"message": row.pk, "state": str(row.state), "answer": row.answer, "code": row.code}
    transaction.on_commit(partial(logger.info, action, **fields))
