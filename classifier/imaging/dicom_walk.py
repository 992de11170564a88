"""A DICOM data set walked element by element (PS3.5 section 7): positions, never values.

Nothing is inflated and nothing recurses: sequences are kept on a stack of bounded depth. Every
length is held against the end of what surrounds it, so that a claim is never an allocation.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from classifier.imaging.dicom import IMPLICIT_LITTLE_ENDIAN, check_transfer_syntax
from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source, damaged

PREAMBLE_LENGTH: Final = 128
PREFIX: Final = b"DICM"
PIXEL_DATA: Final = 0x7FE00010
UNDEFINED: Final = 0xFFFFFFFF

_START = PREAMBLE_LENGTH + len(PREFIX)
_META_GROUP = b"\x02\x00"
_TRANSFER_SYNTAX_UID = 0x00020010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
# PS3.5 section 7.1.2: these have a length of four bytes, after two that are reserved.
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT = {
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN"),
    *(b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
}
# Real objects nest five or six sequences; readers that recurse give up at some hundred.
_MAX_DEPTH = 16
# An object of 2,000 frames has some twenty elements for each of them.
_MAX_ELEMENTS = 100_000
_MAX_VALUE_BYTES = 16 * 1024**2


class Element(NamedTuple):
    """Where an element stands.

    Attributes:
        path: tags of the sequences around it, the outermost first.
        item: number of the item of the innermost sequence, from 0.
        tag, representation, length: as coded; the representation is empty where it is implicit.
        value: offset of its first byte.
        fragments: offset and length of each item of encapsulated pixel data (PS3.5 section A.4).
    """

    path: tuple[int, ...]
    item: int
    tag: int
    representation: bytes
    length: int
    value: int
    fragments: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class _Level:
    """An open sequence, or an open item of one."""

    tag: int
    end: int | None  # None: ended by a delimiter
    implicit: bool
    is_item: bool
    items: int = 0


def is_dicom(source: Source) -> bool:
    """Whether the file has the preamble and prefix of PS3.10 section 7.1."""
    return source.start(_START)[PREAMBLE_LENGTH:] == PREFIX


def read_meta_information(source: Source) -> tuple[str, int]:
    """The transfer syntax, and where the data set begins; always explicit VR little endian.

    Raises:
        ImageRefused: not DICOM, or a transfer syntax that is not accepted.
    """
    if not is_dicom(source):
        raise ImageRefused("not_an_image", "The file is not a DICOM file (PS3.10).")
    syntax, offset = "", _START
    for _ in range(100):
        if source.at(offset, 2) != _META_GROUP:
            break
        element = _read_element(source, offset, implicit=False)
        if element.tag == _TRANSFER_SYNTAX_UID:
            syntax = text_of(source, element)
        offset = element.value + element.length
    check_transfer_syntax(syntax)
    return syntax, offset


def walk(source: Source, start: int, syntax: str) -> Iterator[Element]:
    """Every element of the data set that is no sequence, in the order of the file.

    Raises:
        ImageRefused: truncated, or damaged where a length, a delimiter or a value representation
            is impossible, or sequences are nested too deep.
    """
    levels = [_Level(0, source.size, syntax == IMPLICIT_LITTLE_ENDIAN, is_item=True)]
    offset = start
    for _ in range(_MAX_ELEMENTS):
        _close(levels, offset)
        if offset == source.size and len(levels) == 1:
            return
        level = levels[-1]
        element = _read_element(source, offset, implicit=level.implicit)
        offset = element.value
        if element.tag in (_ITEM, _ITEM_END, _SEQUENCE_END) or not level.is_item:
            offset = _delimit(source, levels, element)
        elif _is_sequence(element, level):
            _open(source, levels, element)
        elif element.length == UNDEFINED:
            fragments, offset = _fragments(source, offset)
            yield _placed(element, levels, fragments)
        else:
            _check_length(source, element, levels)
            offset += element.length
            yield _placed(element, levels)
    raise damaged(f"its data set has more than {_MAX_ELEMENTS} elements")


def text_of(source: Source, element: Element, longest: int = 128) -> str:
    """An ASCII value without its padding."""
    return bytes_of(source, element, longest).decode("ascii", "replace").strip("\0 ")


def bytes_of(source: Source, element: Element, longest: int) -> bytes:
    """A value of at most `longest` bytes.

    Raises:
        ImageRefused: damaged, where it is longer.
    """
    if element.length > longest:
        raise damaged(f"attribute {_name(element.tag)} has {element.length} bytes")
    return source.at(element.value, element.length)


def number_of(source: Source, element: Element) -> int:
    """A value of representation US.

    Raises:
        ImageRefused: damaged, where it is coded as something else.
    """
    if element.representation not in (b"", b"US", b"UN") or element.length != 2:
        kind = element.representation.decode("ascii", "replace") or "a number"
        raise damaged(f"attribute {_name(element.tag)} is {kind} of {element.length} bytes, not US")
    return int.from_bytes(source.at(element.value, 2), "little")


def _close(levels: list[_Level], offset: int) -> None:
    """Leave what ends at `offset` by its length."""
    while len(levels) > 1 and (end := levels[-1].end) is not None and offset >= end:
        if offset > end:
            raise damaged("an attribute runs over the end of its sequence")
        levels.pop()


def _delimit(source: Source, levels: list[_Level], element: Element) -> int:
    """Enter or leave an item, or leave a sequence; where to read on."""
    level = levels[-1]
    if element.tag == _ITEM and not level.is_item:
        end = None if element.length == UNDEFINED else element.value + element.length
        _check_end(source, levels, end)
        level.items += 1
        levels.append(_Level(level.tag, end, level.implicit, is_item=True))
    elif (
        len(levels) > 1
        and level.end is None
        and element.length == 0
        and element.tag == (_ITEM_END if level.is_item else _SEQUENCE_END)
    ):
        levels.pop()
    else:
        raise damaged(f"{_name(element.tag)} stands where no sequence needs it")
    return element.value


def _is_sequence(element: Element, level: _Level) -> bool:
    if element.tag == PIXEL_DATA:
        return False
    if element.representation == b"SQ" or element.length == UNDEFINED:
        return True
    # PS3.5 section 6.2.2: coded implicitly, or by a writer that did not know the attribute.
    return element.representation in (b"", b"UN") and _known_as_sequence(element.tag)


def _known_as_sequence(tag: int) -> bool:
    from pydicom._dicom_dict import DicomDictionary

    entry = DicomDictionary.get(tag)
    return entry is not None and entry[0] == "SQ"


def _open(source: Source, levels: list[_Level], element: Element) -> None:
    if sum(not level.is_item for level in levels) >= _MAX_DEPTH:
        raise damaged(f"its sequences are nested more than {_MAX_DEPTH} deep")
    end = None if element.length == UNDEFINED else element.value + element.length
    _check_end(source, levels, end)
    implicit = levels[-1].implicit or element.representation == b"UN"
    levels.append(_Level(element.tag, end, implicit, is_item=False))


def _check_end(source: Source, levels: list[_Level], end: int | None) -> None:
    if end is None:
        return
    if end > source.size:
        raise ImageRefused("truncated", "The DICOM file is cut off inside a sequence.")
    around = next((level.end for level in reversed(levels) if level.end is not None), source.size)
    if end > around:
        raise damaged("a sequence runs over the end of the one around it")


def _check_length(source: Source, element: Element, levels: list[_Level]) -> None:
    end = element.value + element.length
    if end > source.size:
        raise ImageRefused(
            "truncated",
            f"The DICOM file is cut off: attribute {_name(element.tag)} claims {element.length} "
            f"bytes, of which {max(0, source.size - element.value)} are there.",
        )
    _check_end(source, levels, end)
    if element.length > _MAX_VALUE_BYTES and element.tag != PIXEL_DATA:
        raise damaged(f"attribute {_name(element.tag)} has {element.length} bytes")


def _fragments(source: Source, offset: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """The items of encapsulated pixel data, and where the data set goes on."""
    found: list[tuple[int, int]] = []
    for _ in range(_MAX_ELEMENTS):
        element = _read_element(source, offset, implicit=True)
        if element.tag == _SEQUENCE_END:
            return tuple(found), element.value
        if element.tag != _ITEM or element.length == UNDEFINED:
            raise damaged("its pixel data are not made of items")
        offset = element.value + element.length
        if offset > source.size:
            raise ImageRefused("truncated", "The DICOM file is cut off inside its pixel data.")
        found.append((element.value, element.length))
    raise damaged(f"its pixel data have more than {_MAX_ELEMENTS} items")


def _placed(
    element: Element, levels: list[_Level], fragments: tuple[tuple[int, int], ...] = ()
) -> Element:
    if len(levels) == 1:
        return element._replace(fragments=fragments) if fragments else element
    sequences = [level for level in levels if not level.is_item]
    path = tuple(level.tag for level in sequences)
    return element._replace(path=path, item=sequences[-1].items - 1, fragments=fragments)


def _read_element(source: Source, offset: int, *, implicit: bool) -> Element:
    group, number = struct.unpack("<HH", source.at(offset, 4))
    tag = group << 16 | number
    if implicit or group == 0xFFFE:
        (length,) = struct.unpack("<I", source.at(offset + 4, 4))
        return Element((), 0, tag, b"", length, offset + 8)
    representation = source.at(offset + 4, 2)
    if representation in _LONG:
        (length,) = struct.unpack("<I", source.at(offset + 8, 4))
        return Element((), 0, tag, representation, length, offset + 12)
    if representation not in _SHORT:
        shown = representation.decode("ascii", "backslashreplace")
        raise damaged(f"attribute {_name(tag)} has the unknown value representation {shown!r}")
    (length,) = struct.unpack("<H", source.at(offset + 6, 2))
    return Element((), 0, tag, representation, length, offset + 8)


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
