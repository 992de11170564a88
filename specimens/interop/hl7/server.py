"""An MLLP server on threads: one for each connection, each within bounds of size, number and time.

What it does with a message is the caller's: `answer` gets the bytes and the peer's address and
returns the acknowledgement, which is sent when the caller's work is committed.
"""

import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from specimens.interop.hl7.framing import FrameReader, FrameTooLarge, FramingError, frame

logger = logging.getLogger(__name__)

Answer = Callable[[bytes, str], bytes]
TooLarge = Callable[[FrameTooLarge], bytes]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_POLL_SECONDS: Final = 0.5
_DRAIN_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one sender may cost.

    Attributes:
        message_bytes: of one message.
        connections: at a time; one more takes the place of the one that is idle longest.
        idle_seconds: without a message, after which a connection is closed.
        message_seconds: from the first byte of a message to its last.
    """

    message_bytes: int = 1_000_000
    connections: int = 64
    idle_seconds: float = 600.0
    message_seconds: float = 30.0


@dataclass(eq=False, slots=True)
class _Connection:
    socket: socket.socket
    peer: str
    since: float = field(default_factory=time.monotonic)
    busy: bool = False


class MllpServer:
    """Serves until `stop`. `too_large` answers what exceeds the bounds, by its beginning."""

    def __init__(
        self,
        host: str,
        port: int,
        answer: Answer,
        *,
        too_large: TooLarge,
        bounds: Bounds | None = None,
        tls: ssl.SSLContext | None = None,
        peers: Collection[Network] = (),
    ) -> None:
        self._answer = answer
        self._too_large = too_large
        self.bounds = bounds or Bounds()
        self._tls = tls
        self._peers = tuple(peers)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[_Connection, threading.Thread] = {}
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, port), family=family, backlog=128)
        self._listening.settimeout(_POLL_SECONDS)

    @property
    def port(self) -> int:
        port: int = self._listening.getsockname()[1]
        return port

    def serve(self) -> None:
        """Accept connections until stopped; then let each finish the message it has in hand."""
        try:
            while not self._stopping.is_set():
                try:
                    accepted, address = self._listening.accept()
                except TimeoutError:
                    continue
                except OSError as error:  # too many open files, for example
                    logger.warning("a connection could not be accepted: %s", error)
                    self._stopping.wait(_POLL_SECONDS)
                    continue
                # An answer is small and waited for: it must not wait itself for an acknowledgement
                # of the one before.
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._admit(accepted, str(address[0]))
        finally:
            self._listening.close()
            self._finish()

    def stop(self) -> None:
        """Ask `serve` to end. Safe in a signal's service and from other threads."""
        self._stopping.set()

    def _admit(self, accepted: socket.socket, peer: str) -> None:
        if self._peers and not _is_one_of(peer, self._peers):
            # A health check of the same host knocks and says nothing: not worth a line.
            local = ipaddress.ip_address(peer.partition("%")[0]).is_loopback
            level = logging.DEBUG if local else logging.WARNING
            logger.log(level, "%s is not among the peers: closed", peer)
            accepted.close()
            return
        connection = _Connection(accepted, peer)
        thread = threading.Thread(
            target=self._serve_one, args=(connection,), name=f"mllp {peer}", daemon=True
        )
        with self._lock:
            if len(self._open) >= self.bounds.connections and not self._evict_idle():
                logger.warning("all %d connections are busy: %s closed", len(self._open), peer)
                accepted.close()
                return
            self._open[connection] = thread
        thread.start()

    def _evict_idle(self) -> bool:
        """Close the connection that is idle longest; the lock is held."""
        idle = [c for c in self._open if not c.busy]
        if not idle:
            return False
        oldest = min(idle, key=lambda c: c.since)
        logger.info("%s was idle longest: closed for another", oldest.peer)
        self._open.pop(oldest)
        with suppress(OSError):
            oldest.socket.shutdown(socket.SHUT_RDWR)
        return True

    def _finish(self) -> None:
        deadline = time.monotonic() + self.bounds.message_seconds
        with self._lock:
            threads = list(self._open.values())
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _serve_one(self, connection: _Connection) -> None:
        try:
            if self._tls is not None:
                connection.socket.settimeout(self.bounds.message_seconds)
                connection.socket = self._tls.wrap_socket(connection.socket, server_side=True)
            self._converse(connection)
        except FramingError as error:
            logger.warning("%s sends no MLLP: %s; closed", connection.peer, error)
        except TimeoutError as error:
            logger.info("%s: %s; closed", connection.peer, error or "too slow")
        except OSError as error:
            logger.info("%s: the connection broke off: %s", connection.peer, error)
        except Exception:
            logger.exception("%s: a message could not be answered; closed", connection.peer)
        finally:
            with suppress(OSError):
                connection.socket.close()
            with self._lock:
                self._open.pop(connection, None)

    def _converse(self, connection: _Connection) -> None:
        """Read messages and answer each, in their order, until one side has enough."""
        reader = FrameReader(self.bounds.message_bytes)
        while (data := self._receive(connection, reader)) is not None:
            try:
                messages = reader.feed(data)
            except FrameTooLarge as error:
                logger.warning("%s: %s", connection.peer, error)
                _send_and_drain(connection.socket, frame(self._too_large(error)))
                return
            for message in messages:
                connection.socket.settimeout(self.bounds.message_seconds)
                connection.socket.sendall(frame(self._answer(message, connection.peer)))
            if messages or not reader.is_within:
                connection.since = time.monotonic()
            connection.busy = reader.is_within

    def _receive(self, connection: _Connection, reader: FrameReader) -> bytes | None:
        """Wait for the next piece, in short steps; None where the connection is to end."""
        while True:
            limit = self.bounds.message_seconds if reader.is_within else self.bounds.idle_seconds
            left = connection.since + limit - time.monotonic()
            if left <= 0:
                raise TimeoutError(
                    "the end of a message did not come in time" if reader.is_within else "idle"
                )
            if self._stopping.is_set() and not reader.is_within:
                return None
            connection.socket.settimeout(min(left, _POLL_SECONDS))
            try:
                data = connection.socket.recv(65536)
            except TimeoutError:
                continue
            if not reader.is_within:  # the clock of a message starts with its first byte
                connection.since = time.monotonic()
            connection.busy = True
            return data or None


def _send_and_drain(connection: socket.socket, answer: bytes) -> None:
    """Send a last answer, and read on for a moment: closing at once would tear it away."""
    connection.settimeout(_DRAIN_SECONDS)
    connection.sendall(answer)
    if not isinstance(connection, ssl.SSLSocket):
        connection.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + _DRAIN_SECONDS
    with suppress(OSError):
        while time.monotonic() < deadline and connection.recv(65536):
            pass


def _is_one_of(peer: str, networks: Collection[Network]) -> bool:
    address = ipaddress.ip_address(peer.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)
