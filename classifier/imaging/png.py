"""The structure of a PNG file (W3C PNG, third edition), read without inflating anything."""

from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import (
    Source,
    animated,
    damaged,
    refuse_grey_palette,
    unsupported_mode,
)

MAGIC = b"\x89PNG\r\n\x1a\n"

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_COLOUR_TYPES = {_RGB, _PALETTE, _RGBA}
_CHUNK_OVERHEAD = 12
# 10 MB in the smallest data chunks that encoders write (8 KB) is about 1,300.
_MAX_CHUNKS = 20_000


def read_size(source: Source) -> tuple[int, int]:
    """Width and height from the image header.

    Raises:
        ImageRefused: not 8-bit colour, animated, truncated or damaged.
    """
    size, colour_type = _read_image_header(source)
    offset = len(MAGIC)
    has_data = False
    for _ in range(_MAX_CHUNKS):
        header = source.at(offset, 8)
        length, kind = int.from_bytes(header[:4]), header[4:]
        if offset + _CHUNK_OVERHEAD + length > source.size:
            raise ImageRefused("truncated", "The PNG is cut off in the middle of its data.")
        _check_chunk(source, kind, offset + 8, length, colour_type)
        has_data = has_data or kind == b"IDAT"
        if kind == b"IEND":
            if not has_data:
                raise damaged("the PNG has no image data")
            return size
        offset += _CHUNK_OVERHEAD + length
    raise damaged("the PNG consists of thousands of tiny chunks")


def _read_image_header(source: Source) -> tuple[tuple[int, int], int]:
    header = source.at(len(MAGIC), 25)
    if header[:8] != b"\x00\x00\x00\x0dIHDR":
        raise damaged("the PNG does not start with its header")
    depth, colour_type = header[16], header[17]
    if colour_type in (_GREY, _GREY_ALPHA):
        kind = "black and white" if depth == 1 else f"{depth}-bit greyscale"
        raise unsupported_mode(kind + (" with transparency" if colour_type == _GREY_ALPHA else ""))
    if colour_type not in _COLOUR_TYPES:
        raise damaged(f"the PNG has the unknown colour type {colour_type}")
    if depth > 8:
        raise unsupported_mode(f"{depth}-bit RGB")
    return (int.from_bytes(header[8:12]), int.from_bytes(header[12:16])), colour_type


def _check_chunk(source: Source, kind: bytes, offset: int, length: int, colour_type: int) -> None:
    if kind == b"acTL" and length >= 8:
        frames = int.from_bytes(source.at(offset, 4))
        if frames > 1:
            raise animated(f"The file is an animated PNG of {frames} frames")
    if kind == b"PLTE" and colour_type == _PALETTE and 0 < length <= 768:
        refuse_grey_palette(source.at(offset, length))
