"""Who may not come, and what those who come may not do: refused or timed out, service goes on."""

import os
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE

from specimens.dicom.listener import Listener
from specimens.dicom.listener_bounds import LARGEST_PDU_BYTES
from specimens.dicom.network import server_tls
from specimens.models import AssociationLog, CellImage, DicomInstance
from tests.counterparts import require
from tests.dicom.files import VL_PHOTOGRAPHIC
from tests.dicom.hostile import HOSTILE
from tests.dicom.pacs import (
    OURS,
    SCANNER,
    hang_up_seen,
    listening,
    sent,
    split,
    stored,
    stored_raw,
    study_of,
)
from tests.factories import Cast, make_cast
from tests.processes import wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

IDLE_SECONDS = 2.0
LIMIT_BYTES = 512 * 1024
LARGE_PICTURES = ("bomb", "lying header")  # above that limit


@pytest.fixture
def laboratory(settings: Any) -> Cast:
    settings.DICOM_PEERS = [f"{SCANNER}=main"]
    cast = make_cast()
    cast.specimen(accession_number="A1", order__patient__identifier="P1")
    return cast


@pytest.fixture
def listener(laboratory: Cast, tmp_path: Path) -> Iterator[Listener]:
    with listening(
        tmp_path, idle_seconds=IDLE_SECONDS, negotiation_seconds=2.0, instance_bytes=LIMIT_BYTES
    ) as running:
        yield running


def still_serves(listener: Listener, tmp_path: Path) -> None:
    """A normal C-STORE works, and leaves nothing behind."""
    before = CellImage.objects.count()
    folder = tmp_path / f"after-{time.monotonic_ns()}"
    stored("storescu", listener.port, study_of(folder, "A1", 1, first=before + 500))
    assert CellImage.objects.count() == before + 1
    assert not list((tmp_path / "incoming").iterdir())


def logged(**values: Any) -> AssociationLog:
    wait_until(lambda: AssociationLog.objects.filter(**values).exists(), 20, f"logged: {values}")
    return AssociationLog.objects.filter(**values).latest("pk")


def test_an_unknown_calling_title_is_refused(listener: Listener, tmp_path: Path) -> None:
    done = sent("storescu", listener.port, study_of(tmp_path / "s", "A1", 1), calling="STRANGER")
    assert done.returncode != 0
    assert "Calling AE Title Not Recognized" in done.stderr
    row = logged(state="refused", calling_ae="STRANGER")
    assert "WBCLAB_DICOM_PEERS" in row.reason
    assert not DicomInstance.objects.exists()
    still_serves(listener, tmp_path)


def test_a_wrong_called_title_is_refused(listener: Listener, tmp_path: Path) -> None:
    done = sent("echoscu", listener.port, [], called="SOMEBODY")
    assert done.returncode != 0
    assert "Called AE Title Not Recognized" in done.stderr
    assert logged(state="refused", called_ae="SOMEBODY").calling_ae == SCANNER
    still_serves(listener, tmp_path)


def test_equal_refusals_share_a_row(listener: Listener) -> None:
    for _ in range(3):
        sent("echoscu", listener.port, [], calling="STRANGER")
    wait_until(lambda: logged(calling_ae="STRANGER").occurrences == 3, 10, "counted")
    assert AssociationLog.objects.count() == 1


def test_fifty_idle_associations_do_not_keep_others_out(listener: Listener, tmp_path: Path) -> None:
    """Six get in, the others are refused; after the time of silence the six are cut off."""
    entity = AE(ae_title=SCANNER)
    entity.network_timeout = entity.acse_timeout = 30
    entity.add_requested_context("1.2.840.10008.1.1")
    idle = [entity.associate("127.0.0.1", listener.port, ae_title=OURS) for _ in range(50)]
    # On a slow machine the first are cut off while the last ask, and make room for others.
    assert sum(association.is_established for association in idle) <= 6
    assert sum(association.is_rejected for association in idle) >= 25
    assert "associations are in use" in logged(state="refused").reason
    wait_until(
        lambda: not any(association.is_established for association in idle), 30, "all are cut off"
    )
    assert "Silent for" in logged(state="aborted").reason
    still_serves(listener, tmp_path)


def test_fifty_silent_connections_are_closed(listener: Listener, tmp_path: Path) -> None:
    with ExitStack() as stack:
        peers = [
            stack.enter_context(socket.create_connection(("127.0.0.1", listener.port), 10))
            for _ in range(50)
        ]
        # They count as connections, of which there are 28, and not as associations.
        wait_until(lambda: _still_open(peers, 0.01) <= 28, 10, "those above are closed at once")
        wait_until(lambda: _still_open(peers, 0.01) == 0, 30, "all are closed")
    still_serves(listener, tmp_path)


