"""Which DICOM objects are taken: SOP classes, transfer syntaxes and kinds of pixels.

The lists are those of the conformance statement.
"""

from dataclasses import dataclass
from typing import Final

from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import damaged, unsupported_mode

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
EXPLICIT_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
RLE: Final = "1.2.840.10008.1.2.5"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_LS: Final = frozenset({"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"})
JPEG_2000: Final = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
HIGH_THROUGHPUT_JPEG_2000: Final = "1.2.840.10008.1.2.4.20"
TRANSFER_SYNTAXES: Final = {
    IMPLICIT_LITTLE_ENDIAN: "Implicit VR Little Endian",
    EXPLICIT_LITTLE_ENDIAN: "Explicit VR Little Endian",
    RLE: "RLE Lossless",
    JPEG_BASELINE: "JPEG Baseline (Process 1)",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
NATIVE_SYNTAXES: Final = frozenset({IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN})

# PS3.3 section C.7.6.3.1.2.
PALETTE_PHOTOMETRIC: Final = "PALETTE COLOR"
SUBSAMPLED_PHOTOMETRIC: Final = "YBR_FULL_422"
JPEG_2000_PHOTOMETRICS: Final = frozenset({"YBR_ICT", "YBR_RCT"})
COLOUR_PHOTOMETRICS: Final = frozenset(
    {"RGB", "YBR_FULL", SUBSAMPLED_PHOTOMETRIC, PALETTE_PHOTOMETRIC} | JPEG_2000_PHOTOMETRICS
)

# A file is kept whole and read by pieces; a frame is one cell.
MAX_FILE_BYTES: Final = 512 * 1024**2
MAX_FRAMES: Final = 2_000

_ACCEPTED_SYNTAXES = "Accepted transfer syntaxes: " + ", ".join(TRANSFER_SYNTAXES.values()) + "."
_ACCEPTED_CLASSES = "Accepted SOP classes: " + ", ".join(SOP_CLASSES.values()) + "."
_REFUSED_SYNTAXES = {
    DEFLATED: "is deflated, and is not inflated for safety",
    EXPLICIT_BIG_ENDIAN: "is in Explicit VR Big Endian, which the standard has retired",
}


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The attributes that say how pixels are coded (PS3.3 section C.7.6.3)."""

    photometric: str
    samples: int
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    representation: int
    planar: int

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample."""
        return self.bits_allocated // 8

    def frame_bytes(self, syntax: str) -> int:
        """Bytes of one frame in a native transfer syntax (PS3.3 section C.7.6.3.1.2).

        YBR_FULL_422 holds one pair of chrominance values for two pixels there; in a compressed
        frame the subsampling is the code stream's own business.
        """
        pixels = self.rows * self.columns
        if self.photometric == SUBSAMPLED_PHOTOMETRIC and syntax in NATIVE_SYNTAXES:
            return pixels * 2 * self.sample_bytes
        return pixels * self.samples * self.sample_bytes


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
    if uid in _REFUSED_SYNTAXES:
        text = f"The DICOM file {_REFUSED_SYNTAXES[uid]} ({uid}). {_ACCEPTED_SYNTAXES}"
        raise ImageRefused("unsupported_transfer_syntax", text)
    if uid not in TRANSFER_SYNTAXES:
        raise ImageRefused(
            "unsupported_transfer_syntax",
            f"The DICOM file has transfer syntax {uid[:64] or 'unknown'}. {_ACCEPTED_SYNTAXES}",
        )


def check_pixels(pixels: PixelDescription, syntax: str) -> None:
    """Refuse what is not colour of 8 to 16 bits, or contradicts itself.

    Raises:
        ImageRefused: unsupported_mode or damaged.
    """
    photometric = pixels.photometric
    if photometric.startswith("MONOCHROME"):
        raise unsupported_mode(f"greyscale ({photometric[:20]})")
    if photometric not in COLOUR_PHOTOMETRICS:
        raise unsupported_mode(f"of photometric interpretation {photometric[:20] or 'unknown'}")
    if photometric in JPEG_2000_PHOTOMETRICS and syntax not in JPEG_2000:
        raise damaged(f"{photometric} belongs to JPEG 2000, which its transfer syntax is not")
    if pixels.samples != (1 if photometric == PALETTE_PHOTOMETRIC else 3):
        raise unsupported_mode(f"of {pixels.samples} samples per pixel")
    if photometric == SUBSAMPLED_PHOTOMETRIC and syntax in NATIVE_SYNTAXES and pixels.columns % 2:
        raise damaged("YBR_FULL_422 needs an even number of columns")
    _check_bits(pixels, syntax)


def _check_bits(pixels: PixelDescription, syntax: str) -> None:
    allocated, stored = pixels.bits_allocated, pixels.bits_stored
    if pixels.representation != 0:
        raise unsupported_mode("of signed numbers")
    if allocated not in (8, 16) or (syntax == JPEG_BASELINE and allocated != 8):
        raise unsupported_mode(f"{allocated}-bit")
    lowest = 1 if pixels.photometric == PALETTE_PHOTOMETRIC else 8
    if not lowest <= stored <= allocated:
        raise unsupported_mode(f"of {stored} bits stored in {allocated}")
    if pixels.high_bit != stored - 1:
        raise unsupported_mode(f"of {stored} bits with the highest at {pixels.high_bit}")
    if pixels.planar not in (0, 1):
        raise damaged(f"it has planar configuration {pixels.planar}")
