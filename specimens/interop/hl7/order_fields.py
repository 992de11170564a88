"""Fields of an order, each read from where the standard and older senders put it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Final

from specimens.interop.hl7.message import NULL, Segment
from specimens.interop.hl7.refusals import ErrorCode, Refused
from specimens.interop.hl7.timestamps import read_time

STAT: Final = "stat"
ROUTINE: Final = "routine"
# Table 0485. "As soon as possible" is treated as urgent: better too early than too late.
_URGENT: Final = ("S", "A", "STAT", "ASAP")
# The analyser's leukocyte count: unspecified, automated, manual.
_WBC_CODES: Final = ("26464-8", "6690-2", "804-5")
_PER_LITRE: Final = (
    "10*9/L", "10^9/L", "10E9/L", "10*3/UL", "10^3/UL", "10*3/MM3", "G/L", "GPT/L", "K/UL", "/NL",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EntityId:
    """A number and who gave it (EI: namespace, universal id, its type)."""

    number: str = ""
    assigner: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.number)


@dataclass(frozen=True, slots=True)
class Service:
    """What is ordered (OBR-4): the code, or the alternate one, in its system."""

    code: str = ""
    text: str = ""
    system: str = ""
    alternate: str = ""
    alternate_system: str = ""


def entity_id(segment: Segment, field: int) -> EntityId:
    """Read an EI; empty where the field is."""
    number = segment.text(field)
    if number in ("", NULL):
        return EntityId()
    rest = [segment.text(field, component) for component in (2, 3, 4)]
    while rest and not rest[-1]:
        rest.pop()
    return EntityId(number, tuple(rest))


def service(obr: Segment) -> Service:
    return Service(
        code=obr.text(4),
        text=obr.text(4, 2),
        system=obr.text(4, 3),
        alternate=obr.text(4, 4),
        alternate_system=obr.text(4, 6),
    )


def moment(segment: Segment, field: int, zone: tzinfo) -> datetime | None:
    """Read a time; raises Refused naming the field."""
    text = segment.text(field)
    if text in ("", NULL):
        return None
    try:
        return read_time(text, zone)
    except ValueError as error:
        raise Refused(
            f"{segment.name}-{field}: {error}",
            ErrorCode.DATA_TYPE,
            location=f"{segment.name}^1^{field}",
        ) from None


def priority(orc: Segment, obr: Segment, others: Sequence[Segment]) -> str:
    """Return "stat", "routine", or nothing where the message says nothing.

    TQ1-9 (from 2.5 on), ORC-7.6 and OBR-27.6 (before), OBR-5 (before 2.3).
    """
    said = [s.text(9) for s in others if s.name == "TQ1"]
    said += [orc.text(7, 6), obr.text(27, 6), obr.text(5)]
    found = next((text.upper() for text in said if text), "")
    if not found:
        return ""
    return STAT if found in _URGENT else ROUTINE


def requester(orc: Segment, obr: Segment, visit: Segment | None) -> str:
    """Ward and physician as one text (PV1-3, ORC-12 or OBR-16), 120 characters at most."""
    ward = visit.text(3) if visit else ""
    physician = _name(orc, 12) or _name(obr, 16)
    return ", ".join(text for text in (ward, physician) if text and text != NULL)[:120]


def _name(segment: Segment, field: int) -> str:
    """The name in an XCN, its number where it has none."""
    prefix, given, family = (segment.text(field, component) for component in (6, 3, 2))
    return " ".join(text for text in (prefix, given, family) if text) or segment.text(field)


def clinical_information(obr: Segment, others: Sequence[Segment]) -> str:
    """OBR-13, the reason (OBR-31), diagnoses (DG1) and notes (NTE), a line each."""
    lines = [obr.text(13), obr.text(31, 2) or obr.text(31)]
    lines += [s.text(4) or s.text(3, 2) or s.text(3) for s in others if s.name == "DG1"]
    lines += [
        " ".join(text for c in repetition for text in c)
        for s in others if s.name == "NTE" for repetition in s.repetitions(3)
    ]  # fmt: skip
    return "\n".join(dict.fromkeys(line for line in lines if line and line != NULL))


def wbc_count(others: Sequence[Segment]) -> Decimal | None:
    """The leukocyte count of the analyser in 10^9/L, from an OBX beside the order.

    Raises Refused for a unit or a number that cannot be taken without guessing.
    """
    for segment in others:
        if segment.name != "OBX" or segment.text(3) not in _WBC_CODES or not segment.text(5):
            continue
        unit = segment.text(6).upper().replace("µ", "U").replace("μ", "U")
        try:
            value = Decimal(segment.text(5))
        except InvalidOperation:
            value = Decimal("NaN")
        if unit not in _PER_LITRE or not value.is_finite():
            raise Refused(
                f"The leukocyte count “{segment.text(5)} {segment.text(6)}” cannot be used. Send a "
                "number in 10*9/L.",
                ErrorCode.DATA_TYPE,
                location="OBX^1^5",
            )
        return value
    return None
