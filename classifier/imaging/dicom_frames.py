"""Where each frame lies in a DICOM file (PS3.5 annex A), and the size its code stream claims."""

import hashlib
import io
from typing import Final

from classifier.imaging import dicom
from classifier.imaging.dicom import PixelDescription
from classifier.imaging.dicom_walk import UNDEFINED, Element
from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source, damaged

Span = tuple[tuple[int, int], ...]  # offset and length of each piece, in order

_SIZE_MARKER_JPEG2000 = b"\xff\x4f\xff\x51"
_JP2_CODE_STREAM_BOX = b"jp2c"
# T.81 and T.87 (JPEG-LS) keep the size at the same place of their frame headers.
_JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_BLOCK = 1024**2
_LONGEST_HEADER: Final = 1024**2  # of a code stream: comments and profiles may come first


def locate(
    source: Source,
    pixel_data: Element,
    pixels: PixelDescription,
    syntax: str,
    frames: int,
    offsets: tuple[int, ...] = (),
) -> tuple[Span, ...]:
    """The pieces of each frame, all inside the file.

    Args:
        source: the file.
        pixel_data: the element (7FE0,0010).
        pixels: how they are coded.
        syntax: transfer syntax UID.
        frames: how many there are.
        offsets: Extended Offset Table (7FE0,0001), where there is one.

    Raises:
        ImageRefused: truncated or damaged.
    """
    if syntax in dicom.NATIVE_SYNTAXES:
        return _native(pixel_data, pixels, syntax, frames)
    if pixel_data.length != UNDEFINED or not pixel_data.fragments:
        raise damaged("its pixel data are not encapsulated, as its transfer syntax says")
    (table_at, table_length), *fragments = pixel_data.fragments
    if not offsets and table_length:
        if table_length % 4 or table_length // 4 != frames:
            raise damaged(f"its offset table does not fit its {frames} frames")
        table = source.at(table_at, table_length)
        offsets = tuple(int.from_bytes(table[i : i + 4], "little") for i in range(0, len(table), 4))
    spans = _grouped(fragments, frames, offsets)
    for span in spans:
        _check_length(span, pixels, syntax)
    return spans


def read(source: Source, span: Span) -> bytes:
    """The bytes of a frame, its pieces put together."""
    return b"".join(source.at(offset, length) for offset, length in span)


def digest(source: Source, span: Span) -> str:
    """SHA-256 of the bytes of a frame."""
    sha256 = hashlib.sha256()
    for offset, length in span:
        for start in range(0, length, _BLOCK):
            sha256.update(source.at(offset + start, min(_BLOCK, length - start)))
    return sha256.hexdigest()


def check_code_stream(source: Source, span: Span, pixels: PixelDescription, syntax: str) -> None:
    """Compare the size inside a compressed frame with Rows and Columns.

    A decoder allocates what the code stream says, whatever the DICOM header says: a frame of
    2 MB under a header of 64x64 cost 3.2 GB.

    Raises:
        ImageRefused: damaged, when they differ.
    """
    if syntax in dicom.NATIVE_SYNTAXES or syntax == dicom.RLE:
        # RLE has no size of its own: its decoder allocates Rows x Columns and stops there.
        return
    start = _start_of(source, span)
    size = jpeg2000_size(start) if syntax in dicom.JPEG_2000 else jpeg_size(start)
    if size != (pixels.columns, pixels.rows, pixels.samples):
        raise damaged(
            f"its header says {pixels.columns}x{pixels.rows} pixels of {pixels.samples} samples, "
            f"its code stream {size[0]}x{size[1]} of {size[2]}"
        )


