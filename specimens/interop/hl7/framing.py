"""MLLP frames: <VT> message <FS> <CR> (HL7 Transport Specification: MLLP, release 1)."""

from typing import Final

START: Final = b"\x0b"
END: Final = b"\x1c"
CARRIAGE_RETURN: Final = b"\r"


class FramingError(Exception):
    """The stream is no MLLP: nothing that follows can be trusted to be a message."""


class FrameTooLarge(FramingError):
    """A message is larger than the limit. `head` is its beginning, to answer by."""

    def __init__(self, limit: int, head: bytes) -> None:
        super().__init__(f"The message is larger than {limit:,} bytes.")
        self.head = head


def frame(message: bytes) -> bytes:
    """Return the message in its frame."""
    return START + message + END + CARRIAGE_RETURN


class FrameReader:
    """Cuts messages out of a stream that comes in pieces of any size.

    At most one message and one piece are kept; `limit` is in bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._searched = 0

    @property
    def is_within(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take a piece in, return the messages it completes; raises FramingError."""
        self._buffer += data
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> bytes | None:
        buffer = self._buffer
        # The CR behind the last frame; a sender that leaves it out is understood all the same.
        blank = len(buffer) - len(buffer.lstrip(b"\r\n"))
        del buffer[:blank]
        if not buffer:
            self._searched = 0
            return None
        if buffer[:1] != START:
            raise FramingError(f"a frame begins with 0x0B, this one with 0x{buffer[0]:02X}")
        end = buffer.find(END, max(1, self._searched))
        self._searched = len(buffer) if end < 0 else 0
        length = (len(buffer) if end < 0 else end) - 1
        if length > self.limit:
            raise FrameTooLarge(self.limit, bytes(buffer[1:4097]))
        if end < 0:
            return None
        message = bytes(buffer[1:end])
        del buffer[: end + 1]
        if START in message:
            raise FramingError("a frame began before the one before it had ended")
        return message
