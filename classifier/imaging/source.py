"""Bounded, positioned reading of a file that may lie about itself."""

import io
from typing import BinaryIO

from classifier.imaging.refusal import ImageRefused


class Source:
    """Random access to an upload; every read is of the size asked for, or the file is truncated.

    A header can claim any length. Reads are limited by what the parser asks for in code and by
    the real end of the file, so a claim is never turned into an allocation.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = stream.seek(0, io.SEEK_END)

    def at(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`.

        Raises:
            ImageRefused: "truncated" where the file ends before that.
        """
        if offset < 0 or offset + count > self.size:
            raise ImageRefused("truncated", "The file ends too early: it is cut off.")
        self._stream.seek(offset)
        data = self._stream.read(count)
        if len(data) != count:
            raise ImageRefused("truncated", "The file ends too early: it is cut off.")
        return data

    def start(self, count: int) -> bytes:
        """The first `count` bytes, fewer if the file is shorter."""
        return self.at(0, min(count, self.size))

    def rfind(self, needle: bytes, start: int) -> int:
        """Offset of the last occurrence of `needle` behind `start`, or -1; read from the end."""
        window = 64 * 1024
        end = self.size
        while end - start >= len(needle):
            begin = max(start, end - window)
            found = self.at(begin, end - begin).rfind(needle)
            if found >= 0:
                return begin + found
            # Windows overlap, so that a needle across their border is seen.
            if begin == start:
                break
            end = begin + len(needle) - 1
        return -1


def damaged(what: str) -> ImageRefused:
    """The refusal for a structure that contradicts its format."""
    return ImageRefused("damaged", f"The file is damaged: {what}.")


def unsupported_mode(what: str) -> ImageRefused:
    """The refusal for pixels of another kind than 8-bit colour."""
    return ImageRefused("unsupported_mode", f"The image is {what}, not 8-bit colour.")


def animated(what: str) -> ImageRefused:
    """The refusal for a file that holds several images."""
    return ImageRefused("animated", f"{what}; it is not clear which one shows the cell.")


def refuse_grey_palette(palette: bytes, stride: int = 3) -> None:
    """Refuse a palette without a colour in it: the image is greyscale, however it is stored.

    Args:
        palette: entries of `stride` bytes, the first three the channels in any order.
        stride: bytes per entry.
    """
    first, second, third = (palette[channel::stride] for channel in range(3))
    if first == second == third:
        raise unsupported_mode("greyscale")
