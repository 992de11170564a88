"""STOW-RS (PS3.18 section 10.5): who an instance says it is, and the answer to a store request."""

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from classifier.imaging.dicom_walk import read_meta_information, text_of, walk
from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source

_SOP_CLASS_UID: Final = 0x00080016
_SOP_INSTANCE_UID: Final = 0x00080018
_STUDY_INSTANCE_UID: Final = 0x0020000D
_SERIES_INSTANCE_UID: Final = 0x0020000E
_MEDIA_SOP_CLASS_UID: Final = 0x00020002
_MEDIA_SOP_INSTANCE_UID: Final = 0x00020003


class Identity(NamedTuple):
    """The UIDs of an instance; "" where it does not say, or cannot be read that far."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""


def identity_of(path: Path) -> Identity:
    """Read the UIDs of a Part 10 file within bounds; never raises for what is in it."""
    with path.open("rb") as stream:
        source = Source(stream)
        found = _meta_uids(source)
        try:
            syntax, start = read_meta_information(source)
            for element in walk(source, start, syntax):
                if not element.path and element.tag in found:
                    found[element.tag] = text_of(source, element)[:64]
                if not element.path and element.tag > _SERIES_INSTANCE_UID:
                    break
        except ImageRefused:
            pass  # it is refused with this reason where it is taken in
    return Identity(
        found[_SOP_CLASS_UID] or found[_MEDIA_SOP_CLASS_UID],
        found[_SOP_INSTANCE_UID] or found[_MEDIA_SOP_INSTANCE_UID],
        found[_STUDY_INSTANCE_UID],
        found[_SERIES_INSTANCE_UID],
    )


def _meta_uids(source: Source) -> dict[int, str]:
    """The UIDs of the file meta information, also of a file that is refused for its syntax."""
    found = dict.fromkeys(
        (
            _SOP_CLASS_UID,
            _SOP_INSTANCE_UID,
            _STUDY_INSTANCE_UID,
            _SERIES_INSTANCE_UID,
            _MEDIA_SOP_CLASS_UID,
            _MEDIA_SOP_INSTANCE_UID,
        ),
        "",
    )
    offset = 132
    try:
        for _ in range(20):
            group, element, vr, length = struct.unpack("<HH2sH", source.at(offset, 8))
            if group != 2:
                break
            offset += 8
            if vr == b"OB":
                (length,) = struct.unpack("<I", source.at(offset, 4))
                offset += 4
            tag = group << 16 | element
            if tag in found and length <= 64:
                found[tag] = source.at(offset, length).decode("ascii", "replace").strip("\0 ")
            offset += length
    except ImageRefused:
        pass  # it ends there
    return found


@dataclass(slots=True)
class StoreAnswer:
    """What becomes of the instances of one request, in the form of PS3.18 table 10.5.3-1."""

    wado_root: str
    stored: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    unknown: list[dict[str, Any]] = field(default_factory=list)
    studies: set[str] = field(default_factory=set)

    def add_stored(self, identity: Identity, *, can_be_fetched: bool) -> None:
        """Note an instance that is on record, with where it can be fetched."""
        item = _reference(identity)
        if can_be_fetched:
            item["00081190"] = {"vr": "UR", "Value": [self._address(identity)]}
        self.stored.append(item)
        self.studies.add(identity.study_instance_uid)

    def add_failed(self, identity: Identity, reason: int, text: str) -> None:
        """Note an instance that was refused, with its failure reason (PS3.3 section C.14)."""
        item: dict[str, Any] = {"00081197": {"vr": "US", "Value": [reason]}}
        if text:
            item["00000902"] = {"vr": "LO", "Value": [text[:64]]}
        if identity.sop_class_uid and identity.sop_instance_uid:
            self.failed.append(_reference(identity) | item)
        else:  # PS3.18 10.5.3: what could not be read goes without a reference
            self.unknown.append(item)

    def _address(self, identity: Identity) -> str:
        return (
            f"{self.wado_root}/studies/{identity.study_instance_uid}/series/"
            f"{identity.series_instance_uid}/instances/{identity.sop_instance_uid}"
        )

    @property
    def status(self) -> int:
        """200 all, 202 some, 409 none."""
        if self.failed or self.unknown:
            return 202 if self.stored else 409
        return 200 if self.stored else 409

    def body(self) -> dict[str, Any]:
        """Return the answer as DICOM JSON (PS3.18 annex F)."""
        study = next(iter(self.studies)) if len(self.studies) == 1 else ""
        url = [f"{self.wado_root}/studies/{study}"] if study else []
        body: dict[str, Any] = {"00081190": {"vr": "UR", **({"Value": url} if url else {})}}
        for tag, items in (
            ("00081199", self.stored),
            ("00081198", self.failed),
            ("0008119A", self.unknown),
        ):
            if items:
                body[tag] = {"vr": "SQ", "Value": items}
        return body


def _reference(identity: Identity) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [identity.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [identity.sop_instance_uid]},
    }
