"""A receiver of HL7 results as a process of its own: writes down what came, then acknowledges.

    python -m tests.interop.mllp_receiver PORT LOG [SECONDS]

Made of plain sockets and splits, so that it shares nothing with what it receives from. The lines of
LOG have the form of those of the webhook receiver.
"""

import json
import os
import socketserver
import sys
import time
from pathlib import Path

from tests.interop.receivers import held_by

VERSIONS = {"P": 0, "F": 1, "C": 2}
EVENTS = {"P": "report.preliminary", "F": "report.final", "C": "report.corrected"}


class Receiver(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100

    def __init__(self, port: int, log: Path, seconds: float) -> None:
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.seconds = seconds
        self.held = held_by(log)
        super().__init__(("127.0.0.1", port), _Connection)

    def wait(self) -> None:
        """Between writing a message down and acknowledging it."""
        time.sleep(self.seconds)
        while self.held.exists():
            time.sleep(0.005)


class _Connection(socketserver.StreamRequestHandler):
    server: Receiver

    def handle(self) -> None:
        received = b""
        while not received.endswith(b"\x1c\r"):
            more = self.request.recv(65536)
            if not more:
                return
            received += more
        segments = [line.split("|") for line in received.strip(b"\x0b\x1c\r").decode().split("\r")]
        header = segments[0]
        request = next(line for line in segments if line[0] == "OBR")
        line = {
            "id": header[9],
            "body_id": header[9],
            "type": EVENTS[request[25]],
            "specimen": request[3].split("^")[0],
            "version": VERSIONS[request[25]],
        }
        os.write(self.server.log, json.dumps(line).encode() + b"\n")
        self.server.wait()
        now = time.strftime("%Y%m%d%H%M%S")
        answer = f"MSH|^~\\&|LIS||WBCLAB||{now}||ACK^R01^ACK|A{header[9]}|P|2.5.1\r"
        answer += f"MSA|AA|{header[9]}\r"
        self.request.sendall(b"\x0b" + answer.encode() + b"\x1c\r")


if __name__ == "__main__":
    port, log, *seconds = sys.argv[1:]
    Receiver(int(port), Path(log), float(seconds[0]) if seconds else 0.0).serve_forever()
