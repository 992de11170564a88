"""What kinds of DICOM object are taken, and the header check on the first part of a file.

The SOP classes and transfer syntaxes are those of the conformance statement. Reading is bounded
to the first part of the file and never inflates or forces anything: a deflated data set of 183 KB
can hold 183 MB, so that syntax is refused from the file meta information alone.
"""

import io
from typing import TYPE_CHECKING, Final

from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source, animated, damaged, unsupported_mode

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PREAMBLE_LENGTH = 128
MAGIC = b"DICM"

# PS3.4 Table B.5-1.
SOP_CLASSES: Final = {
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.77.1.2": "VL Microscopic Image Storage",
    "1.2.840.10008.5.1.4.1.1.77.1.3": "VL Slide-Coordinates Microscopic Image Storage",
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic Image Storage",
}
WHOLE_SLIDE_SOP_CLASS: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"

# PS3.5 section 10 and annex A; PS3.6 Table A-1.
IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
TRANSFER_SYNTAXES: Final = {
    IMPLICIT_LITTLE_ENDIAN: "Implicit VR Little Endian",
    EXPLICIT_LITTLE_ENDIAN: "Explicit VR Little Endian",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline (Process 1)",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
NATIVE_SYNTAXES: Final = {IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN}

# PS3.3 section C.7.6.3.1.2.
COLOUR_PHOTOMETRICS: Final = {
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_PARTIAL_420",
    "YBR_ICT",
    "YBR_RCT",
}
PALETTE_PHOTOMETRIC: Final = "PALETTE COLOR"

_TRANSFER_SYNTAX_UID = 0x00020010
_SOP_CLASS_UID = 0x00080016
_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS, _BITS_ALLOCATED = 0x00280010, 0x00280011, 0x00280100
_LAST = 0x00280103
# Patient, study and acquisition attributes before group 0028 take a few kilobytes.
_HEAD_BYTES = 256 * 1024

_ACCEPTED_SYNTAXES = "Accepted transfer syntaxes: " + ", ".join(TRANSFER_SYNTAXES.values()) + "."
_ACCEPTED_CLASSES = "Accepted SOP classes: " + ", ".join(SOP_CLASSES.values()) + "."


def is_dicom(source: Source) -> bool:
    """Whether the file has the preamble and prefix of PS3.10 section 7.1."""
    return source.start(PREAMBLE_LENGTH + 4)[PREAMBLE_LENGTH:] == MAGIC


def read_size(source: Source) -> tuple[int, int]:
    """Columns and Rows of the one frame.

    Raises:
        ImageRefused: kind of object, coding or pixels not accepted, or a damaged header.
    """
    head = io.BytesIO(source.start(_HEAD_BYTES))
    head.seek(PREAMBLE_LENGTH + len(MAGIC))
    try:
        syntax = _read_transfer_syntax(head)
        dataset = _read_until_pixels(head, implicit=syntax == IMPLICIT_LITTLE_ENDIAN)
    except ImageRefused:
        raise
    except Exception as error:
        # A parser of hostile bytes: whatever it stumbles over, the file is what is wrong.
        raise damaged("its DICOM header cannot be read") from error
    check_object(dataset)
    size = _number(dataset, _COLUMNS), _number(dataset, _ROWS)
    if syntax in NATIVE_SYNTAXES and size[0] * size[1] * _number(dataset, _SAMPLES) > source.size:
        raise ImageRefused("truncated", "The DICOM file is cut off: it has too few pixel data.")
    return size


def check_object(dataset: "Dataset") -> None:
    """Check SOP class, photometric interpretation, bit depth and number of frames.

    Raises:
        ImageRefused: unsupported_sop_class, unsupported_mode or animated.
    """
    check_sop_class(_text(dataset, _SOP_CLASS_UID))
    photometric = _text(dataset, _PHOTOMETRIC)
    samples, bits = _number(dataset, _SAMPLES), _number(dataset, _BITS_ALLOCATED)
    if photometric.startswith("MONOCHROME"):
        raise unsupported_mode(f"greyscale ({photometric})")
    if photometric not in COLOUR_PHOTOMETRICS | {PALETTE_PHOTOMETRIC}:
        raise unsupported_mode(f"of photometric interpretation {photometric[:20] or 'unknown'}")
    if bits != 8:
        raise unsupported_mode(f"{bits}-bit")
    if samples != (1 if photometric == PALETTE_PHOTOMETRIC else 3):
        raise unsupported_mode(f"of {samples} samples per pixel")
    frames = _text(dataset, _FRAMES) or "1"
    if frames != "1":
        raise animated(f"The DICOM file holds {frames[:20]} frames")


def check_sop_class(uid: str) -> None:
    """Refuse every SOP class but single cell images (PS3.4 annex B)."""
    if uid == WHOLE_SLIDE_SOP_CLASS:
        raise ImageRefused(
            "unsupported_sop_class",
            "The DICOM object is a whole-slide image; cells have to be cropped from it first. "
            + _ACCEPTED_CLASSES,
        )
    if uid not in SOP_CLASSES:
        raise ImageRefused(
            "unsupported_sop_class",
            f"The DICOM object has SOP class {uid[:64] or 'unknown'}. {_ACCEPTED_CLASSES}",
        )


def check_transfer_syntax(uid: str) -> None:
    """Refuse the transfer syntaxes that cannot be decoded within limits (PS3.5 section 10)."""
    if uid == DEFLATED:
        raise ImageRefused(
            "unsupported_transfer_syntax",
            f"The DICOM file is deflated, and is not inflated for safety. {_ACCEPTED_SYNTAXES}",
        )
    if uid not in TRANSFER_SYNTAXES:
        raise ImageRefused(
            "unsupported_transfer_syntax",
            f"The DICOM file has transfer syntax {uid[:64] or 'unknown'}. {_ACCEPTED_SYNTAXES}",
        )


def _read_transfer_syntax(head: io.BytesIO) -> str:
    from pydicom.filereader import read_dataset

    # PS3.10 section 7.1: file meta information is always explicit VR little endian.
    meta = read_dataset(head, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    syntax = _text(meta, _TRANSFER_SYNTAX_UID)
    check_transfer_syntax(syntax)
    return syntax


def _read_until_pixels(head: io.BytesIO, *, implicit: bool) -> "Dataset":
    from pydicom.filereader import read_dataset

    return read_dataset(
        head,
        implicit,
        True,
        stop_when=lambda tag, vr, length: int(tag) > _LAST,
        specific_tags=[
            _SOP_CLASS_UID, _SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS_ALLOCATED
        ],
    )  # fmt: skip


def _text(dataset: "Dataset", tag: int) -> str:
    """A text value as stored; the raw bytes, because conversion warns about strange values."""
    if tag not in dataset:
        return ""
    value = dataset.get_item(tag).value
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return str(value or "").strip("\0 ")


def _number(dataset: "Dataset", tag: int) -> int:
    """An unsigned short (VR US), 0 where it is absent."""
    if tag not in dataset:
        return 0
    value = dataset.get_item(tag).value
    return int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value or 0)
