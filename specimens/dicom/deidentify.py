"""De-identification by the table in profile.py; pseudonyms, dates and UIDs stay consistent.

All of them follow from a secret of the installation: two exports of a patient fit together, and
without the secret nothing leads back. Only pydicom's data sets come in; nothing of the source is
copied that the table does not name.
"""

import hashlib
import hmac
import uuid
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from specimens.dicom.profile import DUMMIES, METHOD, METHOD_CODES, PROFILE, TERMS, Action

# A patient's dates move back by up to ten years, by whole weeks: days of the week stay.
_WEEKS: Final = 520
_DEFINED_BY_DICOM: Final = "1.2.840.10008."


class NotDeidentifiable(Exception):
    """An object that may show who it is from; the text says why."""


@dataclass(slots=True)
class Pseudonyms:
    """Replacements for the people, dates and UIDs of one patient's objects.

    Attributes:
        secret: of the installation.
        patient: what identifies the patient to us: laboratory, issuer and number.
        uids: the UIDs replaced so far, old to new, for the key file.
    """

    secret: bytes
    patient: tuple[str, ...]
    uids: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The pseudonym: 50 bits of a keyed digest."""
        return f"WBC-{self._digest('name', *self.patient)[:6].hex().upper()}"

    @property
    def days(self) -> int:
        """By how many days the patient's dates are moved into the past."""
        number = int.from_bytes(self._digest("days", *self.patient)[:8])
        return 7 * (1 + number % _WEEKS)

    def uid(self, old: str) -> str:
        """Return the UID that stands for `old` everywhere; those of the standard stay."""
        if old.startswith(_DEFINED_BY_DICOM):
            return old
        if old not in self.uids:
            raw = self._digest("uid", old)[:16]
            self.uids[old] = f"2.25.{uuid.UUID(bytes=raw, version=4).int}"
        return self.uids[old]

    def shifted(self, value: str) -> str:
        """Return a DA moved by the patient's days; empty where it is no date."""
        digits = value.strip()[:8]
        try:
            day = date.fromisoformat(f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}")
            moved = day - timedelta(days=self.days)
        except (ValueError, OverflowError):
            return ""
        return moved.strftime("%Y%m%d") if moved.year >= 1000 else ""

    def _digest(self, *parts: str) -> bytes:
        text = "\x1f".join(parts).encode()
        return hmac.new(self.secret, text, hashlib.sha256).digest()


def deidentify(dataset: Dataset, pseudonyms: Pseudonyms) -> Dataset:
    """Return a new data set that holds only what the profile keeps.

    Its pixel data must be bare (export_pixels.read_picture): comments inside a code stream are no
    attributes. Raises NotDeidentifiable where the object says that its pixels show annotations.
    """
    if str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        raise NotDeidentifiable(
            "Burned In Annotation is YES: names may stand in the picture. It is not exported."
        )
    out = _filtered(dataset, pseudonyms)
    out.PatientIdentityRemoved = "YES"
    out.DeidentificationMethod = METHOD
    out.DeidentificationMethodCodeSequence = [_method(*code) for code in METHOD_CODES]
    out.LongitudinalTemporalInformationModified = "MODIFIED"
    return out


def _filtered(dataset: Dataset, pseudonyms: Pseudonyms) -> Dataset:
    out = Dataset()
    for element in dataset:
        if element.tag.is_private:
            continue
        action = PROFILE.get(element.keyword)
        if action is not None:
            _apply(action, element, out, pseudonyms)
    return out


def _apply(action: Action, element: DataElement, out: Dataset, pseudonyms: Pseudonyms) -> None:
    keyword = element.keyword
    if action is Action.SEQUENCE:
        items = [_filtered(item, pseudonyms) for item in element.value or []]
        setattr(out, keyword, [item for item in items if len(item)])
    elif action is Action.KEEP:
        _keep(element, out)
    else:
        setattr(out, keyword, _replacement(action, element, pseudonyms))


def _replacement(action: Action, element: DataElement, pseudonyms: Pseudonyms) -> Any:
    match action:
        case Action.EMPTY:
            return [] if element.VR == "SQ" else ""
        case Action.PSEUDONYM:
            return f"{pseudonyms.name}^" if element.VR == "PN" else pseudonyms.name
        case Action.DUMMY:
            return DUMMIES[element.keyword]
        case Action.UID:
            return pseudonyms.uid(str(element.value)) if element.value else ""
        case Action.SHIFT:
            return pseudonyms.shifted(str(element.value))
        case _:
            return "000000" if element.value else ""


def _keep(element: DataElement, out: Dataset) -> None:
    """Copy a value, if it is what its attribute is for: a number, pixels, or a term."""
    values = element.value if element.VM > 1 else [element.value]
    if element.VR in ("US", "OB", "OW"):
        if element.VR == "US" and not all(isinstance(value, int) for value in values):
            return
    elif element.VR in ("IS", "DS"):
        # Longer ones are somebody's numbers, not places in a series or ratios.
        if not all(_is_short_number(str(value)) for value in values):
            return
    elif element.keyword == "SOPClassUID":
        if not str(element.value).startswith(_DEFINED_BY_DICOM):
            return
    elif not set(map(str, values)) <= TERMS.get(element.keyword, frozenset()):
        return
    kept = DataElement(element.tag, element.VR, element.value)
    kept.is_undefined_length = element.is_undefined_length
    out.add(kept)


def _is_short_number(text: str) -> bool:
    return 0 < len(text) <= 7 and set(text) <= set("0123456789.")


def _method(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code
