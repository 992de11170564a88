"""The structure of a JPEG file (ITU-T T.81, annex B), read without decoding."""

from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source, damaged, unsupported_mode

MAGIC = b"\xff\xd8\xff"

# Start-of-frame markers: C4, C8 and CC share the range but mean tables and extensions.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline, extended and progressive, with Huffman or arithmetic coding.
_LOSSY_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_STANDALONE = {0x01, *range(0xD0, 0xD8)}
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = b"\xff\xd9"
# A camera writes a few dozen segments; a file of nothing but empty ones must still answer fast.
_MAX_SEGMENTS = 2_000

_COLOURS = {1: "greyscale", 2: "two-channel", 4: "CMYK"}


def read_size(source: Source) -> tuple[int, int]:
    """Width and height from the frame header.

    Raises:
        ImageRefused: not 8-bit colour, truncated or damaged.
    """
    size = None
    offset = 2
    for _ in range(_MAX_SEGMENTS):
        marker, offset = _next_marker(source, offset)
        if marker in _STANDALONE:
            continue
        if marker == 0xD9:
            raise damaged("the JPEG ends before its first scan")
        length = int.from_bytes(source.at(offset, 2))
        if length < 2:
            raise damaged("a JPEG segment has no length")
        if marker in _FRAMES:
            size = _read_frame(source, marker, offset)
        if marker == _START_OF_SCAN:
            return _complete(source, size, offset + length)
        offset += length
    raise damaged("the JPEG has thousands of segments and no image")


def _next_marker(source: Source, offset: int) -> tuple[int, int]:
    """The marker at `offset` and the offset behind it; markers may be preceded by FF fill."""
    for _ in range(_MAX_SEGMENTS):
        prefix, marker = source.at(offset, 2)
        if prefix != 0xFF:
            raise damaged("a JPEG marker is missing")
        if marker != 0xFF:
            return marker, offset + 2
        offset += 1
    raise damaged("a JPEG marker is missing")


def _read_frame(source: Source, marker: int, offset: int) -> tuple[int, int]:
    """Frame header, T.81 B.2.2: length, precision, height, width, number of components."""
    frame = source.at(offset, 8)
    precision, channels = frame[2], frame[7]
    if marker not in _LOSSY_FRAMES:
        raise unsupported_mode("a lossless or hierarchical JPEG")
    if precision != 8:
        raise unsupported_mode(f"{precision}-bit")
    if channels != 3:
        raise unsupported_mode(_COLOURS.get(channels, f"of {channels} channels"))
    return int.from_bytes(frame[5:7]), int.from_bytes(frame[3:5])


def _complete(source: Source, size: tuple[int, int] | None, scan: int) -> tuple[int, int]:
    if size is None:
        raise damaged("the JPEG has a scan but no frame header")
    # Within a scan FF is always followed by 00 or a restart marker, so FFD9 is the real end.
    if source.rfind(_END_OF_IMAGE, scan) < 0:
        raise ImageRefused("truncated", "The JPEG is cut off: its end marker is missing.")
    return size
