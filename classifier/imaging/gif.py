"""The structure of a GIF file (CompuServe GIF89a), read without decompressing."""

from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import (
    Source,
    animated,
    damaged,
    refuse_grey_palette,
    unsupported_mode,
)

MAGICS = (b"GIF87a", b"GIF89a")

_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
# 10 MB of full data blocks (255 bytes) are 41,000; a file of empty ones must still answer fast.
_MAX_BLOCKS = 100_000


class _Blocks:
    """Walks the data blocks of a GIF and counts them against one common limit."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.left = _MAX_BLOCKS

    def skip(self, offset: int) -> int:
        """The offset behind the sub-blocks that start at `offset` (GIF89a section 15)."""
        while True:
            length = self.source.at(offset, 1)[0]
            offset += 1 + length
            if length == 0:
                return offset
            self.left -= 1
            if self.left < 0:
                raise damaged("the GIF consists of too many tiny blocks")


def read_size(source: Source) -> tuple[int, int]:
    """Width and height of the one image and the screen it is placed on.

    Raises:
        ImageRefused: greyscale, animated, truncated or damaged.
    """
    screen = source.at(6, 7)
    size = int.from_bytes(screen[:2], "little"), int.from_bytes(screen[2:4], "little")
    palette, offset = _read_palette(source, screen[4], 13)
    blocks = _Blocks(source)
    frames = 0
    while offset < source.size:
        kind = source.at(offset, 1)[0]
        if kind == _TRAILER:
            break
        if kind == _EXTENSION:
            offset = blocks.skip(offset + 2)
        elif kind == _IMAGE:
            frames += 1
            image = source.at(offset + 1, 9)
            local, offset = _read_palette(source, image[8], offset + 10)
            if frames == 1:
                _refuse_grey(local or palette)
                size = _extent(size, image)
            offset = blocks.skip(offset + 1)
        else:
            raise damaged("the GIF holds a block of an unknown kind")
        blocks.left -= 1
        if blocks.left < 0:
            raise damaged("the GIF consists of too many tiny blocks")
    return _single(frames, size)


def _read_palette(source: Source, packed: int, offset: int) -> tuple[bytes, int]:
    """The colour table announced by a packed field, and the offset behind it."""
    if not packed & 0x80:
        return b"", offset
    length = 3 * 2 ** ((packed & 0x07) + 1)
    return source.at(offset, length), offset + length


def _refuse_grey(palette: bytes) -> None:
    if not palette:
        raise unsupported_mode("greyscale (a GIF without a colour table)")
    refuse_grey_palette(palette)


def _extent(screen: tuple[int, int], image: bytes) -> tuple[int, int]:
    """An image may reach beyond the screen; decoders then enlarge the screen."""
    left, top, width, height = (int.from_bytes(image[i : i + 2], "little") for i in (0, 2, 4, 6))
    return max(screen[0], left + width), max(screen[1], top + height)


def _single(frames: int, size: tuple[int, int]) -> tuple[int, int]:
    if frames > 1:
        raise animated(f"The file is an animated GIF of {frames} frames")
    if frames == 0:
        raise ImageRefused("truncated", "The GIF is cut off before its first image.")
    return size
