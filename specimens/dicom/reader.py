"""One Part 10 file on the disk: checked, described and digested, without decoding a pixel."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from classifier.imaging import dicom, dicom_frames
from classifier.imaging.dicom_header import DicomImage, read_image
from classifier.imaging.dicom_profile import describe_profile
from classifier.imaging.dicom_walk import bytes_of
from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source
from specimens.dicom.attributes import Attributes, read_attributes
from specimens.dicom.refusals import DicomRefusal, refusal_of

_BLOCK = 1024**2
_LONGEST_PALETTE = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class ReadInstance:
    """What an accepted file holds.

    Attributes:
        attributes: identifiers and UIDs.
        image: how its pixels are coded and where they lie.
        size: of the file, in bytes.
        sha256: of the file.
        frame_digests: SHA-256 of each encoded frame.
        content_sha256: of pixel data, their description and the identifiers. The same object in
            implicit and in explicit coding has the same; a change of anything that is used has not.
        icc_profile: a note on the embedded profile; empty where there is none.
    """

    attributes: Attributes
    image: DicomImage
    size: int
    sha256: str
    frame_digests: tuple[str, ...]
    content_sha256: str
    icc_profile: str


def read_instance(path: Path) -> ReadInstance:
    """Check and describe the file.

    Raises:
        DicomRefusal: with the reason and the status for a C-STORE.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except ImageRefused as refused:
        raise refusal_of(refused) from refused
    except OSError as error:
        text = f"The file cannot be read ({error.strerror})."
        raise DicomRefusal("storage_unavailable", text) from error


def read_attributes_of(path: Path) -> Attributes:
    """What can be said of a file that was refused: its identifiers, empty where unreadable."""
    try:
        with path.open("rb") as file:
            return read_attributes(Source(file))
    except (ImageRefused, OSError):
        return Attributes()


def _read(file: BinaryIO) -> ReadInstance:
    source = Source(file)
    if source.size == 0:
        raise ImageRefused("empty_file", "The file is empty.")
    if source.size > dicom.MAX_FILE_BYTES:
        most = dicom.MAX_FILE_BYTES // 1024**2
        text = f"The file has {source.size / 1024**2:.0f} MB; {most} MB is the most."
        raise ImageRefused("too_large", text)
    image = read_image(source)
    attributes = read_attributes(source)
    digests = tuple(dicom_frames.digest(source, span) for span in image.frames)
    return ReadInstance(
        attributes=attributes,
        image=image,
        size=source.size,
        sha256=_digest(source),
        frame_digests=digests,
        content_sha256=_content_digest(source, attributes, image, digests),
        icc_profile=describe_profile(source, image),
    )


def _digest(source: Source) -> str:
    sha256 = hashlib.sha256()
    for offset in range(0, source.size, _BLOCK):
        sha256.update(source.at(offset, min(_BLOCK, source.size - offset)))
    return sha256.hexdigest()


def _content_digest(
    source: Source, attributes: Attributes, image: DicomImage, digests: tuple[str, ...]
) -> str:
    """One digest for everything that matters, whatever the data set was coded in."""
    tables = {
        tag: hashlib.sha256(bytes_of(source, element, _LONGEST_PALETTE)).hexdigest()
        for tag, element in sorted(image.elements.items())
        if element.length and not element.fragments and tag >> 16 == 0x0028
    }
    native = image.syntax in dicom.NATIVE_SYNTAXES
    content = {
        "sop_class_uid": attributes.sop_class_uid,
        "series_instance_uid": attributes.series_instance_uid,
        "study_instance_uid": attributes.study_instance_uid,
        "coding": "native" if native else image.syntax,
        "pixels": asdict(image.pixels),
        "tables": tables,
        "frames": digests,
        "identifiers": attributes.identifiers(),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
