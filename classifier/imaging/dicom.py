"""Which DICOM objects are taken: SOP classes, transfer syntaxes and kinds of pixels.

The lists are those of the conformance statement.
"""

from typing import Final, NamedTuple

from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import animated, unsupported_mode

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

_ACCEPTED_SYNTAXES = "Accepted transfer syntaxes: " + ", ".join(TRANSFER_SYNTAXES.values()) + "."
_ACCEPTED_CLASSES = "Accepted SOP classes: " + ", ".join(SOP_CLASSES.values()) + "."


class ImageAttributes(NamedTuple):
    """The attributes that decide whether an object is taken (PS3.3 section C.7.6.3)."""

    sop_class_uid: str
    photometric_interpretation: str
    samples_per_pixel: int
    bits_allocated: int
    number_of_frames: str
    rows: int
    columns: int


def check_object(attributes: ImageAttributes) -> None:
    """Check SOP class, photometric interpretation, bit depth and number of frames.

    Raises:
        ImageRefused: unsupported_sop_class, unsupported_mode or animated.
    """
    check_sop_class(attributes.sop_class_uid)
    photometric = attributes.photometric_interpretation
    if photometric.startswith("MONOCHROME"):
        raise unsupported_mode(f"greyscale ({photometric[:20]})")
    if photometric not in COLOUR_PHOTOMETRICS | {PALETTE_PHOTOMETRIC}:
        raise unsupported_mode(f"of photometric interpretation {photometric[:20] or 'unknown'}")
    if attributes.bits_allocated != 8:
        raise unsupported_mode(f"{attributes.bits_allocated}-bit")
    if attributes.samples_per_pixel != (1 if photometric == PALETTE_PHOTOMETRIC else 3):
        raise unsupported_mode(f"of {attributes.samples_per_pixel} samples per pixel")
    if attributes.number_of_frames not in ("", "0", "1"):
        raise animated(f"The DICOM file holds {attributes.number_of_frames[:20]} frames")


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
