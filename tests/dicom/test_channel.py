"""The ways out: what a configuration may say, what statuses and answers mean, real archives."""

import io
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ComprehensiveSRStorage

from specimens.dicom.channel_association import judge_status
from specimens.dicom.channel_stow import judge_store_response
from specimens.interop.channels import (
    PermanentFailure,
    Receipt,
    TemporaryFailure,
    Unreachable,
    channel_for,
)
from specimens.interop.outgoing_http import Answer
from tests.counterparts import require
from tests.dicom.orthanc import AE_TITLE, Orthanc, orthanc
from tests.dicom.report_file import report_file
from tests.processes import die_with_parent, end, free_port, wait_until

store, stow = channel_for("dicom_store"), channel_for("dicom_stow")
PASSWORD = "a long password of the archive"
PASSWORD_ENV = "WBCLAB_DELIVERY_TEST_ARCHIVE"


@pytest.fixture(scope="module")
def archive() -> Iterator[Orthanc]:
    """An Orthanc that asks its web clients for a password."""
    with orthanc(DicomCheckCalledAet=True) as running:
        yield running


@pytest.fixture
def payload(settings: Any) -> Any:
    settings.DELIVERY_ALLOWED_HOSTS = ["127.0.0.1"]
    return report_file()


# --- configuration --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("address", "given", "fields"),
    [
        ("pacs:104", {"called_ae": "PACS"}, set()),
        ("[::1]:104", {"called_ae": "PACS", "calling_ae": "LAB", "timeout_seconds": 5}, set()),
        ("pacs", {"called_ae": "PACS"}, {"address"}),
        ("pacs:0", {"called_ae": "PACS"}, {"address"}),
        ("http://pacs:104", {"called_ae": "PACS"}, {"address"}),
        ("pacs:104", {}, {"called_ae"}),
        ("pacs:104", {"called_ae": "X" * 17}, {"called_ae"}),
        ("pacs:104", {"called_ae": "PACS", "calling_ae": "a\\b"}, {"calling_ae"}),
        ("pacs:104", {"called_ae": "PACS", "password": "x"}, {"password"}),
        ("pacs:104", {"called_ae": "PACS", "timeout_seconds": 0}, {"timeout_seconds"}),
        ("pacs:104", {"called_ae": "PACS", "ca_file": "ca.pem"}, {"ca_file"}),
        ("pacs:104", {"called_ae": "PACS", "tls": True, "ca_file": "../x"}, {"ca_file"}),
        ("pacs:104", {"called_ae": "PACS", "tls": "yes"}, {"tls"}),
    ],
)
def test_what_a_store_destination_may_say(
    address: str, given: dict[str, Any], fields: set[str]
) -> None:
    assert set(store.problems(address, given)) == fields


@pytest.mark.parametrize(
    ("address", "given", "fields"),
    [
        ("https://pacs/dicom-web", {}, set()),
        ("https://pacs/dicom-web", {"secret_env": PASSWORD_ENV, "user": "wbclab"}, set()),
        ("https://pacs/dicom-web", {"user": "wbclab"}, {"user"}),
        ("https://pacs/dicom-web", {"user": "a:b", "secret_env": PASSWORD_ENV}, {"user"}),
        ("https://pacs/dicom-web", {"secret_env": "PATH"}, {"secret_env"}),
        ("https://pacs/dicom-web", {"secret_file": "missing"}, {"secret_file"}),
        ("https://pacs/dicom-web", {"secret": "clear"}, {"secret"}),
        ("pacs:8080", {}, {"address"}),
    ],
)
def test_what_a_web_destination_may_say(
    address: str, given: dict[str, Any], fields: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_ENV, PASSWORD)
    assert set(stow.problems(address, given)) == fields


