"""A receiver of webhooks as a process of its own: writes down what came, then answers.

    python -m tests.interop.webhook_receiver PORT LOG [SECONDS]

Each request becomes a line of LOG, on disk before the answer goes out after SECONDS: a sender that
is killed in between has delivered without knowing it.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Receiver(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def __init__(self, port: int, log: Path, seconds: float) -> None:
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.seconds = seconds
        super().__init__(("127.0.0.1", port), _Request)


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
        time.sleep(self.server.seconds)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the log is the file."""


if __name__ == "__main__":
    port, log, *seconds = sys.argv[1:]
    Receiver(int(port), Path(log), float(seconds[0]) if seconds else 0.0).serve_forever()
