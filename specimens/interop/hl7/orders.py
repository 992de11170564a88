"""What a hospital asks for: ORM^O01, OML^O21, OML^O33 (chapter 4), ADT^A08 (chapter 3).

The message becomes plain data; whether the laboratory can follow it is decided elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Final

from specimens.interop.hl7.message import NULL, Message, Segment, part
from specimens.interop.hl7.order_fields import (
    EntityId,
    Service,
    clinical_information,
    entity_id,
    moment,
    priority,
    requester,
    service,
    wbc_count,
)
from specimens.interop.hl7.persons import Person, read_person
from specimens.interop.hl7.refusals import ErrorCode, Refused

ORDERS: Final = ("ORM^O01", "OML^O21", "OML^O33")
PATIENT_UPDATE: Final = "ADT^A08"
SUPPORTED: Final = (*ORDERS, PATIENT_UPDATE)

NEW: Final = ("NW",)
CHANGE: Final = ("XO",)
CANCEL: Final = ("CA", "DC")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """One order of a message. `control` is ORC-1; times are aware, or None where not given.

    Attributes:
        specimen_number: on the tube (SPM-2), empty where the hospital gave none.
        wbc_count: 10^9/L, from an OBX of the order.
    """

    control: str
    placer: EntityId
    filler: EntityId
    service: Service
    priority: str = ""
    requester: str = ""
    clinical_information: str = ""
    ordered_at: datetime | None = None
    collected_at: datetime | None = None
    received_at: datetime | None = None
    specimen_number: str = ""
    wbc_count: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OrderMessage:
    person: Person
    orders: tuple[OrderRequest, ...]


@dataclass(frozen=True, slots=True)
class PatientUpdate:
    person: Person


@dataclass(slots=True)
class _Group:
    """The segments of one order."""

    orc: Segment
    obr: Segment | None = None
    spm: Segment | None = None
    others: list[Segment] = field(default_factory=list)


def read_request(
    message: Message, *, zone: tzinfo, processing_id: str = "P"
) -> OrderMessage | PatientUpdate:
    """Read what the message asks for; `zone` holds for times without one. Raises Refused."""
    _check_header(message, processing_id)
    people = list(message.all("PID"))
    if len(people) != 1:
        raise Refused(
            f"The message has {len(people)} PID segments; it must be about one patient"
            + (", without prior results." if people else "."),
            ErrorCode.SEGMENT_SEQUENCE,
            location="PID",
        )
    person = read_person(people[0])
    if message.header.message_type == PATIENT_UPDATE:
        return PatientUpdate(person)
    visit = message.first("PV1")
    orders = tuple(_request(group, visit, zone) for group in _groups(message))
    if not orders:
        raise Refused("The message has no order (ORC).", ErrorCode.SEGMENT_SEQUENCE, location="ORC")
    return OrderMessage(person, orders)


def _check_header(message: Message, processing_id: str) -> None:
    header = message.header
    kind, _, event = header.message_type.partition("^")
    if not header.control_id:
        raise _rejected("MSH-10 (message control id) is empty. Give each message its own.",
                        ErrorCode.REQUIRED_FIELD_MISSING, 10)  # fmt: skip
    if header.message_type not in SUPPORTED:
        known = kind in {name.partition("^")[0] for name in SUPPORTED}
        raise _rejected(
            f"{kind or 'An empty type'}{'^' + event if event else ''} is not taken here. "
            f"Send {', '.join(SUPPORTED)}.",
            ErrorCode.UNSUPPORTED_EVENT if known else ErrorCode.UNSUPPORTED_MESSAGE_TYPE,
            9,
        )
    if not header.version.startswith("2."):
        raise _rejected(f"Version “{header.version}” (MSH-12) is not HL7 v2.",
                        ErrorCode.UNSUPPORTED_VERSION, 12)  # fmt: skip
    if header.processing_id != processing_id:
        raise _rejected(
            f"The processing id (MSH-11) is “{header.processing_id}”; this listener takes "
            f"“{processing_id}” only.",
            ErrorCode.UNSUPPORTED_PROCESSING_ID,
            11,
        )


def _rejected(text: str, code: ErrorCode, field: int) -> Refused:
    return Refused(text, code, answer="AR", location=f"MSH^1^{field}")


def _groups(message: Message) -> Iterator[_Group]:
    """Sort the segments into orders; in OML^O33 the specimen stands before its orders."""
    specimen_first = message.header.message_type == "OML^O33"
    specimen: Segment | None = None
    group: _Group | None = None
    for segment in message.segments:
        if segment.name == "SPM" and specimen_first:
            specimen = segment
            if group is not None:
                yield group
                group = None
        elif segment.name == "ORC":
            if group is not None:
                yield group
            group = _Group(segment, spm=specimen if specimen_first else None)
        elif group is None:
            continue
        elif segment.name == "OBR" and group.obr is not None:
            yield group
            group = _Group(group.orc, obr=segment, spm=group.spm if specimen_first else None)
        elif segment.name == "OBR":
            group.obr = segment
        elif segment.name == "SPM":
            group.spm = group.spm or segment
        else:
            group.others.append(segment)
    if group is not None:
        yield group


def _request(group: _Group, visit: Segment | None, zone: tzinfo) -> OrderRequest:
    orc, spm = group.orc, group.spm
    obr = group.obr or Segment("OBR", ())
    placer = entity_id(obr, 2) or entity_id(orc, 2) or EntityId()
    filler = entity_id(obr, 3) or entity_id(orc, 3) or EntityId()
    control = orc.text(1).upper()
    if not control:
        raise Refused("ORC-1 (order control) is empty.", ErrorCode.REQUIRED_FIELD_MISSING,
                      location="ORC^1^1")  # fmt: skip
    if not placer and not filler:
        raise Refused(
            "The order has neither a placer nor a filler number (ORC-2, ORC-3).",
            ErrorCode.REQUIRED_FIELD_MISSING,
            location="ORC^1^2",
        )
    if control in NEW and not obr.text(4):
        raise Refused("OBR-4 (what is ordered) is empty.", ErrorCode.REQUIRED_FIELD_MISSING,
                      location="OBR^1^4")  # fmt: skip
    return OrderRequest(
        control=control,
        placer=placer,
        filler=filler,
        service=service(obr),
        priority=priority(orc, obr, group.others),
        requester=requester(orc, obr, visit),
        clinical_information=clinical_information(obr, group.others),
        ordered_at=moment(orc, 9, zone) or moment(obr, 6, zone),
        collected_at=(moment(spm, 17, zone) if spm else None) or moment(obr, 7, zone),
        received_at=(moment(spm, 18, zone) if spm else None) or moment(obr, 14, zone),
        specimen_number=_specimen_number(spm),
        wbc_count=wbc_count(group.others),
    )


def _specimen_number(spm: Segment | None) -> str:
    """The number on the tube: the laboratory's where it stands in SPM-2, else the placer's."""
    if spm is None:
        return ""
    for repetition in spm.repetitions(2)[:1]:
        found = part(repetition, 2) or part(repetition, 1)
        return "" if found == NULL else found
    return ""
