"""Palettes of PALETTE COLOR (PS3.3 sections C.7.6.3.1.5, C.7.6.3.1.6 and C.7.9.2)."""

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from classifier.imaging.dicom_header import LUT_DATA, LUT_DESCRIPTORS, LUT_SEGMENTS, DicomImage
from classifier.imaging.dicom_walk import bytes_of
from classifier.imaging.source import Source, damaged

_MOST_ENTRIES = 65_536
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
_MAX_STEPS = 2 * _MOST_ENTRIES


def apply_palette(
    source: Source, image: DicomImage, indices: npt.NDArray[np.unsignedinteger]
) -> npt.NDArray[np.uint8]:
    """RGB (rows, columns, 3) of the indices (rows, columns).

    Raises:
        ImageRefused: damaged.
    """
    planes = []
    for descriptor, data, segments in zip(LUT_DESCRIPTORS, LUT_DATA, LUT_SEGMENTS, strict=True):
        if descriptor not in image.elements:
            raise damaged("it has no palette")
        count, first, bits = _read_descriptor(source, image, descriptor)
        if data in image.elements:
            table = _read_table(source, image, data, count, bits)
        elif segments in image.elements:
            table = _expand(source, image, segments, count, bits)
        else:
            raise damaged("it has no palette")
        # Indices below the first entry take the first, those behind the last the last.
        place = np.clip(indices.astype(np.int32) - first, 0, count - 1)
        planes.append(table[place])
    return np.stack(planes, axis=-1)


def _read_descriptor(source: Source, image: DicomImage, tag: int) -> tuple[int, int, int]:
    """Number of entries, first index mapped, and bits of an entry."""
    raw = bytes_of(source, image.elements[tag], 6)
    if len(raw) != 6:
        raise damaged("the descriptor of its palette is cut off")
    count, first, bits = struct.unpack("<HHH", raw)
    if bits not in (8, 16):
        raise damaged(f"its palette has entries of {bits} bits")
    return count or _MOST_ENTRIES, first, bits


def _read_table(
    source: Source, image: DicomImage, tag: int, count: int, bits: int
) -> npt.NDArray[np.uint8]:
    raw = bytes_of(source, image.elements[tag], 2 * _MOST_ENTRIES)
    if bits == 16:
        if len(raw) < 2 * count:
            raise damaged("its palette has too few entries")
        return (np.frombuffer(raw, "<u2", count) >> 8).astype(np.uint8)
    if len(raw) >= 2 * count:
        # Entries of 8 bits in words of 16, as some writers pad them.
        return np.frombuffer(raw, "<u2", count).astype(np.uint8)
    if len(raw) < count:
        raise damaged("its palette has too few entries")
    return np.frombuffer(raw, np.uint8, count)


def _expand(
    source: Source, image: DicomImage, tag: int, count: int, bits: int
) -> npt.NDArray[np.uint8]:
    """A segmented palette, run out (PS3.3 section C.7.9.2)."""
    raw = bytes_of(source, image.elements[tag], 2 * _MOST_ENTRIES)
    # PS3.3 C.7.9.2: segments are words for 16 bits, and bytes for 8 (padded to an even count).
    letters = f"<{len(raw) // 2}H" if bits == 16 else f"<{len(raw)}B"
    words = struct.unpack(letters, raw[: struct.calcsize(letters)])
    values: list[int] = []
    for value in _run(words, bits):
        values.append(value)
        if len(values) == count:
            break
    if len(values) < count:
        raise damaged("its segmented palette has too few entries")
    table = np.array(values, np.uint16)
    return (table >> 8 if bits == 16 else table).astype(np.uint8)


def _run(words: tuple[int, ...], bits: int) -> Iterator[int]:
    """The entries of discrete, linear and indirect segments, in order."""
    # What is still to do: position, and how many segments. An indirect one goes elsewhere first.
    todo = [(0, _MAX_STEPS)]
    last: int | None = None
    steps = 0
    while todo:
        position, segments = todo.pop()
        while segments and position + 2 <= len(words) and steps < _MAX_STEPS:
            kind, length = words[position], words[position + 1]
            steps, segments = steps + 1, segments - 1
            if kind == _INDIRECT:
                target, position = _indirection(words, position, bits)
                if todo:
                    raise damaged("its segmented palette refers to what refers again")
                todo.append((position, segments))
                position, segments = target, length
                continue
            position += 2
            if kind == _DISCRETE:
                entries = words[position : position + length]
                position += length
            elif kind == _LINEAR and last is not None and position < len(words):
                entries = _line(last, words[position], length)
                position += 1
            else:
                raise damaged("a segment of its palette is of an unknown kind")
            yield from entries
            last = entries[-1] if entries else last


def _line(start: int, end: int, length: int) -> tuple[int, ...]:
    """`length` values that end at `end`, in equal steps from `start`, which is not repeated."""
    return tuple(round(start + (end - start) * (i + 1) / length) for i in range(length))


def _indirection(words: tuple[int, ...], position: int, bits: int) -> tuple[int, int]:
    """Where an indirect segment points, in entries, and where the next segment begins."""
    width = 2 if bits == 16 else 4
    parts = words[position + 2 : position + 2 + width]
    if len(parts) < width:
        raise damaged("its segmented palette is cut off")
    # Two words, or four bytes, least significant first: an offset in bytes from the beginning.
    shift = 16 if bits == 16 else 8
    offset = sum(part << (shift * place) for place, part in enumerate(parts))
    return offset // (2 if bits == 16 else 1), position + 2 + width
