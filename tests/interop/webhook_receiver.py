"""A receiver of webhooks as a process of its own: writes down what came, then answers.

    python -m tests.interop.webhook_receiver PORT LOG [SECONDS]

Each request becomes a line of LOG, on disk before the answer goes out after SECONDS: a sender that
is killed in between has delivered without knowing it.
"""

import json
import os
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.interop.receivers import held_by


class Receiver(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def __init__(self, port: int, log: Path, seconds: float) -> None:
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.seconds = seconds
        self.held = held_by(log)
        super().__init__(("127.0.0.1", port), _Request)

    def wait(self) -> None:
        """Between writing a request down and answering it."""
        time.sleep(self.seconds)
        while self.held.exists():
            time.sleep(0.005)


class _Request(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message: dict[str, Any] = json.loads(body)
        line = {
            "id": self.headers["webhook-id"],
            "body_id": message["id"],
            "type": message["type"],
            "specimen": message["data"].get("accession_number"),
            "version": message["data"].get("version"),
        }
        os.write(self.server.log, json.dumps(line).encode() + b"\n")
        self.server.wait()
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the log is the file."""


class ReceiverThread:
    """A receiver in a thread of the test, which keeps what came. Use as a context manager.

    `statuses` are answered in turn, then 204; `answer_headers` go with each, and where `repeats` is
    set the body that came.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.statuses: list[int] = []
        self.answer_headers: dict[str, str] = {}
        self.repeats = False
        self.requests: list[tuple[dict[str, str], Any]] = []
        self.bodies: list[bytes] = []

    def __enter__(self) -> "ReceiverThread":
        keeper = self

        class Kept(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                keeper.bodies.append(body)
                headers = {name.lower(): value for name, value in self.headers.items()}
                keeper.requests.append((headers, json.loads(body)))
                self.send_response(keeper.statuses.pop(0) if keeper.statuses else 204)
                for name, value in keeper.answer_headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if keeper.repeats:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: that a client breaks off is what some tests want."""

        self._server = Quiet(("127.0.0.1", 0), Kept)
        self._server.daemon_threads = True
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/reports"


if __name__ == "__main__":
    port, log, *seconds = sys.argv[1:]
    Receiver(int(port), Path(log), float(seconds[0]) if seconds else 0.0).serve_forever()
