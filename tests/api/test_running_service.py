"""The service as a person starts it, over a real socket: hostile files, chunks, load, failures."""

import http.client
import itertools
import json
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.client import check_body, operation
from tests.api.pictures import HOSTILE, damaged_png, image, too_large
from tests.factories import picture
from tests.processes import wait_until
from tests.service import Service, health

pytestmark = pytest.mark.slow

MEBIBYTE = 1024 * 1024
# What the processes may grow by over all that is sent here; no request may cost its size in memory.
GROWTH = {"web": 100 * MEBIBYTE, "worker": 150 * MEBIBYTE, "decoder": 400 * MEBIBYTE}


class Answer:
    """Status, headers and JSON of an answer, held to the schema."""

    def __init__(self, method: str, path: str, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body: dict[str, Any] = json.loads(response.read())
        described = operation(method, path)
        if described and self.body.get("code") != "too_large":  # perhaps said before any view
            check_body(described["responses"], self.status, self.body)


def call(service: Service, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """Call over a connection of its own, with the demo's token."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
    try:
        known = {"Authorization": f"Token {service.token}"}
        known |= {name.replace("_", "-"): value for name, value in headers.items()}
        chunked = known.get("Transfer-Encoding") == "chunked"
        connection.request(method, path, body=body, headers=known, encode_chunked=chunked)
        return Answer(method, path, connection.getresponse())
    finally:
        connection.close()


def form(field: str, *files: tuple[str, bytes]) -> tuple[bytes, str]:
    """Return a multipart body and its content type."""
    boundary = uuid.uuid4().hex
    parts = []
    for name, content in files:
        head = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
        parts.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def predict(service: Service, content: bytes, name: str = "cell.png") -> Answer:
    body, content_type = form("file", (name, content))
    return call(service, "POST", "/api/predict", body, Content_Type=content_type)


def test_predict_and_ask_again(service: Service) -> None:
    answer = predict(service, image(format="JPEG"), "cell.jpg")
    assert answer.status == 200
    again = call(service, "GET", f"/api/predictions/{answer.body['id']}")
    assert again.status == 200
    assert again.body["results"] == answer.body["results"]


def test_the_whole_hostile_set_and_its_memory(service: Service) -> None:
    predict(service, image())
    before = service.peak_memory()
    processes = service.processes()
    for hostile in (*HOSTILE, *HOSTILE):
        answer = predict(service, hostile.content, hostile.name)
        assert (answer.status, answer.body["code"]) == (hostile.status, hostile.code)
    files = [(f"{i}.png", content) for i, content in enumerate([damaged_png()] * 9 + [picture()])]
    body, content_type = form("images", *files)
    batch = call(service, "POST", "/api/predict_batch", body, Content_Type=content_type)
    assert batch.status == 200
    assert batch.body["successful_predictions"] == 1
    assert predict(service, image()).status == 200
    after = service.peak_memory()
    assert service.processes() == processes, "a process was restarted"
    print(f"peak memory, before: {before}, after: {after}")  # noqa: T201 - told for the record
    for name, limit in GROWTH.items():
        grown = after[name] - before[name]
        assert grown < limit, f"{name} grew by {grown / MEBIBYTE:.0f} MB"


def test_the_largest_picture_that_is_allowed(service: Service) -> None:
    before = service.peak_memory()
    answer = predict(service, image(size=(4096, 4096), format="JPEG"))
    assert answer.status == 200
    after = service.peak_memory()
    assert after["web"] - before["web"] < GROWTH["web"]


class TestChunks:
    """Bodies without a Content-Length."""

    def test_predict(self, service: Service) -> None:
        body, content_type = form("file", ("cell.png", image()))
        parts = [body[i : i + 700] for i in range(0, len(body), 700)]
        answer = self._send(service, iter(parts), content_type)
        assert answer.status == 200

    def test_a_file_that_is_too_large(self, service: Service) -> None:
        body, content_type = form("file", ("large.jpg", too_large()))
        parts = (body[i : i + MEBIBYTE] for i in range(0, len(body), MEBIBYTE))
        answer = self._send(service, parts, content_type)
        assert (answer.status, answer.body["code"]) == (413, "too_large")

    def test_a_body_that_is_too_large_for_any_call(self, service: Service) -> None:
        before = service.peak_memory()
        parts = itertools.repeat(bytes(MEBIBYTE), 150)
        answer = self._send(service, parts, "multipart/form-data; boundary=x")
        assert (answer.status, answer.body["code"]) == (413, "too_large")
        assert service.peak_memory()["web"] - before["web"] < GROWTH["web"]

    def test_nothing(self, service: Service) -> None:
        answer = self._send(service, iter([]), "multipart/form-data; boundary=x")
        assert (answer.status, answer.body["code"]) == (400, "no_file")

    def _send(self, service: Service, parts: Any, content_type: str) -> Answer:
        return call(
            service,
            "POST",
            "/api/predict",
            parts,
            Content_Type=content_type,
            Transfer_Encoding="chunked",
        )


def test_a_declared_body_that_is_too_large(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.putrequest("POST", "/api/predict")
    connection.putheader("Authorization", f"Token {service.token}")
    connection.putheader("Content-Length", str(10**12))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    answer = Answer("POST", "/api/predict", connection.getresponse())
    connection.close()
    assert (answer.status, answer.body["code"]) == (413, "too_large")


def until_closed(service: Service, start: bytes, more: bytes, most: int) -> tuple[bytes, int]:
    """Send `start`, then `more` until the server hangs up; return its answer and what it took."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        sent = 0
        try:
            connection.sendall(start)
            while sent < most:
                connection.sendall(more)
                sent += len(more)
            pytest.fail(f"the server took {sent} bytes that are no body")
        except OSError:
            pass
        try:
            return connection.recv(1000), sent
        except OSError:  # a reset overtook the answer
            return b"", sent


def test_headers_without_an_end(service: Service) -> None:
    before = service.peak_memory()
    head = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n"
    lines = b"".join(b"X-%d: %b\r\n" % (k, b"a" * 1000) for k in range(10))
    letters = b"a" * 10_000
    for start, more in ((head, lines), (head + b"X-Long: ", letters), (b"GET /", letters)):
        answer, _ = until_closed(service, start, more, 20 * MEBIBYTE)
        assert answer.startswith(b"HTTP/1.1 431 ") or not answer
    chunk = b"%sAuthorization: Token %b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
    post = chunk % (b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\n", service.token.encode())
    until_closed(service, post + b"X-Trailer: ", letters, 20 * MEBIBYTE)
    grown = service.peak_memory()["web"] - before["web"]
    assert grown < 10 * MEBIBYTE


def test_headers_as_long_as_a_browser_may_send(service: Service) -> None:
    for header in ("Cookie", "X-Long"):
        assert call(service, "GET", "/api/health", **{header: "a" * 60_000}).status == 200


def test_callers_that_hang_up(service: Service) -> None:
    body, content_type = form("file", ("cell.png", image()))
    for cut in (0, 10, len(body) // 2):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        connection.putrequest("POST", "/api/predict")
        connection.putheader("Authorization", f"Token {service.token}")
        connection.putheader("Content-Type", content_type)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        connection.send(body[:cut])
        connection.close()
    assert predict(service, image()).status == 200


def test_many_callers_at_once(service: Service) -> None:
    contents = [picture(colour) for colour in range(1, 49)]
    with ThreadPoolExecutor(12) as callers:
        answers = list(callers.map(lambda content: predict(service, content), contents))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body["id"] for answer in answers}) == len(contents)


def test_keep_alive_over_errors(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    body, content_type = form("file", ("cell.png", b"no picture"))
    headers = {"Authorization": f"Token {service.token}", "Content-Type": content_type}
    for _ in range(3):
        connection.request("POST", "/api/predict", body=body, headers=headers)
        assert Answer("POST", "/api/predict", connection.getresponse()).status == 415
    connection.close()


def test_health_is_quick(service: Service) -> None:
    durations = []
    for _ in range(20):
        start = time.perf_counter()
        assert call(service, "GET", "/api/health").status == 200
        durations.append(time.perf_counter() - start)
    print(f"health: median {1000 * sorted(durations)[10]:.1f} ms")  # noqa: T201 - told, not judged


def test_without_its_database_and_with_it_again(service: Service) -> None:
    database = service.home / "wbclab.sqlite3"
    aside = service.home / "aside.sqlite3"
    database.rename(aside)
    database.mkdir()
    try:
        answer = call(service, "GET", "/api/health")
        assert answer.status == 503
        assert answer.body["parts"]["database"]["status"] == "unavailable"
        refused = predict(service, image())
        assert (refused.status, refused.body["code"]) == (503, "database_unavailable")
        assert refused.headers["Retry-After"]
    finally:
        database.rmdir()
        aside.rename(database)

    def is_well() -> bool:
        time.sleep(0.1)
        state = health(service.url)
        return state is not None and state["status"] == "ok"

    wait_until(is_well, 30, "the service is well again")
    assert predict(service, image()).status == 200
