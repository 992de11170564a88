"""A hospital system that receives results: a real MLLP server that keeps what it gets."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from specimens.interop.hl7.acknowledgements import acknowledge
from specimens.interop.hl7.framing import FrameTooLarge
from specimens.interop.hl7.message import parse_message
from specimens.interop.hl7.server import MllpServer

Behaviour = Callable[[bytes], bytes]


@dataclass
class Receiver:
    """What came in, and how it is answered: `behaviour` may be replaced at any time."""

    port: int = 0
    messages: list[bytes] = field(default_factory=list)
    behaviour: Behaviour = field(default=lambda raw: answer(raw))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def take(self, raw: bytes, peer: str) -> bytes:
        self.messages.append(raw)
        return self.behaviour(raw)


def answer(raw: bytes, msa: str = "AA", control_id: str = "", **why: str) -> bytes:
    """An acknowledgement of `raw`; with another `control_id` it acknowledges something else."""
    header = parse_message(raw).header
    ack = acknowledge(
        header, answer=msa, now=datetime(2026, 11, 23, tzinfo=UTC), message_id="R1", **why
    )
    return ack.replace(header.control_id.encode(), control_id.encode()) if control_id else ack


def _too_large(error: FrameTooLarge) -> bytes:
    raise error


@contextmanager
def running_receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Serve at a free port until the end of the block."""
    receiver = Receiver()
    server = MllpServer("127.0.0.1", 0, receiver.take, too_large=_too_large, tls=tls)
    receiver.port = server.port
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield receiver
    finally:
        server.stop()
        thread.join(10)
