"""What a DICOM data set says of patient, order, specimen and container, as plain data.

PS3.3 sections C.7.1.1 (patient), C.7.2.1 (study), C.7.6.22 (specimen), C.12.1 (SOP common).
"""

import re
import warnings
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from classifier.imaging.dicom_walk import Element, bytes_of, read_meta_information, walk
from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source

_CHARACTER_SET: Final = 0x00080005
_ENTITY, _UNIVERSAL_ENTITY = 0x00400031, 0x00400032
_SPECIMENS, _SPECIMEN_IDENTIFIER = 0x00400560, 0x00400551
_CONTAINER = 0x00400512
# Who assigned a number, by the sequence that says so (PS3.3 section 10.14).
_ACCESSION_ISSUER: Final = (0x00080051,)
_CONTAINER_ISSUER: Final = (0x00400513,)
_SPECIMEN_ISSUER: Final = (_SPECIMENS, 0x00400562)
# PS3.5 table 6.2-1: 64 characters or groups of it; an LO is 64 as well.
_LONGEST: Final = 400
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")

# Attributes of the data set itself, by the name they are kept under.
_PLAIN: Final = {
    0x00080016: "sop_class_uid",
    0x00080018: "sop_instance_uid",
    0x0020000D: "study_instance_uid",
    0x0020000E: "series_instance_uid",
    0x00080050: "accession_number",
    0x00100010: "patient_name",
    0x00100020: "patient_id",
    0x00100021: "patient_issuer",
    0x00100030: "patient_birth_date",
    0x00100040: "patient_sex",
    0x00080020: "study_date",
    0x00080030: "study_time",
    0x00081030: "study_description",
    0x00200010: "study_id",
    0x00080060: "modality",
    0x00200011: "series_number",
    0x00200013: "instance_number",
    0x00280301: "burned_in_annotation",
    _CONTAINER: "container_identifier",
}
_TEXT_REPRESENTATIONS: Final = {
    *(b"", b"UN", b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"PN"),
    *(b"SH", b"ST", b"TM", b"UC", b"UI", b"UT"),
}


@dataclass(frozen=True, slots=True)
class Identifier:
    """A number and who assigned it; `issuer` is empty where nobody is named."""

    value: str
    issuer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """Values as text, without padding; empty where absent. Names follow the standard's."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    transfer_syntax_uid: str = ""
    accession_number: str = ""
    accession_issuer: str = ""
    specimens: tuple[Identifier, ...] = ()
    container_identifier: str = ""
    container_issuer: str = ""
    patient_id: str = ""
    patient_issuer: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    study_date: str = ""
    study_time: str = ""
    study_description: str = ""
    study_id: str = ""
    modality: str = ""
    series_number: str = ""
    instance_number: str = ""
    burned_in_annotation: str = ""

    def identifiers(self) -> dict[str, Any]:
        """What is kept beside the file, as JSON: everything but the UIDs, empty values left out."""
        kept = {name: value for name, value in asdict(self).items() if not name.endswith("_uid")}
        kept["specimens"] = [asdict(one) for one in self.specimens]
        return {name: value for name, value in kept.items() if value}

    @classmethod
    def from_identifiers(cls, kept: dict[str, Any]) -> "Attributes":
        """The other way round; the UIDs stay empty."""
        names = {field.name for field in fields(cls)}
        values = {name: value for name, value in kept.items() if name in names}
        values["specimens"] = tuple(Identifier(**one) for one in kept.get("specimens", ()))
        return cls(**values)


def read_attributes(source: Source) -> Attributes:
    """Read them from a Part 10 file, and nothing else of it.

    Raises:
        ImageRefused: the file cannot be walked, or an instance without a valid UID.
    """
    syntax, start = read_meta_information(source)
    texts = dict.fromkeys(_PLAIN.values(), "")
    issuers: dict[tuple[int, ...], str] = {}
    specimens: dict[int, Identifier] = {}
    encodings: list[str] = ["ascii"]
    for element in walk(source, start, syntax):
        if element.path == _SPECIMEN_ISSUER and element.tag in (_ENTITY, _UNIVERSAL_ENTITY):
            _name_issuer(specimens, _text(source, element, encodings))
        elif element.path == (_SPECIMENS,) and element.tag == _SPECIMEN_IDENTIFIER:
            specimens[element.item] = Identifier(_text(source, element, encodings))
        elif element.path in (_ACCESSION_ISSUER, _CONTAINER_ISSUER):
            if element.tag in (_ENTITY, _UNIVERSAL_ENTITY):
                issuers.setdefault(element.path, _text(source, element, encodings))
        elif not element.path and element.tag == _CHARACTER_SET:
            encodings = _encodings(_text(source, element, encodings))
        elif not element.path and element.tag in _PLAIN:
            texts[_PLAIN[element.tag]] = _text(source, element, encodings)
    for name in ("sop_instance_uid", "sop_class_uid", "study_instance_uid", "series_instance_uid"):
        _check_uid(name, texts[name])
    return Attributes(
        transfer_syntax_uid=syntax,
        accession_issuer=issuers.get(_ACCESSION_ISSUER, ""),
        container_issuer=issuers.get(_CONTAINER_ISSUER, ""),
        specimens=tuple(one for one in specimens.values() if one.value),
        **texts,
    )


def _name_issuer(specimens: dict[int, Identifier], issuer: str) -> None:
    """Give the specimen read last its issuer, which stands behind it."""
    if specimens and issuer:
        last = max(specimens)
        if not specimens[last].issuer:
            specimens[last] = Identifier(specimens[last].value, issuer)


def _check_uid(name: str, uid: str) -> None:
    what = name.removesuffix("_uid").replace("_", " ")
    if not uid and name in ("sop_instance_uid", "sop_class_uid"):
        raise ImageRefused("damaged", f"The DICOM object has no {what} UID.")
    if uid and (len(uid) > 64 or not _UID.fullmatch(uid)):
        raise ImageRefused("damaged", f"The {what} UID of the DICOM object is not a UID.")


def _encodings(value: str) -> list[str]:
    """Python's names for Specific Character Set (PS3.3 section C.12.1.1.2)."""
    from pydicom.charset import convert_encodings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return list(convert_encodings(value.split("\\")))
        except (LookupError, ValueError):
            return ["ascii"]


def _text(source: Source, element: Element, encodings: list[str]) -> str:
    """A value as text that can be shown, of bounded length, first value only for identifiers."""
    if element.representation not in _TEXT_REPRESENTATIONS:
        shown = element.representation.decode("ascii", "replace")
        name = f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X})"
        raise ImageRefused("damaged", f"The DICOM attribute {name} is coded as {shown}.")
    raw = bytes_of(source, element, 4 * _LONGEST)
    from pydicom.charset import decode_bytes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            text = decode_bytes(raw, encodings, set())
        except (LookupError, ValueError):
            text = raw.decode("ascii", "replace")
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown.strip()[:_LONGEST]
