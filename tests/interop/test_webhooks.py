"""Webhooks: signed as the standard says, sent to checked addresses only, bounded."""

import base64
import hashlib
import hmac
import ipaddress
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from specimens.interop import outgoing_http
from specimens.interop.addresses import AddressRefused, Allowed, checked_addresses
from specimens.interop.channels import (
    OutgoingReport,
    Payload,
    PermanentFailure,
    TemporaryFailure,
    Unreachable,
    channel_for,
    read_secret,
)
from specimens.interop.codes import default_codes
from specimens.interop.webhooks import WebhookChannel
from tests.interop.receivers import SECRET, SECRET_ENV
from tests.interop.webhook_receiver import ReceiverThread
from tests.processes import free_port
from tests.reports import content

SETTINGS: dict[str, Any] = {"secret_env": SECRET_ENV}
BODY = Payload(b'{"type": "x", "id": "1", "data": {}}', "application/json")
CHANNEL = WebhookChannel()


@pytest.fixture(autouse=True)
def _allowed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DELIVERY_ALLOWED_HOSTS = ["127.0.0.1"]
    monkeypatch.setenv(SECRET_ENV, SECRET)


@pytest.fixture
def receiver() -> Iterator[ReceiverThread]:
    with ReceiverThread() as running:
        yield running


def _report(**values: Any) -> OutgoingReport:
    given: dict[str, Any] = {
        "message_id": "0123456789abcdef0123", "event": "final", "content": content(),
        "previous": None, "created_at": datetime(2026, 11, 22, 9, 15, tzinfo=UTC),
        "pdf": lambda: b"", "codes": default_codes(), "sources": [], "report_id": "7",
        "previous_report_id": "",
    }  # fmt: skip
    return OutgoingReport(**given | values)


def _send(url: str, **settings: Any) -> str:
    return CHANNEL.send(BODY, "id-1", url, SETTINGS | settings).text


def _is_genuine(headers: dict[str, str], body: bytes, secret: str, now: float) -> bool:
    """The receiver's side as docs/integration.md shows it, independent of our own code."""
    timestamp = headers["webhook-timestamp"]
    if abs(now - int(timestamp)) > 300:
        return False
    signed = headers["webhook-id"].encode() + b"." + timestamp.encode() + b"." + body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    candidates = [one.partition(",") for one in headers["webhook-signature"].split(" ")]
    return any(
        version == "v1" and hmac.compare_digest(base64.b64decode(value), expected)
        for version, _, value in candidates
    )


