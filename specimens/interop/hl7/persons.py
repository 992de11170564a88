"""Who a message is about (PID, HL7 v2.5.1 section 3.4.2)."""

from dataclasses import dataclass
from datetime import date
from typing import Final

from specimens.interop.hl7.message import NULL, Repetition, Segment, part
from specimens.interop.hl7.refusals import ErrorCode, Refused
from specimens.interop.hl7.timestamps import read_date

# Table 0203: the numbers a hospital tells its patients apart by, the best first.
_PATIENT_NUMBERS: Final = ("MR", "PI", "PN")
# Table 0001 reduced to what the laboratory keeps.
_SEX: Final = {"F": "F", "M": "M", "O": "O", "A": "O"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A patient as the hospital describes them; empty or None: it says nothing.

    `cleared` names what the hospital wants deleted (two double quotes in the field).
    """

    identifier: str
    issuer: str = ""
    family_name: str = ""
    given_name: str = ""
    birth_date: date | None = None
    sex: str = "U"
    others: tuple[tuple[str, str], ...] = ()
    cleared: tuple[str, ...] = ()


def read_person(pid: Segment) -> Person:
    """Read PID-3, 5, 7 and 8. Raises Refused without a number or a family name."""
    numbers = [r for r in pid.repetitions(3) if part(r, 1) not in ("", NULL)]
    if not numbers:
        raise _missing("PID-3 (patient number) is empty.", 3)
    chosen = min(numbers, key=_rank)
    name = next(iter(pid.repetitions(5)), ())
    family = part(name, 1)
    if family in ("", NULL):
        raise _missing("PID-5 (patient name) has no family name.", 5)
    given = " ".join(text for text in (part(name, 2), part(name, 3)) if text)
    born, sex = pid.text(7), pid.text(8).upper()
    cleared = [field for field, text in (("given_name", given), ("birth_date", born)) if
               text == NULL]  # fmt: skip
    return Person(
        identifier=part(chosen, 1),
        issuer=part(chosen, 4),
        family_name=family,
        given_name="" if given == NULL else given,
        birth_date=_born(born),
        sex=_SEX.get(sex, "U"),
        others=tuple((part(r, 1), part(r, 4)) for r in numbers if r is not chosen),
        cleared=tuple(cleared),
    )


def _rank(number: Repetition) -> int:
    kind = part(number, 5)
    return _PATIENT_NUMBERS.index(kind) if kind in _PATIENT_NUMBERS else len(_PATIENT_NUMBERS)


def _born(text: str) -> date | None:
    if text in ("", NULL):
        return None
    try:
        return read_date(text)
    except ValueError as error:
        raise Refused(f"PID-7: {error}", ErrorCode.DATA_TYPE, location="PID^1^7") from None


def _missing(text: str, field: int) -> Refused:
    return Refused(text, ErrorCode.REQUIRED_FIELD_MISSING, location=f"PID^1^{field}")