# --- what answers mean ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, Receipt),
        (0x0111, Receipt),  # it has it already
        (0xB000, Receipt),
        (0xB007, Receipt),
        (0x0107, Receipt),
        (0xA700, TemporaryFailure),
        (0xA7FF, TemporaryFailure),
        (0x0110, TemporaryFailure),
        (0xA900, PermanentFailure),
        (0xC000, PermanentFailure),
        (0xCFFF, PermanentFailure),
        (0x0122, PermanentFailure),
        (0x0124, PermanentFailure),
        (None, Unreachable),
    ],
)
def test_what_a_status_means(status: int | None, outcome: type) -> None:
    answer = Dataset()
    if status is not None:
        answer.Status = status
        answer.ErrorComment = "for people"
    if outcome is Receipt:
        assert f"0x{status:04X} (for people)" in judge_status(answer, "PACS").text
        return
    with pytest.raises(outcome) as caught:
        judge_status(answer, "PACS")
    assert type(caught.value) is outcome


def failed(reason: int) -> dict[str, Any]:
    item = {"00081197": {"vr": "US", "Value": [reason]}}
    return {"00081198": {"vr": "SQ", "Value": [item]}}


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, {}, Receipt),
        (200, "not JSON", Receipt),
        (202, {"00081199": {"vr": "SQ", "Value": [{"00081196": {"Value": [0xB000]}}]}}, Receipt),
        (202, failed(0xA700), TemporaryFailure),
        (409, failed(0x0110), TemporaryFailure),
        (409, failed(0x0111), Receipt),
        (409, failed(0x0122), PermanentFailure),
        (409, failed(0xC000), PermanentFailure),
        (409, {}, PermanentFailure),
        (200, failed(0xA900), PermanentFailure),
        (200, {"00081198": {"vr": "SQ"}, "00081199": "odd"}, Receipt),
    ],
)
def test_what_a_store_response_means(status: int, body: Any, outcome: type) -> None:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    answer = Answer(status, httpx.Headers(), content)
    if outcome is Receipt:
        assert str(status) in judge_store_response(answer).text
        return
    with pytest.raises(outcome):
        judge_store_response(answer)


# --- against real archives ------------------------------------------------------------------------
def test_probes(archive: Orthanc, payload: Any) -> None:
    given = {"called_ae": AE_TITLE}
    assert "C-ECHO" in store.probe(archive.dicom_address, given).text
    assert "200" in stow.probe(archive.web_url, {}).text
    with pytest.raises(Unreachable):
        store.probe(f"127.0.0.1:{free_port()}", given)
    with pytest.raises(Unreachable):
        stow.probe(f"http://127.0.0.1:{free_port()}", {})


def _sent_until_answered(payload: Any, address: str, settings: dict[str, Any]) -> None:
    """Send again, as the outbox does, where the archive's reset overtakes its refusal."""
    for _ in range(20):
        with suppress(Unreachable):
            store.send(payload, "m", address, settings)
            return
    pytest.fail(f"{address} never answered")


def test_a_wrong_title_is_for_a_person_a_port_of_something_else_is_tried_again(
    archive: Orthanc, payload: Any
) -> None:
    with pytest.raises(PermanentFailure, match="Called AE title not recognised"):
        _sent_until_answered(payload, archive.dicom_address, {"called_ae": "OTHER"})
    with pytest.raises(Unreachable):
        store.send(payload, "m", f"127.0.0.1:{archive.port}", {"called_ae": AE_TITLE})
    with pytest.raises(PermanentFailure, match="404"):
        stow.send(payload, "m", f"{archive.url}/elsewhere", {})


def test_an_archive_that_takes_no_reports_is_for_a_person(tmp_path: Path, payload: Any) -> None:
    """dcmtk's storescp, told to take photographs only."""
    profile = tmp_path / "photographs.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[Native]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[[PresentationContexts]]\n[Photographs]\n"
        "PresentationContext1 = VLPhotographicImageStorage\\Native\n"
        "[[Profiles]]\n[Default]\nPresentationContexts = Photographs\n"
    )
    with (
        storescp(tmp_path, "-xf", str(profile), "Default") as port,
        pytest.raises(PermanentFailure, match="takes no objects of this kind"),
    ):
        store.send(payload, "m", f"127.0.0.1:{port}", {"called_ae": "ANY"})