def jpeg_size(frame: bytes) -> tuple[int, int, int]:
    """Columns, rows and components of a JPEG or JPEG-LS stream (T.81 B.2.2, T.87 C.2.2)."""
    source = Source(io.BytesIO(frame))
    if source.at(0, 2) != b"\xff\xd8":
        raise damaged("its pixel data do not begin like a JPEG")
    offset = 2
    while True:
        prefix, marker = source.at(offset, 2)
        if prefix != 0xFF:
            raise damaged("a JPEG marker is missing in its pixel data")
        if marker == 0xFF:
            offset += 1
            continue
        length = source.at(offset + 2, 2)
        if marker in _JPEG_FRAMES:
            values = source.at(offset + 5, 5)
            rows, columns = int.from_bytes(values[:2]), int.from_bytes(values[2:4])
            return columns, rows, values[4]
        offset += 2 + max(2, int.from_bytes(length))


def jpeg2000_size(frame: bytes) -> tuple[int, int, int]:
    """Columns, rows and components from the SIZ segment (T.800 A.5.1): extent less offset."""
    values = Source(io.BytesIO(frame)).at(jpeg2000_start(frame) + 8, 34)
    width, height, left, top = (int.from_bytes(values[i : i + 4]) for i in range(0, 16, 4))
    if width <= left or height <= top:
        raise ImageRefused("damaged", "The JPEG 2000 code stream has no area.")
    return width - left, height - top, int.from_bytes(values[32:34])


def jpeg2000_start(frame: bytes) -> int:
    """Where the code stream begins: at once, as PS3.5 section A.4.4 has it, or in a JP2 box."""
    start = frame.find(_SIZE_MARKER_JPEG2000)
    if start < 0 or (start > 0 and _JP2_CODE_STREAM_BOX not in frame[:start]):
        raise damaged("its JPEG 2000 code stream has no header")
    return start


def _native(
    element: Element, pixels: PixelDescription, syntax: str, frames: int
) -> tuple[Span, ...]:
    if element.length == UNDEFINED:
        raise damaged("its pixel data are encapsulated, which its transfer syntax excludes")
    each = pixels.frame_bytes(syntax)
    # PS3.5 section 8.1.1: one byte of padding where the length would be odd.
    if element.length < each * frames:
        raise ImageRefused("truncated", "The DICOM file is cut off: it has too few pixel data.")
    if element.length > each * frames + each * frames % 2:
        raise damaged(f"it has {element.length} bytes of pixel data, not {each * frames}")
    return tuple(((element.value + each * number, each),) for number in range(frames))


def _grouped(
    fragments: list[tuple[int, int]], frames: int, offsets: tuple[int, ...]
) -> tuple[Span, ...]:
    if frames == 1 and fragments:
        return (tuple(fragments),)
    if len(fragments) == frames:
        return tuple((fragment,) for fragment in fragments)
    if len(offsets) != frames:
        raise damaged(f"{len(fragments)} fragments make {frames} frames, and nothing says how")
    # PS3.5 section A.4: offsets count from the first byte of the first item behind the table.
    first = fragments[0][0] - 8 if fragments else 0
    starts = {offset - 8 - first: place for place, (offset, _) in enumerate(fragments)}
    try:
        places = [starts[offset] for offset in offsets]
    except KeyError:
        raise damaged("its offset table points between its fragments") from None
    if places[0] != 0 or places != sorted(set(places)):
        raise damaged("its offset table is not in order")
    ends = [*places[1:], len(fragments)]
    return tuple(tuple(fragments[a:b]) for a, b in zip(places, ends, strict=True))


def _check_length(span: Span, pixels: PixelDescription, syntax: str) -> None:
    """Refuse a compressed frame that is much larger than its pixels: what else is in it?"""
    length = sum(piece for _, piece in span)
    if length > 2 * pixels.frame_bytes(syntax) + _LONGEST_HEADER:
        raise damaged(f"a frame takes {length} bytes, more than its pixels")


def _start_of(source: Source, span: Span) -> bytes:
    parts, wanted = [], _LONGEST_HEADER
    for offset, length in span:
        part = source.at(offset, min(length, wanted))
        parts.append(part)
        wanted -= len(part)
        if not wanted:
            break
    return b"".join(parts)
