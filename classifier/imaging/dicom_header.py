"""What a DICOM file says of its pictures (PS3.10 section 7, PS3.3 section C.7.6.3).

Only the values that decide are read; no pixel is decoded and no parser of a library is asked. A
deflated data set of 183 KB can hold 183 MB: that syntax is refused from the file meta information.
"""

from dataclasses import dataclass
from typing import Final

from classifier.imaging import dicom, dicom_frames
from classifier.imaging.dicom import PixelDescription
from classifier.imaging.dicom_frames import Span
from classifier.imaging.dicom_walk import (
    PIXEL_DATA,
    Element,
    bytes_of,
    is_dicom,
    number_of,
    read_meta_information,
    text_of,
    walk,
)
from classifier.imaging.refusal import MAX_SIDE, MIN_SIDE, ImageRefused
from classifier.imaging.source import Source, animated, damaged

__all__ = ["DicomImage", "is_dicom", "read_image", "read_size"]

SOP_CLASS_UID: Final = 0x00080016
SAMPLES, PHOTOMETRIC, PLANAR, FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
ROWS, COLUMNS = 0x00280010, 0x00280011
BITS_ALLOCATED, BITS_STORED, HIGH_BIT, REPRESENTATION = (
    0x00280100,
    0x00280101,
    0x00280102,
    0x00280103,
)
# PS3.3 section 10.7.1.3 and C.7.6.3; spacing in millimetres.
PIXEL_SPACING, IMAGER_SPACING, SCANNED_SPACING = 0x00280030, 0x00181164, 0x00182010
ICC_PROFILE: Final = 0x00282000
_OPTICAL_PATHS = 0x00480105
_SHARED_GROUPS, _FRAME_GROUPS, _PIXEL_MEASURES = 0x52009229, 0x52009230, 0x00289110
_EXTENDED_OFFSETS = 0x7FE00001
# Red, green and blue: descriptors, data, and segmented data (PS3.3 section C.7.6.3.1.5).
LUT_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103)
LUT_DATA = (0x00281201, 0x00281202, 0x00281203)
LUT_SEGMENTS = (0x00281221, 0x00281222, 0x00281223)

_NUMBERS = {SAMPLES, PLANAR, ROWS, COLUMNS, BITS_ALLOCATED, BITS_STORED, HIGH_BIT, REPRESENTATION}
_PLACES = {*LUT_DESCRIPTORS, *LUT_DATA, *LUT_SEGMENTS, ICC_PROFILE, _EXTENDED_OFFSETS, PIXEL_DATA}
_SPACINGS = (PIXEL_SPACING, SCANNED_SPACING, IMAGER_SPACING)
_WANTED = {SOP_CLASS_UID, PHOTOMETRIC, FRAMES, *_NUMBERS, *_PLACES, *_SPACINGS}


@dataclass(frozen=True, slots=True)
class DicomImage:
    """The pictures of a file, found and described.

    Attributes:
        syntax: transfer syntax UID.
        sop_class_uid: an accepted one.
        pixels: how they are coded.
        frames: where each lies.
        elements: palettes and ICC profile, by tag.
        micrometres_per_pixel: the mean of rows and columns, where the file says it.
    """

    syntax: str
    sop_class_uid: str
    pixels: PixelDescription
    frames: tuple[Span, ...]
    elements: dict[int, Element]
    micrometres_per_pixel: float | None


def read_size(source: Source) -> tuple[int, int]:
    """Columns and Rows of the one frame.

    Raises:
        ImageRefused: kind of object, coding or pixels not accepted, several frames, or damaged.
    """
    image = read_image(source, single=True)
    return image.pixels.columns, image.pixels.rows


