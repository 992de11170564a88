"""The header of a DICOM file (PS3.10 section 7, PS3.5 section 7), walked element by element.

Values are skipped, not read, except for the few that decide. Nothing is inflated: a deflated data
set of 183 KB can hold 183 MB, so that syntax is refused from the file meta information alone.
Sequences are walked without recursion, however deep they are nested.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from classifier.imaging.dicom import (
    IMPLICIT_LITTLE_ENDIAN,
    NATIVE_SYNTAXES,
    ImageAttributes,
    check_object,
    check_transfer_syntax,
)
from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source, damaged

_PREAMBLE_LENGTH = 128
_PREFIX = b"DICM"
_START = _PREAMBLE_LENGTH + len(_PREFIX)

_TRANSFER_SYNTAX_UID = 0x00020010
_SOP_CLASS_UID = 0x00080016
_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS, _BITS_ALLOCATED = 0x00280010, 0x00280011, 0x00280100

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
# PS3.5 section 7.1.2: these have a length of four bytes, after two that are reserved.
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_LONGEST_VALUE = 128
# Real headers have a few hundred elements in front of their pixels.
_MAX_ELEMENTS = 20_000


class _Element(NamedTuple):
    tag: int
    representation: bytes
    length: int
    value: int  # offset


def is_dicom(source: Source) -> bool:
    """Whether the file has the preamble and prefix of PS3.10 section 7.1."""
    return source.start(_START)[_PREAMBLE_LENGTH:] == _PREFIX


def read_size(source: Source) -> tuple[int, int]:
    """Columns and Rows of the one frame.

    Raises:
        ImageRefused: kind of object, coding or pixels not accepted, or a damaged header.
    """
    syntax, start = _read_meta_information(source)
    attributes = _read_attributes(source, start, implicit=syntax == IMPLICIT_LITTLE_ENDIAN)
    check_object(attributes)
    pixels = attributes.columns * attributes.rows * attributes.samples_per_pixel
    if syntax in NATIVE_SYNTAXES and pixels > source.size:
        raise ImageRefused("truncated", "The DICOM file is cut off: it has too few pixel data.")
    return attributes.columns, attributes.rows


def _read_meta_information(source: Source) -> tuple[str, int]:
    """The transfer syntax, and where the data set begins; always explicit VR little endian."""
    syntax, offset = "", _START
    for _ in range(100):
        element = _read_element(source, offset, implicit=False)
        if element.tag >> 16 != 2:
            break
        if element.tag == _TRANSFER_SYNTAX_UID:
            syntax = _text(source, element)
        offset = element.value + element.length
    check_transfer_syntax(syntax)
    return syntax, offset


def _read_attributes(source: Source, start: int, *, implicit: bool) -> ImageAttributes:
    texts = dict.fromkeys((_SOP_CLASS_UID, _PHOTOMETRIC, _FRAMES), "")
    numbers = dict.fromkeys((_SAMPLES, _BITS_ALLOCATED, _ROWS, _COLUMNS), 0)
    for element in _walk(source, start, implicit):
        if element.tag in texts:
            texts[element.tag] = _text(source, element)
        elif element.tag in numbers:
            numbers[element.tag] = int.from_bytes(source.at(element.value, 2), "little")
        if element.tag >= _BITS_ALLOCATED:
            break
    return ImageAttributes(
        sop_class_uid=texts[_SOP_CLASS_UID],
        photometric_interpretation=texts[_PHOTOMETRIC],
        samples_per_pixel=numbers[_SAMPLES],
        bits_allocated=numbers[_BITS_ALLOCATED],
        number_of_frames=texts[_FRAMES],
        rows=numbers[_ROWS],
        columns=numbers[_COLUMNS],
    )


def _walk(source: Source, offset: int, implicit: bool) -> Iterator[_Element]:
    """The elements outside of sequences, in the order of the file."""
    # One entry for each open sequence of undefined length: how it was coded around it.
    outer: list[bool] = []
    for _ in range(_MAX_ELEMENTS):
        element = _read_element(source, offset, implicit=implicit)
        offset = element.value
        if element.tag == _SEQUENCE_END and outer:
            implicit = outer.pop()
        elif element.length == _UNDEFINED and element.tag != _ITEM:
            outer.append(implicit)
            # PS3.5 section 6.2.2: an unknown sequence is coded implicitly inside.
            implicit = implicit or element.representation == b"UN"
        elif element.length != _UNDEFINED:
            if not outer:
                yield element
            offset += element.length
    raise damaged("its DICOM header has thousands of elements and no image")


def _read_element(source: Source, offset: int, *, implicit: bool) -> _Element:
    group, number = struct.unpack("<HH", source.at(offset, 4))
    tag = group << 16 | number
    if implicit or group == 0xFFFE:
        (length,) = struct.unpack("<I", source.at(offset + 4, 4))
        return _Element(tag, b"", length, offset + 8)
    representation = source.at(offset + 4, 2)
    if representation in _LONG:
        (length,) = struct.unpack("<I", source.at(offset + 8, 4))
        return _Element(tag, representation, length, offset + 12)
    (length,) = struct.unpack("<H", source.at(offset + 6, 2))
    return _Element(tag, representation, length, offset + 8)


def _text(source: Source, element: _Element) -> str:
    if element.length > _LONGEST_VALUE:
        raise damaged("an attribute of its DICOM header is too long")
    return source.at(element.value, element.length).decode("ascii", "replace").strip("\0 ")