class TestSignature:
    def test_a_receiver_can_check_it(self, receiver: ReceiverThread) -> None:
        _send(receiver.url)
        (headers, _), body = receiver.requests[0], receiver.bodies[0]
        assert headers["webhook-id"] == "id-1"
        assert _is_genuine(headers, body, SECRET, time.time())

    def test_a_change_of_anything_is_found(self, receiver: ReceiverThread) -> None:
        _send(receiver.url)
        (headers, _), body = receiver.requests[0], receiver.bodies[0]
        now = time.time()
        later = str(int(headers["webhook-timestamp"]) + 1)
        assert not _is_genuine(headers, body + b" ", SECRET, now)
        assert not _is_genuine(headers, body, SECRET + "x", now)
        assert not _is_genuine(headers | {"webhook-id": "id-2"}, body, SECRET, now)
        assert not _is_genuine(headers | {"webhook-timestamp": later}, body, SECRET, now)
        assert not _is_genuine(headers, body, SECRET, now + 600), "a replay, later"

    def test_the_standard_s_own_example(self) -> None:
        """From the test suite of the Standard Webhooks libraries."""
        from specimens.interop.webhooks import secret_key, signature

        key = secret_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        body = b'{"test": 2432232314}'
        found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
        assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

    def test_without_its_secret_nothing_is_sent(
        self, receiver: ReceiverThread, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(SECRET_ENV)
        with pytest.raises(PermanentFailure, match="is not set"):
            _send(receiver.url)
        assert not receiver.requests


class TestBody:
    def test_it_holds_the_whole_report(self) -> None:
        payload = CHANNEL.render(_report(), "https://x.invalid", SETTINGS)
        body = json.loads(payload.content)
        assert payload.content_type == "application/json"
        assert (body["type"], body["id"]) == ("report.final", "0123456789abcdef0123")
        assert body["timestamp"] == "2026-11-22T09:15:00+00:00"
        assert body["data"]["content"] == content()
        assert body["data"]["accession_number"] == "261122-001"
        assert body["data"]["placer_number"] == "ORD-77"
        assert body["data"]["report"] == "7"

    def test_a_notice_names_the_specimen_and_no_patient(self) -> None:
        payload = CHANNEL.render(
            _report(event="corrected", previous=content(), previous_report_id="6"),
            "https://x.invalid",
            SETTINGS | {"body": "notice"},
        )
        assert json.loads(payload.content)["data"] == {
            "accession_number": "261122-001", "placer_number": "ORD-77", "report": "7",
            "replaces": "6", "version": 1,
        }  # fmt: skip
        assert b"Erika" not in payload.content

    def test_a_probe_carries_no_data(self, receiver: ReceiverThread) -> None:
        receipt = CHANNEL.probe(receiver.url, SETTINGS)
        assert receipt.text == "The receiver answered 204."
        ((headers, body),) = receiver.requests
        assert (body["type"], body["data"]) == ("test", {})
        assert _is_genuine(headers, receiver.bodies[0], SECRET, time.time())


class TestSettings:
    def test_a_sound_configuration_has_no_problem(self) -> None:
        assert channel_for("webhook").problems("https://lis.example.org/in", SETTINGS) == {}

    @pytest.mark.parametrize(
        ("address", "changes", "field", "text"),
        [
            ("lis.example.org", {}, "address", "https://host/path"),
            ("ftp://lis.example.org", {}, "address", "https://host/path"),
            ("https://me:pw@lis.example.org", {}, "address", "No user name"),
            ("https://lis.example.org/#x", {}, "address", "fragment"),
            ("https://x.org", {"secret_env": "WBCLAB_SECRET_KEY"}, "secret_env", "begin with"),
            ("https://x.org", {"secret_env": "WBCLAB_DELIVERY_NONE"}, "secret_env", "not set"),
            ("https://x.org", {"secret_env": ""}, "secret_env", "Name a secret"),
            ("https://x.org", {"body": "all"}, "body", "report, notice"),
            ("https://x.org", {"timeout_seconds": 0}, "timeout_seconds", "1 to 60"),
            ("https://x.org", {"timeout_seconds": "5"}, "timeout_seconds", "1 to 60"),
            ("https://x.org", {"secret": "abc"}, "secret", "no such setting"),
        ],
    )
    def test_what_is_wrong_is_said_by_field(
        self, address: str, changes: dict[str, Any], field: str, text: str
    ) -> None:
        problems = CHANNEL.problems(address, SETTINGS | changes)
        assert text in problems[field]

    def test_a_short_secret_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(SECRET_ENV, "short")
        assert "16 bytes" in CHANNEL.problems("https://x.org", SETTINGS)["secret_env"]
        monkeypatch.setenv(SECRET_ENV, "whsec_not base64 at all!")
        assert "Base64" in CHANNEL.problems("https://x.org", SETTINGS)["secret_env"]

    def test_a_secret_can_lie_in_a_file_of_one_folder_only(
        self, tmp_path: Path, settings: Any
    ) -> None:
        folder = tmp_path / "secrets"
        folder.mkdir()
        settings.DELIVERY_SECRETS_DIR = str(folder)
        (folder / "lis").write_text("a-secret-from-a-file\n")
        (tmp_path / "elsewhere").write_text("not to be read")
        assert read_secret({"secret_file": "lis"}) == "a-secret-from-a-file"
        for name in ("../elsewhere", "/etc/passwd", str(tmp_path / "elsewhere")):
            with pytest.raises(ValueError, match="its name only"):
                read_secret({"secret_file": name})
        with pytest.raises(ValueError, match="cannot be read"):
            read_secret({"secret_file": "missing"})


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "failure", "text"),
        [
            (301, PermanentFailure, "redirect"),
            (307, PermanentFailure, "redirect"),
            (400, PermanentFailure, "answered 400"),
            (401, PermanentFailure, "answered 401"),
            (404, PermanentFailure, "answered 404"),
            (410, PermanentFailure, "answered 410"),
            (422, PermanentFailure, "answered 422"),
            (409, TemporaryFailure, "answered 409"),
            (500, TemporaryFailure, "answered 500"),
            (429, Unreachable, "answered 429"),
            (503, Unreachable, "answered 503"),
        ],
    )
    def test_each_status_has_its_meaning(
        self, status: int, failure: type[Exception], text: str, receiver: ReceiverThread
    ) -> None:
        receiver.statuses = [status]
        receiver.answer_headers = {"Location": "http://169.254.169.254/", "Content-Length": "0"}
        with pytest.raises(failure, match=text) as raised:
            _send(receiver.url)
        assert type(raised.value) is failure
        assert len(receiver.requests) == 1, "a redirect is not followed"

    def test_nobody_there(self) -> None:
        with pytest.raises(Unreachable, match=r"cannot be reached.*refused"):
            _send(f"http://127.0.0.1:{free_port()}/")

    def test_no_such_name(self) -> None:
        with pytest.raises(Unreachable, match="cannot be resolved"):
            _send("https://no-such-name.invalid/")