def test_an_archive_of_implicit_coding_gets_the_same_report(tmp_path: Path, payload: Any) -> None:
    with storescp(tmp_path, "+xi") as port:
        receipt = store.send(payload, "m", f"127.0.0.1:{port}", {"called_ae": "ANY"})
    assert "stored" in receipt.text
    (path,) = (tmp_path / "received").iterdir()
    found, sent = dcmread(path), dcmread(io.BytesIO(payload.content))
    assert found.SOPClassUID == ComprehensiveSRStorage
    assert found == sent


def test_an_archive_out_of_resources_is_tried_again(tmp_path: Path, payload: Any) -> None:
    """dcmtk's storescp on a folder that is not there any more."""
    with storescp(tmp_path) as port:
        (tmp_path / "received").rmdir()
        with pytest.raises(TemporaryFailure, match="0xA7"):
            store.send(payload, "m", f"127.0.0.1:{port}", {"called_ae": "ANY"})


def test_an_archive_that_hangs_up_in_the_middle_is_tried_again(
    tmp_path: Path, payload: Any
) -> None:
    with storescp(tmp_path, "--abort-after") as port, pytest.raises(Unreachable):
        store.send(payload, "m", f"127.0.0.1:{port}", {"called_ae": "ANY"})


def test_a_password_of_the_archive(payload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_ENV, PASSWORD)
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"wbclab": PASSWORD}}
    with orthanc(**users) as archive:
        given = {"user": "wbclab", "secret_env": PASSWORD_ENV}
        assert "stored" in stow.send(payload, "m", archive.web_url, given).text
        with pytest.raises(PermanentFailure, match="401"):
            stow.send(payload, "m", archive.web_url, {})
        monkeypatch.setenv(PASSWORD_ENV, "wrong")
        with pytest.raises(PermanentFailure, match="401"):
            stow.send(payload, "m", archive.web_url, given)


def test_tls(tmp_path: Path, payload: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """dcmtk's storescp with a certificate; only who trusts its authority sends anything."""
    settings.DELIVERY_SECRETS_DIR = str(tmp_path)
    monkeypatch.setenv("WBCLAB_DELIVERY_SECRETS_DIR", str(tmp_path))
    make_certificate(tmp_path)
    given = {"called_ae": "ANY", "tls": True, "server_name": "localhost", "timeout_seconds": 10}
    with storescp(tmp_path, "+tls", "key.pem", "cert.pem", "-ic") as port:
        address = f"127.0.0.1:{port}"
        trusting = given | {"ca_file": "cert.pem"}
        assert store.problems(address, trusting) == {}
        assert "stored" in store.send(payload, "m", address, trusting).text
        with pytest.raises(Unreachable):
            store.send(payload, "m", address, given)  # the system does not know this authority
        with pytest.raises(Unreachable):
            store.send(payload, "m", address, {"called_ae": "ANY", "timeout_seconds": 3})


# --- counterparts ---------------------------------------------------------------------------------
@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """dcmtk's receiver into `folder`/received; its port."""
    require("storescp")
    (folder / "received").mkdir(exist_ok=True)
    port = free_port()
    with (folder / "storescp.log").open("ab") as log:
        process = subprocess.Popen(
            ["storescp", *options, "-od", str(folder / "received"), str(port)],
            cwd=folder, stdout=log, stderr=log, preexec_fn=die_with_parent(),
        )  # fmt: skip
    try:
        wait_until(lambda: _listens(port, process), 20, "storescp listens")
        yield port
    finally:
        end(process, signal.SIGTERM)


def _listens(port: int, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "storescp ended"
    needle = f":{port:04X} ".encode()
    time.sleep(0.02)
    lines = Path("/proc/net/tcp").read_bytes() + Path("/proc/net/tcp6").read_bytes()
    return any(needle in line and b" 0A " in line for line in lines.splitlines())


def make_certificate(folder: Path) -> None:
    """A certificate for localhost, signed by itself."""
    require("openssl")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem",
         "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
