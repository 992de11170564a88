"""multipart/related as DICOMweb uses it (RFC 2387, RFC 2046; PS3.18 section 8.7.3).

Reading goes block by block: neither the body nor a part of it is ever whole in memory.
"""

import re
import secrets
from collections.abc import Iterable, Iterator
from email.message import Message
from typing import IO, Final, Protocol

BLOCK_BYTES: Final = 64 * 1024
LARGEST_HEADERS_BYTES: Final = 16 * 1024
LARGEST_PREAMBLE_BYTES: Final = 64 * 1024
# RFC 2046 section 5.1.1, which allows 70 characters: Orthanc joins two UUIDs to 73.
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,72}[0-9A-Za-z'()+_,\-./:=?]")


class MultipartError(Exception):
    """A body that is not what its Content-Type says, or ends too early; the text says where."""


class PartTooLarge(Exception):
    """A part above the limit; what follows it can still be read."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class MediaType:
    """A Content-Type or one entry of Accept: its type in small letters, and its parameters."""

    def __init__(self, text: str) -> None:
        message = Message()
        message["Content-Type"] = text.replace("\r", " ").replace("\n", " ")
        self.name = message.get_content_type() if "/" in text else ""
        self._message = message

    def parameter(self, name: str) -> str:
        """A parameter without its quotes; "" where it is absent."""
        value = self._message.get_param(name, failobj="")
        return value if isinstance(value, str) else ""


def boundary_of(content_type: str) -> bytes:
    """Return the boundary of a multipart/related body.

    Raises:
        MultipartError: it is absent, has a character that RFC 2046 forbids, or is too long.
    """
    boundary = MediaType(content_type).parameter("boundary")
    if not _BOUNDARY.fullmatch(boundary):
        raise MultipartError("The Content-Type names no valid boundary.")
    return boundary.encode("ascii")


class Part:
    """One part: its headers, names in small letters, and its content as it is read."""

    def __init__(self, reader: "MultipartReader", headers: dict[str, str]) -> None:
        self.headers = headers
        self._reader = reader

    @property
    def content_type(self) -> MediaType:
        """The part's own Content-Type."""
        return MediaType(self.headers.get("content-type", ""))

    def copy_to(self, out: IO[bytes], limit: int) -> int:
        """Write the content to `out`; return its length in bytes.

        Raises:
            PartTooLarge: more than `limit` bytes; the rest was read and thrown away.
            MultipartError: the body ends inside this part.
        """
        length = 0
        for block in self._reader.content():
            length += len(block)
            if length <= limit:
                out.write(block)
        if length > limit:
            raise PartTooLarge(length)
        return length


class MultipartReader:
    """Iterates over the parts of a body. A part's content is skipped where nobody read it."""

    def __init__(self, stream: _Readable, boundary: bytes) -> None:
        self._stream = stream
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter may stand at the very start: as if a line had ended before it.
        self._buffer = bytearray(b"\r\n")
        self._is_inside = False
        self._at_end = False

    def __iter__(self) -> Iterator[Part]:
        """Yield one part after the other.

        Raises:
            MultipartError: the body is malformed or ends too early.
        """
        self._skip_preamble()
        while self._begin_part():
            part = Part(self, self._headers())
            self._is_inside = True
            yield part
            for _ in self.content():
                pass

    def content(self) -> Iterator[bytes]:
        """Yield the rest of the present part in blocks."""
        while self._is_inside:
            found = self._buffer.find(self._delimiter)
            if found >= 0:
                block = bytes(self._buffer[:found])
                del self._buffer[: found + len(self._delimiter)]
                self._is_inside = False
            else:
                # What may be the start of a delimiter stays until more is known.
                ready = max(0, len(self._buffer) - len(self._delimiter) + 1)
                block = bytes(self._buffer[:ready])
                del self._buffer[:ready]
                if not self._fill():
                    raise MultipartError("The body ends in the middle of a part.")
            if block:
                yield block

    def _skip_preamble(self) -> None:
        skipped = 0
        while (found := self._buffer.find(self._delimiter)) < 0:
            ready = max(0, len(self._buffer) - len(self._delimiter) + 1)
            del self._buffer[:ready]
            skipped += ready
            if skipped > LARGEST_PREAMBLE_BYTES or not self._fill():
                raise MultipartError("The boundary of the Content-Type is not in the body.")
        del self._buffer[: found + len(self._delimiter)]

    def _begin_part(self) -> bool:
        """Stand behind a delimiter: whether another part follows it."""
        while len(self._buffer) < 2 and self._fill():
            pass
        if self._buffer.startswith(b"--"):
            return False
        line = self._until(b"\r\n", 128, "A boundary is not followed by the end of its line.")
        if line.strip(b" \t"):
            raise MultipartError("A boundary is not followed by the end of its line.")
        return True

    def _headers(self) -> dict[str, str]:
        if self._starts_with(b"\r\n"):  # no header at all
            del self._buffer[:2]
            return {}
        head = self._until(
            b"\r\n\r\n", LARGEST_HEADERS_BYTES, "The headers of a part are too long or do not end."
        )
        headers = {}
        for line in head.decode("latin-1").split("\r\n"):
            name, separator, value = line.partition(":")
            if not separator or not name.strip():
                raise MultipartError("A header of a part is malformed.")
            headers[name.strip().lower()] = value.strip()
        return headers

    def _starts_with(self, prefix: bytes) -> bool:
        while len(self._buffer) < len(prefix) and self._fill():
            pass
        return self._buffer.startswith(prefix)

    def _until(self, end: bytes, limit: int, complaint: str) -> bytes:
        while (found := self._buffer.find(end, 0, limit)) < 0:
            if len(self._buffer) >= limit or not self._fill():
                raise MultipartError(complaint)
        head = bytes(self._buffer[:found])
        del self._buffer[: found + len(end)]
        return head

    def _fill(self) -> bool:
        if self._at_end:
            return False
        block = self._stream.read(BLOCK_BYTES)
        self._at_end = not block
        self._buffer += block
        return bool(block)


def new_boundary() -> str:
    """Draw a boundary that no content holds by chance: 128 random bits."""
    return secrets.token_hex(16)


def written(parts: Iterable[tuple[str, Iterable[bytes]]], boundary: str) -> Iterator[bytes]:
    """Yield a multipart/related body of (Content-Type, blocks of content)."""
    for content_type, blocks in parts:
        yield f"--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode("ascii")
        yield from blocks
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode("ascii")