def _still_open(peers: list[socket.socket], seconds: float) -> int:
    time.sleep(seconds)
    count = 0
    for peer in peers:
        peer.setblocking(False)
        try:
            count += bool(peer.recv(1))
        except BlockingIOError:
            count += 1
        except OSError:
            pass
    return count


def test_a_pdu_that_drips_is_cut_off(listener: Listener, tmp_path: Path) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", listener.port), 10) as peer:
        peer.sendall(struct.pack(">BBL", 1, 0, 4000))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < began + 60:
                peer.sendall(b"\0")
                time.sleep(0.1)
    assert time.monotonic() < began + 3 * IDLE_SECONDS + 30
    still_serves(listener, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        os.urandom(4096),
        bytes(6),
        struct.pack(">BBL", 1, 0, LARGEST_PDU_BYTES + 1) + bytes(1000),
        struct.pack(">BBL", 1, 0, 0xFFFFFFFF) + bytes(1000),
        struct.pack(">BBL", 1, 0, 68) + bytes(68),
        struct.pack(">BBL", 4, 0, 12) + bytes(12),
        struct.pack(">BBL", 5, 0, 4) + bytes(4),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    ],
    ids=[
        "http",
        "noise",
        "zeros",
        "large",
        "4 GB",
        "empty request",
        "data first",
        "release",
        "tls",
    ],
)
def test_garbage_is_hung_up_on(content: bytes, listener: Listener, tmp_path: Path) -> None:
    hang_up_seen(listener.port, content, 20)
    still_serves(listener, tmp_path)


def _associated(listener: Listener) -> socket.socket:
    """An established association, as a bare socket: no library sends what comes next."""
    entity = AE(ae_title=SCANNER)
    entity.add_requested_context(VL_PHOTOGRAPHIC)
    association = entity.associate("127.0.0.1", listener.port, ae_title=OURS)
    assert association.is_established
    transport = association.dul.socket
    assert transport is not None
    raw = transport.socket
    assert raw is not None
    duplicate = socket.socket(fileno=os.dup(raw.fileno()))
    association._kill = True
    association.dul.kill_dul()
    association.dul.join(5)
    raw.close()
    return duplicate


def _pdv(control: int, content: bytes, context: int = 1) -> bytes:
    item = struct.pack(">LBB", len(content) + 2, context, control) + content
    return struct.pack(">BBL", 4, 0, len(item)) + item


@pytest.mark.parametrize(
    "stream",
    [
        [_pdv(0x01, bytes(60_000))] * 3,  # a command without an end
        [_pdv(0x00, bytes(1000))],  # a data set without a command
        [_pdv(0x03, b"\xff" * 200)],  # a command nobody can read
        [_pdv(0x03, bytes(200), context=99)],  # another presentation context
    ],
    ids=["endless command", "no command", "garbled command", "unknown context"],
)
def test_a_message_against_the_protocol_ends_the_association(
    stream: list[bytes], listener: Listener, tmp_path: Path
) -> None:
    with _associated(listener) as peer:
        peer.settimeout(20)
        try:
            for pdu in stream:
                peer.sendall(pdu)
            heard = peer.recv(100)
        except ConnectionResetError:
            heard = b""
    assert heard[:1] in (b"", b"\x07")  # hung up on, or A-ABORT
    assert logged(state="aborted").reason
    still_serves(listener, tmp_path)


def test_an_oversized_instance_is_refused_and_kept_nowhere(
    listener: Listener, tmp_path: Path
) -> None:
    """600 KB where 512 KB are the limit: refused with 0xA700, after the sender was heard out."""
    assert stored_raw(listener.port, bytes(600 * 1024)) == 0xA700
    assert "limit" in logged(refused=1).reason
    assert not list((tmp_path / "incoming").iterdir())
    still_serves(listener, tmp_path)


def test_an_endless_instance_is_broken_off(listener: Listener, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no answer"):
        stored_raw(listener.port, bytes(3 * 1024**2))
    assert "far above the limit" in logged(state="aborted").reason
    assert not list((tmp_path / "incoming").iterdir())
    still_serves(listener, tmp_path)


def test_a_sender_that_goes_away_leaves_nothing(listener: Listener, tmp_path: Path) -> None:
    paths = study_of(tmp_path / "s", "A1", 1, side=300)
    process = subprocess.Popen(
        ["storescu", "-aet", SCANNER, "-aec", OURS, "--max-send-pdu", "4096", "127.0.0.1",
         str(listener.port), *map(str, paths)]
    )  # fmt: skip
    time.sleep(0.02)
    process.kill()
    process.wait()
    wait_until(lambda: not list((tmp_path / "incoming").iterdir()), 20, "nothing is left")
    still_serves(listener, tmp_path)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in LARGE_PICTURES])
