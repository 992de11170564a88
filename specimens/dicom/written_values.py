"""Values as a data set may hold them (PS3.5 section 6.2): names, dates, short texts."""

import re
from datetime import date, datetime
from typing import Any, Final

from pydicom.dataset import Dataset

from specimens.interop.channels import PermanentFailure

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_NO_PART_OF_A_NAME: Final = re.compile(r"[\\^=\x00-\x1f\x7f]+")
# VRs whose texts are in the Specific Character Set (PS3.5 section 6.1.2.3).
_TEXTS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
LONGEST: Final = 64  # characters of LO, and of one group of PN
SHORT: Final = 16  # characters of SH


def person_name(family: str, given: str = "") -> str:
    """Return a name as PN: family^given, without what would be read as structure."""
    parts = [_NO_PART_OF_A_NAME.sub(" ", part).strip() for part in (family, given)]
    return "^".join(parts).rstrip("^")[:LONGEST].rstrip("^")


def displayed_name(display: str) -> str:
    """Return a name that is known only as it is displayed: one component, not split by a guess."""
    name = person_name(display)[: LONGEST - 1]
    return f"{name}^" if name else ""


def line(text: str, longest: int = LONGEST) -> str:
    """Return a text for people as LO or SH: one line, no backslash, cut where it is too long."""
    return _CONTROL.sub(" ", text).replace("\\", "/").strip()[:longest].strip()


def paragraph(text: str) -> str:
    """Return a text for people as UT: lines stay, other control characters do not."""
    return "\n".join(_CONTROL.sub(" ", part).rstrip() for part in text.splitlines())


def identifier(text: str, what: str, longest: int = LONGEST) -> str:
    """Return an identifier exactly as it is, or refuse: a changed one would name somebody else.

    Raises PermanentFailure where DICOM cannot hold it.
    """
    if line(text, len(text) + 1) != text:
        raise PermanentFailure(f"{what} “{text}” holds characters that DICOM does not allow.")
    if len(text) > longest:
        raise PermanentFailure(f"{what} “{text}” is longer than the {longest} characters of DICOM.")
    return text


def accession_number(text: str) -> str:
    """Return (0008,0050), which holds 16 characters; empty where the number is longer.

    The whole number always stands in the Specimen Identifier, which holds 64.
    """
    return text if len(text) <= SHORT else ""


def day(value: str | date | None) -> str:
    """Return a date as DA, from an ISO date or a date; empty for None."""
    if not value:
        return ""
    return (date.fromisoformat(value) if isinstance(value, str) else value).strftime("%Y%m%d")


def moment(value: datetime) -> str:
    """Return a time with its offset as DT."""
    return value.strftime("%Y%m%d%H%M%S%z")


def clock(value: datetime) -> str:
    """Return the time of the day as TM."""
    return value.strftime("%H%M%S")


def sex(content: dict[str, Any]) -> str:
    """Return Patient's Sex (PS3.3 C.7.1.1): M, F, O, or empty where it is not known."""
    return content["sex"] if content["sex"] in ("M", "F", "O") else ""


def set_character_set(dataset: Dataset) -> None:
    """Name the narrowest of ASCII, ISO_IR 100 (Latin-1) and ISO_IR 192 (UTF-8) that suffices.

    Receivers that cannot read UTF-8 are still about; and dcmtk 3.6.7 warns of every such report
    that it cannot check it.
    """
    texts = "".join(str(e.value) for e in dataset.iterall() if e.VR in _TEXTS)
    if texts.isascii():
        return
    try:
        texts.encode("latin-1")
    except UnicodeEncodeError:
        dataset.SpecificCharacterSet = "ISO_IR 192"
    else:
        dataset.SpecificCharacterSet = "ISO_IR 100"
