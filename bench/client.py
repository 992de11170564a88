"""A client that sends images as scripts do, a connection for each call, and times the answers."""

import json
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from bench.services import Service

Image = tuple[str, bytes]


class Client:
    """Sends images to one service.

    Attributes:
        late: how many calls were answered with 202, and had to be asked about again.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.late = 0

    def predict(self, image: Image) -> float:
        """Seconds for one image through /api/predict."""
        return self._send("/api/predict", "file", [image])

    def predict_batch(self, images: Sequence[Image]) -> float:
        """Seconds for several images through /api/predict_batch."""
        return self._send("/api/predict_batch", "images", images)

    def add_cells(self, specimen: int, images: Sequence[Image]) -> None:
        """Hand images over for a specimen; they are classified later."""
        boundary = uuid.uuid4().hex
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        path = f"/api/v1/specimens/{specimen}/cells"
        self._call("POST", path, _multipart(boundary, "images", images), headers)

    def _send(self, path: str, field: str, images: Sequence[Image]) -> float:
        boundary = uuid.uuid4().hex
        body = _multipart(boundary, field, images)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        started = time.perf_counter()
        status, answer = self._call("POST", path, body, headers)
        if status == 202:
            # The server has given up waiting: ask on, as a client has to, and count that time.
            self.late += 1
            for result in answer.get("batch_results", [answer]):
                self._await(urlsplit(result["status_url"]).path)
        return time.perf_counter() - started

    def _await(self, path: str) -> None:
        while self._call("GET", path, b"", {})[0] == 202:
            time.sleep(0.02)

    def _call(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        if self.service.token:
            headers["Authorization"] = f"Token {self.service.token}"
        with closing(HTTPConnection("127.0.0.1", self.service.port, timeout=120)) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
        if response.status not in (200, 201, 202):
            raise RuntimeError(f"{self.service.name} answered {response.status}: {data[:500]!r}")
        answer: dict[str, Any] = json.loads(data)
        if response.status == 200 and not _is_complete(answer):
            raise RuntimeError(f"{self.service.name} did not classify everything: {data[:500]!r}")
        return response.status, answer


def _multipart(boundary: str, field: str, images: Sequence[Image]) -> bytes:
    parts = [
        b"--%b\r\nContent-Disposition: form-data; name=%b; filename=%b\r\n"
        b"Content-Type: image/jpeg\r\n\r\n%b\r\n"
        % (boundary.encode(), json.dumps(field).encode(), json.dumps(name).encode(), data)
        for name, data in images
    ]
    return b"".join([*parts, b"--%b--\r\n" % boundary.encode()])


def _is_complete(answer: dict[str, Any]) -> bool:
    """A figure counts only if every image was classified."""
    return all(result["success"] for result in answer.get("batch_results", [answer]))