def test_a_hostile_file_gets_its_refusal(name: str, listener: Listener, tmp_path: Path) -> None:
    content = HOSTILE[name]()
    assert len(content) <= LIMIT_BYTES
    status = stored_raw(listener.port, *split(content))
    assert status & 0xF000 in (0xC000, 0xA000), f"{status:#06x}"
    assert not CellImage.objects.exists()
    still_serves(listener, tmp_path)


@pytest.mark.parametrize("name", LARGE_PICTURES)
def test_a_hostile_picture_gets_its_refusal(name: str, laboratory: Cast, tmp_path: Path) -> None:
    with listening(tmp_path, instance_bytes=16 * 1024**2) as listener:
        assert stored_raw(listener.port, *split(HOSTILE[name]())) & 0xF000 == 0xC000
        still_serves(listener, tmp_path)


# --- TLS ------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a certificate of it for the listener, for a sender, and one of no one."""
    require("openssl")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for authority in ("ca", "other-ca"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{authority}.key",
                "-out", f"{authority}.pem", "-days", "2", "-subj", f"/CN={authority}")  # fmt: skip
    for name, authority in (("listener", "ca"), ("sender", "ca"), ("stranger", "other-ca")):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out",
                f"{name}.csr", "-subj", f"/CN={name}")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey",
                f"{authority}.key", "-CAcreateserial", "-out", f"{name}.pem",
                "-days", "2")  # fmt: skip
    return folder


@pytest.fixture
def encrypted(laboratory: Cast, tmp_path: Path, certificates: Path) -> Iterator[Listener]:
    tls = server_tls(
        certificates / "listener.pem", certificates / "listener.key", certificates / "ca.pem"
    )
    with listening(
        tmp_path, idle_seconds=IDLE_SECONDS, negotiation_seconds=2.0, tls=tls
    ) as running:
        yield running


def by_tls(certificates: Path, name: str) -> list[str]:
    return [
        "+tls", str(certificates / f"{name}.key"), str(certificates / f"{name}.pem"),
        "+cf", str(certificates / "ca.pem"),
    ]  # fmt: skip


def test_dcmtk_sends_by_mutual_tls(encrypted: Listener, tmp_path: Path, certificates: Path) -> None:
    paths = study_of(tmp_path / "s", "A1", 3)
    stored("storescu", encrypted.port, paths, *by_tls(certificates, "sender"))
    assert CellImage.objects.count() == 3
    assert logged(state="released").encrypted


def test_a_plain_sender_at_the_tls_port_is_refused(
    encrypted: Listener, tmp_path: Path, certificates: Path
) -> None:
    assert sent("echoscu", encrypted.port, [], seconds=60).returncode != 0
    stored(
        "storescu", encrypted.port, study_of(tmp_path / "s", "A1", 1),
        *by_tls(certificates, "sender"),
    )  # fmt: skip


def test_senders_without_our_certificate_are_refused(
    encrypted: Listener, tmp_path: Path, certificates: Path
) -> None:
    anonymous = ["+tla", "+cf", str(certificates / "ca.pem")]
    for options in (anonymous, by_tls(certificates, "stranger")):
        assert sent("echoscu", encrypted.port, [], *options, seconds=60).returncode != 0
    stored(
        "storescu", encrypted.port, study_of(tmp_path / "s", "A1", 1),
        *by_tls(certificates, "sender"),
    )  # fmt: skip
    assert AssociationLog.objects.filter(state="released").count() <= 1


def test_old_versions_of_tls_are_refused(encrypted: Listener, certificates: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(certificates / "sender.pem", certificates / "sender.key")
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", encrypted.port), 10) as plain,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
    ):
        context.wrap_socket(plain)


def test_a_silent_handshake_stops_nobody(
    encrypted: Listener, tmp_path: Path, certificates: Path
) -> None:
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_connection(("127.0.0.1", encrypted.port), 10))
        began = time.monotonic()
        stored(
            "storescu", encrypted.port, study_of(tmp_path / "s", "A1", 1),
            *by_tls(certificates, "sender"),
        )  # fmt: skip
        assert time.monotonic() - began < 10
    assert threading.active_count() < 200