def read_image(source: Source, *, single: bool = False) -> DicomImage:
    """Find and check everything that decoding needs; `single` refuses several frames.

    Raises:
        ImageRefused: kind of object, coding, pixels or size not accepted, or damaged.
    """
    syntax, start = read_meta_information(source)
    found = _collect(source, start, syntax)
    sop_class = text_of(source, found[SOP_CLASS_UID]) if SOP_CLASS_UID in found else ""
    dicom.check_sop_class(sop_class)
    pixels = _describe(source, found)
    dicom.check_pixels(pixels, syntax)
    _check_size(pixels)
    frames = _count_frames(source, found)
    if single and frames > 1:
        raise animated(f"The DICOM file holds {frames} frames")
    if PIXEL_DATA not in found:
        raise ImageRefused("truncated", "The DICOM file has no pixel data.")
    offsets = _extended_offsets(source, found)
    spans = dicom_frames.locate(source, found[PIXEL_DATA], pixels, syntax, frames, offsets)
    for span in spans:
        dicom_frames.check_code_stream(source, span, pixels, syntax)
    elements = {tag: element for tag, element in found.items() if tag in _PLACES}
    return DicomImage(syntax, sop_class, pixels, spans, elements, _micrometres(source, found))


def _collect(source: Source, start: int, syntax: str) -> dict[int, Element]:
    """The elements that decide: of the data set itself, and what optical paths and frames say."""
    found: dict[int, Element] = {}
    for element in walk(source, start, syntax):
        if element.tag not in _WANTED:
            continue
        if not element.path:
            if element.tag in found and not found[element.tag].path:
                raise damaged("an attribute stands in its data set twice")
            found[element.tag] = element
        elif element.tag in found:
            continue  # the data set itself, or the first optical path or frame, has said it
        elif (element.tag == ICC_PROFILE and element.path == (_OPTICAL_PATHS,)) or (
            element.tag == PIXEL_SPACING
            and element.path
            in ((_SHARED_GROUPS, _PIXEL_MEASURES), (_FRAME_GROUPS, _PIXEL_MEASURES))
        ):
            found[element.tag] = element
    return found


def _describe(source: Source, found: dict[int, Element]) -> PixelDescription:
    numbers = {tag: number_of(source, found[tag]) if tag in found else 0 for tag in _NUMBERS}
    photometric = text_of(source, found[PHOTOMETRIC]) if PHOTOMETRIC in found else ""
    return PixelDescription(
        photometric=photometric,
        samples=numbers[SAMPLES],
        rows=numbers[ROWS],
        columns=numbers[COLUMNS],
        bits_allocated=numbers[BITS_ALLOCATED],
        bits_stored=numbers[BITS_STORED],
        high_bit=numbers[HIGH_BIT],
        representation=numbers[REPRESENTATION],
        planar=numbers[PLANAR],
    )


def _check_size(pixels: PixelDescription) -> None:
    shown = f"The image has {pixels.columns}x{pixels.rows} pixels."
    if min(pixels.columns, pixels.rows) < MIN_SIDE:
        raise ImageRefused("too_small", shown)
    if max(pixels.columns, pixels.rows) > MAX_SIDE:
        raise ImageRefused("too_many_pixels", shown)


def _count_frames(source: Source, found: dict[int, Element]) -> int:
    text = text_of(source, found[FRAMES], 16) if FRAMES in found else ""
    if not text:
        return 1
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise damaged(f"it has {text!r} frames")
    if int(text) > dicom.MAX_FRAMES:
        raise ImageRefused(
            "too_many_pixels",
            f"The DICOM file holds {text} frames; {dicom.MAX_FRAMES} is the most.",
        )
    return int(text)


def _extended_offsets(source: Source, found: dict[int, Element]) -> tuple[int, ...]:
    if _EXTENDED_OFFSETS not in found:
        return ()
    table = bytes_of(source, found[_EXTENDED_OFFSETS], 8 * dicom.MAX_FRAMES)
    return tuple(int.from_bytes(table[i : i + 8], "little") for i in range(0, len(table), 8))


def _micrometres(source: Source, found: dict[int, Element]) -> float | None:
    """Physical size of a pixel; what cannot be a size is as good as absent."""
    for tag in _SPACINGS:
        if tag not in found:
            continue
        try:
            values = [float(part) for part in text_of(source, found[tag], 64).split("\\")]
        except ValueError:
            continue
        if len(values) == 2 and all(0 < value < 10 for value in values):
            return 1000 * (values[0] + values[1]) / 2
    return None
