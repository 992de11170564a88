"""The DICOM network of the tests: our listener and web server, dcmtk's senders, raw sockets."""

import io
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from django.db import connections
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE

from classifier.imaging.dicom import TRANSFER_SYNTAXES
from specimens.dicom.listener import Listener, ListenerSettings
from specimens.services.dicom_network import DatabaseIntake
from tests.counterparts import require
from tests.dicom.files import VL_PHOTOGRAPHIC, instance, plain_cell, saved
from tests.processes import free_port, wait_until
from tests.roles import kill_role, roles, start_role

OURS = "WBCLAB"
SCANNER = "SCANNER"


def study_of(
    folder: Path, accession_number: str, count: int, *, first: int = 0, side: int = 40
) -> list[Path]:
    """Write `count` instances of one study and series, each with another picture."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series = generate_uid(), generate_uid()
    paths = []
    for number in range(first, first + count):
        dataset = instance(
            plain_cell(number * 37 + 1, side),
            AccessionNumber=accession_number,
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            InstanceNumber=number + 1,
            PatientID="P1",
            PatientName="Musterfrau^Erika",
            StudyDate="20260102",
            StudyDescription="Blood smear",
        )
        paths.append(saved(dataset, folder / f"{number:05}.dcm"))
    return paths


@contextmanager
def listening(folder: Path, **changes: Any) -> Iterator[Listener]:
    """Our listener in threads of this process, with the database of the test behind it."""
    given = ListenerSettings(
        ae_title=OURS,
        host="127.0.0.1",
        port=0,
        calling_ae_titles=frozenset({SCANNER, "ORTHANC"}),
        folder=folder / "incoming",
        instance_bytes=4 * 1024**2,
        associations=6,
        idle_seconds=20.0,
        negotiation_seconds=5.0,
    )
    listener = Listener(replace(given, **changes), DatabaseIntake())
    listener.start()
    try:
        yield listener
    finally:
        listener.stop(5)


@contextmanager
def serving_web(port: int | None = None) -> Iterator[str]:
    """Our web server (ASGI, uvicorn) in a thread of this process; its address."""
    from wbclab.asgi import application

    port = port or free_port()
    configuration = uvicorn.Config(
        application, host="127.0.0.1", port=port, lifespan="off", log_level="warning"
    )
    server = uvicorn.Server(configuration)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, 30, "the web server answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        connections.close_all()


@contextmanager
def listener_process(folder: Path, log: Path, **environment: str) -> Iterator["Process"]:
    """The listener as production starts it, over the database of the test (PostgreSQL)."""
    process = Process(folder, log, environment)
    try:
        process.start()
        yield process
    finally:
        process.kill()


class Process:
    """A listener in a process of its own, on a port it keeps when it is started again."""

    def __init__(self, folder: Path, log: Path, environment: dict[str, str]) -> None:
        self.port = free_port()
        self._log = log
        self._environment = {
            "WBCLAB_INCOMING_DIR": str(folder),
            "WBCLAB_DICOM_PORT": str(self.port),
            "WBCLAB_DICOM_PEERS": f"{SCANNER}=main,ORTHANC=main",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._process = start_role("dicom-listener", self._log, **self._environment)
        wait_until(self._answers, 180, f"the listener answers: {self._log.read_text()[-2000:]}")

    def _answers(self) -> bool:
        time.sleep(0.1)
        assert self._process is not None and self._process.poll() is None, self._log.read_text()
        return sent("echoscu", self.port, []).returncode == 0

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            kill_role(self._process)
            self._process = None


def sent(
    tool: str,
    port: int,
    paths: Sequence[Path],
    *options: str,
    calling: str = SCANNER,
    called: str = OURS,
    seconds: float = 120,
) -> "subprocess.CompletedProcess[str]":
    """Run dcmtk's storescu, dcmsend or echoscu against a port; what it printed and returned."""
    require(tool)
    return subprocess.run(
        [tool, "-v", "-aet", calling, "-aec", called, *options, "127.0.0.1", str(port),
         *map(str, paths)],
        capture_output=True, text=True, errors="replace", timeout=seconds, check=False,
    )  # fmt: skip


def stored(tool: str, port: int, paths: Sequence[Path], *options: str, **more: Any) -> None:
    """Send, and see that the sender was told of success for everything."""
    done = sent(tool, port, paths, *options, **more)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]


def statuses(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """The C-STORE answers as storescu -v reports them."""
    lines = (done.stdout + done.stderr).splitlines()
    return [line.partition("(")[2].rstrip(")") for line in lines if "Store Response" in line]


def hang_up_seen(port: int, content: bytes, seconds: float = 10) -> bytes:
    """Say something to a port; return what it says until it hangs up. TimeoutError if it stays."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as peer:
        peer.settimeout(seconds)
        heard = b""
        try:
            peer.sendall(content)
            while block := peer.recv(4096):
                heard += block
        except (ConnectionResetError, BrokenPipeError):
            pass
        return heard


def fill(pacs: Any, paths: Sequence[Path]) -> None:
    """Put files into an Orthanc through its own upload."""
    for path in paths:
        answer = httpx.post(
            f"{pacs.url}/instances", content=path.read_bytes(), timeout=60, trust_env=False
        )
        answer.raise_for_status()


def stored_raw(port: int, content: bytes, syntax: str = ExplicitVRLittleEndian) -> int:
    """C-STORE `content` as a data set in `syntax`, unread and whatever it is; the status."""
    entity = AE(ae_title=SCANNER)
    entity.dimse_timeout = entity.acse_timeout = entity.network_timeout = 60
    entity.add_requested_context(VL_PHOTOGRAPHIC, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=OURS)
    assert association.is_established
    # As pynetdicom's own senders do: its reactor would take the answer for a request.
    association._reactor_checkpoint.clear()
    wait_until(lambda: association._is_paused, 10, "the reactor pauses")
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = VL_PHOTOGRAPHIC
    request.AffectedSOPInstanceUID = generate_uid()
    request.DataSet = io.BytesIO(content)
    context = association.accepted_contexts[0].context_id
    assert context is not None
    association.dimse.send_msg(request, context)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    if association.is_established:
        association.release()
    assert answer is not None and answer.Status is not None, "no answer"
    return int(answer.Status)


def _read_meta(content: bytes) -> Any:
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(content)
        file.flush()
        return read_file_meta_info(file.name)


def split(content: bytes) -> tuple[bytes, str]:
    """The data set of a Part 10 file and the syntax to offer for it, however broken the file is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meta = _read_meta(content)
    except Exception:
        return content[132:], ExplicitVRLittleEndian
    if "FileMetaInformationGroupLength" not in meta:  # pydicom read none and did not mind
        return content[132:], ExplicitVRLittleEndian
    start = 144 + meta.FileMetaInformationGroupLength
    known = str(meta.TransferSyntaxUID) in TRANSFER_SYNTAXES
    return content[start:], meta.TransferSyntaxUID if known else ExplicitVRLittleEndian


@contextmanager
def worker_process(folder: Path) -> Iterator[None]:
    """A worker and a sweeper as production starts them, over the database of the test."""
    with roles(folder, WBCLAB_SWEEP_SECONDS="0.5", WBCLAB_ENGINE_THREADS="2") as start:
        for role in ("worker", "sweeper"):
            start(role)
        yield
