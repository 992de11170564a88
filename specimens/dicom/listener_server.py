"""The listening socket: bounded connections, TLS handshakes in threads of their own.

pynetdicom's server shakes hands in its accept loop, where one silent client would stop it for all.
"""

import logging
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from specimens.dicom.listener_bounds import BoundedSocket

logger = logging.getLogger(__name__)


class Welcome(NamedTuple):
    """Whom to tell: an association begins (peer, encrypted), ends, or a connection was refused."""

    begin: Callable[[Association, str, bool], None]
    end: Callable[[Association], None]
    turned_away: Callable[[str, bool, str], None]


class _Handler(RequestHandler):
    """Runs one association from its connection to its end."""

    server: "BoundedServer"

    def handle(self) -> None:
        """Start the association, and stay until it is over."""
        connection: socket.socket = self.request
        association = self._create_association()
        # The DUL's threads must not keep the process alive; its socket gets bounds.
        association.dul.daemon = True
        association.dul.event_queue.get_nowait()  # "connected" (Evt5), said again by the next line
        association.dul.socket = None
        bounded = BoundedSocket(association, client_socket=connection)
        bounded.pdu_seconds = self.server.pdu_seconds
        association.set_socket(bounded)
        encrypted = isinstance(connection, ssl.SSLSocket)
        self.server.welcome.begin(association, str(self.client_address[0]), encrypted)
        try:
            association.start()
            association.join()
        finally:
            self.server.welcome.end(association)


class BoundedServer(ThreadedAssociationServer):
    """At most `places` connections at a time; those above are closed at once."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        entity: AE,
        address: tuple[str, int],
        *,
        contexts: list[PresentationContext],
        tls: ssl.SSLContext | None,
        places: int,
        negotiation_seconds: float,
        pdu_seconds: float,
        welcome: Welcome,
        handlers: list[Any],
    ) -> None:
        self._tls = tls
        self._places = threading.BoundedSemaphore(places)
        self._negotiation_seconds = negotiation_seconds
        self.pdu_seconds = pdu_seconds
        self.welcome = welcome
        super().__init__(
            entity,
            address,
            entity.ae_title,
            contexts,
            evt_handlers=handlers,
            request_handler=_Handler,
        )
        entity._servers.append(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, where there is a place."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            self.welcome.turned_away(
                str(client_address[0]), self._tls is not None, "Too many connections at a time."
            )
            return
        threading.Thread(
            target=self._serve, args=(request, client_address), name="connection", daemon=True
        ).start()

    def stop_taking(self) -> None:
        """Close the port; associations that are open go on."""
        self.shutdown()

    def _serve(self, connection: socket.socket, address: Any) -> None:
        try:
            connection.settimeout(self._negotiation_seconds)
            secured = self._shake_hands(connection, address)
            if secured is not None:
                connection = secured
                connection.settimeout(self.pdu_seconds)
                self.finish_request(connection, address)
        except Exception:
            logger.exception("a connection from %s failed", address[0])
        finally:
            self.shutdown_request(connection)
            self._places.release()

    def _shake_hands(self, connection: socket.socket, address: Any) -> socket.socket | None:
        """Return the connection to use, or None after a handshake that failed."""
        if self._tls is None:
            return connection
        try:
            return self._tls.wrap_socket(connection, server_side=True)
        except OSError as error:  # ssl.SSLError is one
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            self.welcome.turned_away(str(address[0]), True, f"The TLS handshake failed: {reason}.")
            return None
