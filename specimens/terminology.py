"""What a code must look like: check digits of LOINC and SNOMED CT, the units we send. Pure.

A well-formed code may still be the wrong one: only a person with the licensed tables can tell.
"""

import re
from enum import StrEnum
from typing import Final

from classifier.classes import CLASS_BY_KEY, UNIDENTIFIED

LOINC: Final = "http://loinc.org"
SNOMED_CT: Final = "http://snomed.info/sct"
# Our own codes, for what no public table was looked up for; 99WBCLAB in HL7 v2 and DICOM.
LOCAL: Final = "urn:wbclab:codes"
SCHEMES: Final = {LOINC: "LN", SNOMED_CT: "SCT", LOCAL: "99WBCLAB"}


class Quantity(StrEnum):
    """What a code stands for. The first four are said of a cell class, the others of the whole."""

    PERCENT = "percent"
    ABSOLUTE = "absolute"
    PER_100_WBC = "per_100_wbc"
    CELL = "cell"
    PANEL = "panel"
    CELLS_COUNTED = "cells_counted"
    WBC_COUNT = "wbc_count"
    METHOD = "method"
    METHOD_UNVERIFIED = "method_unverified"


OF_A_CLASS: Final = (Quantity.PERCENT, Quantity.ABSOLUTE, Quantity.PER_100_WBC, Quantity.CELL)
# UCUM units that mean the same number as ours, the default first: another would need a conversion.
UNITS: Final[dict[Quantity, tuple[str, ...]]] = {
    Quantity.PERCENT: ("%",),
    Quantity.ABSOLUTE: ("10*9/L", "10*3/uL"),
    Quantity.PER_100_WBC: ("/100{WBCs}", "%"),
    Quantity.CELLS_COUNTED: ("{cells}", "{#}", "1"),
    Quantity.WBC_COUNT: ("10*9/L", "10*3/uL"),
}

_VERHOEFF_PRODUCT: Final = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_PLACE: Final = (
    "0123456789", "1576283094", "5803796142", "8916043527",
    "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def is_loinc(code: str) -> bool:
    """Whether `code` is digits, a hyphen and their check digit (mod 10, LOINC Users' Guide)."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})-([0-9])", code, re.ASCII)
    if found is None:
        return False
    total = 0
    for place, digit in enumerate(reversed(found[1])):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return -total % 10 == int(found[2])


def is_snomed_ct(code: str) -> bool:
    """Whether `code` is the identifier of a concept: 6 to 18 digits, partition 00 or 10, Verhoeff.

    SNOMED CT Release File Specification, "SCTID Data Type".
    """
    if re.fullmatch(r"[1-9][0-9]{5,17}", code, re.ASCII) is None or code[-3:-1] not in ("00", "10"):
        return False
    check = 0
    for place, digit in enumerate(reversed(code)):
        check = int(_VERHOEFF_PRODUCT[check][int(_VERHOEFF_PLACE[place % 8][int(digit)])])
    return check == 0


def code_problems(
    *, quantity: str, cell_class: str, system: str, code: str, unit: str = ""
) -> dict[str, str]:
    """Return what is wrong with one row of a code table, by field, with a text for people."""
    found = {}
    if quantity not in set(Quantity):
        return {"quantity": f"“{quantity}” is none of: {', '.join(Quantity)}."}
    asked = Quantity(quantity)
    if asked in OF_A_CLASS:
        if cell_class not in CLASS_BY_KEY or cell_class == UNIDENTIFIED.key:
            known = ", ".join(key for key in CLASS_BY_KEY if key != UNIDENTIFIED.key)
            found["cell_class"] = f"“{cell_class}” is no class that is reported. Known: {known}."
    elif cell_class:
        found["cell_class"] = f"“{quantity}” is said of the whole differential: leave this empty."
    if text := _code_problem(system, code):
        found["code"] = text
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+", system, re.ASCII):
        found["system"] = "The system is a URI, such as http://loinc.org or http://snomed.info/sct."
    units = UNITS.get(asked, ())
    if unit and unit not in units:
        allowed = f"Use {' or '.join(units)}." if units else "Leave this empty."
        found["unit"] = f"“{unit}” is no unit (UCUM) that may be sent here. {allowed}"
    return found


def _code_problem(system: str, code: str) -> str:
    if system == LOINC and not is_loinc(code):
        return f"{code} is no LOINC code: its form or check digit is wrong. Look it up again."
    if system == SNOMED_CT and not is_snomed_ct(code):
        return f"{code} is no SNOMED CT concept: form or check digit is wrong. Look it up again."
    # FHIR R4 datatype code; HL7 v2 delimiters and DICOM's backslash would break a message.
    if not re.fullmatch(r"[^\s|^~&\\]{1,64}", code):
        return "A code has 1 to 64 characters, without spaces and without | ^ ~ & \\."
    return ""
