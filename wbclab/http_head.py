"""The web processes' side of HTTP: uvicorn's fast one, with the bound that its parser lacks."""

from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

# As much as uvicorn's other parser allows, and several times what browsers send.
MOST_BYTES: Final = 64 * 1024
_TEXT: Final = b"The request line and the headers are longer than 64 KB. Send shorter ones."
_REFUSAL: Final = b"".join(
    [
        STATUS_LINE[431],
        b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(_TEXT),
        _TEXT,
    ]
)


class BoundedHead(HttpToolsProtocol):
    """Ends a connection on which more than `MOST_BYTES` came that are no body.

    These are headers, trailers or extensions of a chunk without an end; the parser would keep them.
    """

    _without_body = 0
    _got_on = False

    def data_received(self, data: bytes) -> None:
        """Parse what has come; 431 (RFC 6585 section 5) where no request has begun by it."""
        self._got_on = False
        super().data_received(data)
        self._without_body = 0 if self._got_on else self._without_body + len(data)
        if self._without_body > MOST_BYTES and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_REFUSAL)
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._got_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._got_on = True
        super().on_message_complete()
