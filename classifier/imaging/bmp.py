"""The structure of a Windows or OS/2 bitmap file, read without decoding."""

import struct

from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source, damaged, refuse_grey_palette, unsupported_mode

MAGIC = b"BM"

_CORE_HEADER = 12
_HEADERS = {_CORE_HEADER, 40, 52, 56, 64, 108, 124}
_UNCOMPRESSED = {0, 3, 6}
_RUN_LENGTH = {1, 2}
_DEPTHS = {1, 4, 8, 16, 24, 32}


def read_size(source: Source) -> tuple[int, int]:
    """Width and height from the information header.

    Raises:
        ImageRefused: greyscale, truncated or damaged.
    """
    pixels, header = struct.unpack("<10xII", source.at(0, 18))
    if header not in _HEADERS:
        raise damaged("the BMP has an information header of unknown length")
    if header == _CORE_HEADER:
        width, height, depth = struct.unpack("<HH2xH", source.at(18, 8))
        compression, colours = 0, 0
    else:
        width, height, depth, compression, colours = struct.unpack("<ii2xHI12xI", source.at(18, 32))
        # A negative height means that the rows are stored from the top.
        height = abs(height)
    if depth not in _DEPTHS:
        raise damaged(f"the BMP has {depth} bits per pixel")
    if depth <= 8:
        _check_palette(source, header, depth, colours)
    _check_length(source, pixels, width, height, depth, compression)
    return width, height


def _check_palette(source: Source, header: int, depth: int, colours: int) -> None:
    stride = 3 if header == _CORE_HEADER else 4
    count = min(colours or 2**depth, 2**depth)
    palette = source.at(14 + header, count * stride)
    if depth == 1:
        raise unsupported_mode("black and white")
    refuse_grey_palette(palette, stride)


def _check_length(
    source: Source, pixels: int, width: int, height: int, depth: int, compression: int
) -> None:
    if compression in _RUN_LENGTH:
        return
    if compression not in _UNCOMPRESSED:
        raise unsupported_mode("a BMP with an embedded JPEG or PNG")
    row = (width * depth + 31) // 32 * 4
    if width > 0 and pixels + row * height > source.size:
        raise ImageRefused(
            "truncated", f"The BMP is cut off: {width}x{height} pixels need more bytes than it has."
        )