class _Talker:
    """A server that does whatever a test wants with each connection."""

    def __init__(self, talk: Callable[[socket.socket], None]) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._talk = talk
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    self._talk(connection)
                except OSError:
                    pass

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def talker() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    running: list[_Talker] = []

    def start(talk: Callable[[socket.socket], None]) -> str:
        running.append(_Talker(talk))
        return f"http://127.0.0.1:{running[-1].port}/"

    yield start
    for one in running:
        one.close()


class TestBounds:
    def test_one_that_never_answers(self, talker: Any) -> None:
        url = talker(lambda connection: time.sleep(20))
        started = time.monotonic()
        with pytest.raises(Unreachable, match="did not answer within 1 s"):
            _send(url, timeout_seconds=1)
        assert time.monotonic() - started < 15

    def test_one_that_drips(self, talker: Any) -> None:
        def drip(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(200):
                connection.sendall(b"x" * 5)
                time.sleep(0.1)

        started = time.monotonic()
        with pytest.raises(Unreachable, match="did not answer within 1 s"):
            _send(talker(drip), timeout_seconds=1)
        assert time.monotonic() - started < 15

    def test_one_that_drips_its_headers(self, talker: Any) -> None:
        def drip(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            for number in range(200):
                connection.sendall(f"X-{number}: x\r\n".encode())
                time.sleep(0.1)

        started = time.monotonic()
        with pytest.raises(Unreachable, match="did not answer within 1 s"):
            _send(talker(drip), timeout_seconds=1)
        assert time.monotonic() - started < 15

    def test_one_that_answers_without_end(self, talker: Any) -> None:
        sent = 0

        def flood(connection: socket.socket) -> None:
            nonlocal sent
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                sent += connection.send(b"x" * 65536)

        assert _send(talker(flood)) == "The receiver answered 200."
        assert sent < 32 * 1024 * 1024, "it stopped listening"

    def test_one_that_breaks_off(self, talker: Any) -> None:
        with pytest.raises(Unreachable, match="broke off"):
            _send(talker(lambda connection: None))

    def test_one_that_speaks_something_else(self, talker: Any) -> None:
        with pytest.raises(Unreachable, match="broke off"):
            _send(talker(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH\r\n")))


PRIVATE = [
    "127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "0.0.0.0",  # noqa: S104 - refused, not bound
    "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
    "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    "2001:0:7f00:1:0:0:80ff:fffe", "::127.0.0.1",
]  # fmt: skip


class TestAddresses:
    @pytest.mark.parametrize("address", PRIVATE)
    def test_what_is_not_public_is_refused(self, address: str) -> None:
        with pytest.raises(AddressRefused, match="not a public address"):
            checked_addresses(address, 443, Allowed())

    @pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
    def test_what_is_public_is_called(self, address: str) -> None:
        assert checked_addresses(address, 443, Allowed()) == [ipaddress.ip_address(address)]

    @pytest.mark.parametrize(
        "host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "LOCALHOST"]
    )
    def test_no_spelling_of_loopback_gets_through(self, host: str) -> None:
        with pytest.raises((AddressRefused, OSError)):
            checked_addresses(host, 443, Allowed())

    def test_the_administrator_s_list_allows(self) -> None:
        allowed = Allowed.read([" 10.2.0.0/16", "LIS.local.", "192.168.7.7", ""])
        assert allowed.permits("x", ipaddress.ip_address("10.2.3.4"))
        assert allowed.permits("x", ipaddress.ip_address("::ffff:10.2.3.4"))
        assert allowed.permits("lis.LOCAL", ipaddress.ip_address("172.16.0.9"))
        assert allowed.permits("x", ipaddress.ip_address("192.168.7.7"))
        assert not allowed.permits("x", ipaddress.ip_address("10.3.0.1"))
        with pytest.raises(ValueError, match="host bits"):
            Allowed.read(["10.2.3.4/16"])

    def test_a_name_that_points_outside_and_inside_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _resolve(monkeypatch, {"both.example": ["8.8.8.8", "10.0.0.1"]})
        with pytest.raises(AddressRefused, match=r"both\.example is 10\.0\.0\.1"):
            checked_addresses("both.example", 443, Allowed())

    def test_a_request_to_a_private_address_is_never_made(
        self, receiver: ReceiverThread, settings: Any
    ) -> None:
        settings.DELIVERY_ALLOWED_HOSTS = []
        with pytest.raises(PermanentFailure, match="WBCLAB_DELIVERY_ALLOWED_HOSTS"):
            _send(receiver.url)
        assert not receiver.requests

    def test_the_connection_goes_to_the_address_that_was_judged(
        self, receiver: ReceiverThread, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A name server that answers differently the second time (rebinding) is not asked twice."""
        settings.DELIVERY_ALLOWED_HOSTS = ["lis.example"]
        asked = _resolve(monkeypatch, {"lis.example": ["127.0.0.1"]}, then={"lis.example": []})
        assert _send(f"http://lis.example:{receiver.port}/") == "The receiver answered 204."
        assert asked.count("lis.example") == 1
        ((headers, _),) = receiver.requests
        assert headers["host"] == f"lis.example:{receiver.port}"

    def test_without_tls_only_to_hosts_that_are_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _resolve(monkeypatch, {"public.example": ["8.8.8.8"]})
        with pytest.raises(PermanentFailure, match="in clear"):
            _send("http://public.example/")

    def test_proxies_of_the_environment_are_not_used(
        self, receiver: ReceiverThread, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
        assert _send(receiver.url) == "The receiver answered 204."


def _resolve(
    monkeypatch: pytest.MonkeyPatch,
    names: dict[str, list[str]],
    then: dict[str, list[str]] | None = None,
) -> list[str]:
    """Stand in for the name server, the one part a test cannot run; returns who was asked for."""
    real = socket.getaddrinfo
    asked: list[str] = []

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        answers = then if then is not None and host in asked else names
        asked.append(host)
        if host not in answers:
            return real(host, port, *args, **kwargs)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in answers[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        path = tmp_path / "lis.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
             "-subj", "/CN=lis.example", "-addext", "subjectAltName=DNS:lis.example",
             "-keyout", path.with_suffix(".key"), "-out", path],
            check=True, capture_output=True,
        )  # fmt: skip
        return path

    @pytest.fixture
    def url(self, certificate: Path, settings: Any) -> Iterator[str]:
        """An address of a server with that certificate; name and address are allowed."""
        settings.DELIVERY_ALLOWED_HOSTS = ["127.0.0.0/8"]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        with ReceiverThread(tls=context) as running:
            yield f":{running.port}/"

    def test_the_certificate_must_be_of_the_name_although_the_address_is_called(
        self, url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = {"lis.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]}
        _resolve(monkeypatch, names)
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(outgoing_http, "_trust", lambda: trusting)
        assert _send("https://lis.example" + url) == "The receiver answered 204."
        with pytest.raises(Unreachable, match="certificate"):
            _send("https://other.example" + url)

    def test_an_unknown_authority_is_not_trusted(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _resolve(monkeypatch, {"lis.example": ["127.0.0.1"]})
        with pytest.raises(Unreachable, match="certificate"):
            _send("https://lis.example" + url)
