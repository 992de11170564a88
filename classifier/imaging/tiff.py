"""The structure of a TIFF file (Adobe TIFF 6.0, and BigTIFF), read without decoding."""

import struct
from dataclasses import dataclass

from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import (
    Source,
    animated,
    damaged,
    refuse_grey_palette,
    unsupported_mode,
)

MAGICS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 256, 257, 258, 262
_STRIP_OFFSETS, _CHANNELS, _STRIP_LENGTHS = 273, 277, 279
_COLOUR_MAP, _TILE_OFFSETS, _TILE_LENGTHS, _SAMPLE_FORMAT = 320, 324, 325, 339
_UNSIGNED = 1
_RGB, _PALETTE, _YCBCR = 2, 3, 6
_PHOTOMETRIC_NAMES = {0: "greyscale", 1: "greyscale", 4: "a mask", 5: "CMYK", 8: "CIE L*a*b*"}
# Type code of a field to its struct letter: BYTE, SHORT, LONG and the 64-bit integers of BigTIFF.
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q", 18: "Q"}
_MAX_FIELDS = 1_000
_MAX_DIRECTORIES = 1_000
# One strip per row is the most that makes sense; tiles are larger than that.
_MAX_STRIPS = 3 * 4096


@dataclass(frozen=True)
class _Layout:
    """Sizes that differ between TIFF and BigTIFF, and the byte order."""

    order: str
    offset: str
    count: str
    first: int

    @property
    def width(self) -> int:
        return struct.calcsize(self.offset)

    def unpack(self, letters: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self.order + letters, data)


class _Directory:
    """One image file directory: fields by tag, integer values only."""

    def __init__(self, source: Source, layout: _Layout, offset: int) -> None:
        self._source, self._layout = source, layout
        counter = struct.calcsize(layout.count)
        (fields,) = layout.unpack(layout.count, source.at(offset, counter))
        if not 0 < fields <= _MAX_FIELDS:
            raise damaged(f"the TIFF directory claims {fields} fields")
        entry = 4 + 2 * layout.width
        data = source.at(offset + counter, fields * entry + layout.width)
        self._entries = [data[i : i + entry] for i in range(0, fields * entry, entry)]
        (self.next,) = layout.unpack(layout.offset, data[-layout.width :])

    def values(self, tag: int, limit: int) -> tuple[int, ...]:
        """The integers of a field; empty where it is absent."""
        wanted = struct.pack(self._layout.order + "H", tag)
        field = next((entry for entry in self._entries if entry[:2] == wanted), None)
        if field is None:
            return ()
        kind, count = self._layout.unpack("H" + self._layout.offset, field[2 : -self._layout.width])
        letter = _INTEGERS.get(kind)
        if letter is None or count > limit:
            raise damaged(f"TIFF field {tag} has an impossible type or length")
        length = count * struct.calcsize(letter)
        data = field[-self._layout.width :]
        if length > len(data):
            (offset,) = self._layout.unpack(self._layout.offset, data)
            data = self._source.at(offset, length)
        return self._layout.unpack(f"{count}{letter}", data[:length])

    def value(self, tag: int, default: int) -> int:
        found = self.values(tag, 1)
        return found[0] if found else default


def read_size(source: Source) -> tuple[int, int]:
    """Width and height from the first directory.

    Raises:
        ImageRefused: not 8-bit colour, several pages, truncated or damaged.
    """
    layout = _read_layout(source)
    directory = _Directory(source, layout, layout.first)
    pages = _count_pages(source, layout, directory)
    if pages > 1:
        raise animated(f"The file is a TIFF of {pages} pages")
    _check_colour(directory)
    _check_data(source, directory)
    return directory.value(_WIDTH, 0), directory.value(_HEIGHT, 0)


def _read_layout(source: Source) -> _Layout:
    start = source.at(0, 8)
    order = "<" if start[:1] == b"I" else ">"
    if b"+" not in start[2:4]:
        return _Layout(order, "I", "H", struct.unpack(order + "I", start[4:])[0])
    (first,) = struct.unpack(order + "Q", source.at(8, 8))
    return _Layout(order, "Q", "Q", first)


def _count_pages(source: Source, layout: _Layout, directory: _Directory) -> int:
    seen = {layout.first}
    while directory.next and directory.next not in seen and len(seen) < _MAX_DIRECTORIES:
        seen.add(directory.next)
        directory = _Directory(source, layout, directory.next)
    return len(seen)


def _check_colour(directory: _Directory) -> None:
    bits = set(directory.values(_BITS, 64) or (1,))
    widest = max(bits)
    photometric = directory.value(_PHOTOMETRIC, 0)
    if set(directory.values(_SAMPLE_FORMAT, 64) or (_UNSIGNED,)) != {_UNSIGNED}:
        raise unsupported_mode(f"stored as {widest}-bit signed or floating-point numbers")
    if photometric not in (_RGB, _PALETTE, _YCBCR):
        kind = _PHOTOMETRIC_NAMES.get(photometric, f"of photometric type {photometric}")
        raise unsupported_mode("black and white" if widest == 1 else f"{widest}-bit {kind}")
    if photometric == _PALETTE:
        _check_palette(directory)
    elif bits != {8}:
        raise unsupported_mode(f"{widest}-bit RGB")
    channels = directory.value(_CHANNELS, 1)
    if channels not in ((1, 2) if photometric == _PALETTE else (3, 4)):
        raise unsupported_mode(f"of {channels} channels")


def _check_palette(directory: _Directory) -> None:
    colours = directory.values(_COLOUR_MAP, 3 * 2**16)
    third = len(colours) // 3
    interleaved = bytes(
        level >> 8 for entry in zip(*_thirds(colours, third), strict=True) for level in entry
    )
    if not interleaved:
        raise damaged("the TIFF has no colour map")
    refuse_grey_palette(interleaved)


def _thirds(colours: tuple[int, ...], third: int) -> list[tuple[int, ...]]:
    return [colours[channel * third : (channel + 1) * third] for channel in range(3)]


def _check_data(source: Source, directory: _Directory) -> None:
    offsets = directory.values(_STRIP_OFFSETS, _MAX_STRIPS)
    lengths = directory.values(_STRIP_LENGTHS, _MAX_STRIPS)
    if not offsets:
        offsets = directory.values(_TILE_OFFSETS, _MAX_STRIPS)
        lengths = directory.values(_TILE_LENGTHS, _MAX_STRIPS)
    if not offsets:
        raise damaged("the TIFF has no image data")
    ends = [offset + length for offset, length in zip(offsets, lengths, strict=False)]
    if max(ends, default=max(offsets) + 1) > source.size:
        raise ImageRefused("truncated", "The TIFF is cut off: image data lie behind its end.")
