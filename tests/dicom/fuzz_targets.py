"""Where mutated files are sent: the reader with its decoder processes, the listener, STOW-RS."""

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE

from classifier.imaging.decode import PreparedImage
from classifier.imaging.dicom import SOP_CLASSES, TRANSFER_SYNTAXES
from classifier.imaging.pool import DecoderPool
from classifier.imaging.refusal import ImageRefused
from specimens.dicom.reader import read_instance
from specimens.dicom.refusals import DicomRefusal
from tests import service as service_module
from tests.dicom.fuzzing import Case, Sample, Tally, samples
from tests.processes import die_with_parent, end, free_port, wait_until
from tests.service import ROOT, Service, running_service

# Far above what any case takes, far below what a hospital would call hanging.
READER_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 30.0
# What may be added by caches and fragments, not by each case.
FLAT_BYTES: Final = 96 * 1024**2
DECODER_SECONDS: Final = 20.0
VERIFICATION: Final = "1.2.840.10008.1.1"


def resident(pid: int | str = "self") -> int:
    """Resident memory of a process, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak(pid: int) -> int:
    """The most resident memory a process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


# --- the reader and the decoder processes ---------------------------------------------------------
class ReaderTarget:
    """Every case through the reader, then through a decoder process, whatever the reader said."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "case.dcm"
        self.tally = Tally()
        self.decoded = Tally()
        self.pool = DecoderPool(1, timeout_s=DECODER_SECONDS)
        self.deaths = 0
        self.decoder_peak = 0

    def run(self, cases: Iterable[Case]) -> None:
        """Run them; what breaks the promise is in `failures` of the tallies."""
        with self.pool:
            for one in cases:
                self.path.write_bytes(one.data)
                self._read(one)
                self._decode(one)

    def _read(self, one: Case) -> None:
        began = time.monotonic()
        try:
            read_instance(self.path)
            outcome = "accepted"
        except DicomRefusal as refusal:
            outcome = refusal.code
            if not refusal.text or not refusal.dicom_status:
                self.tally.fail(one, f"a refusal without a reason: {refusal!r}")
        except Exception as error:
            outcome = "raised"
            self.tally.fail(one, f"the reader raised {error!r}")
        seconds = time.monotonic() - began
        self.tally.add(one, outcome, seconds)
        if seconds > READER_SECONDS:
            self.tally.fail(one, f"the reader took {seconds:.1f} s")

    def _decode(self, one: Case) -> None:
        before = self.pool.pids[0]
        began = time.monotonic()
        (answer,) = self.pool.prepare([(self.path, None, 1)])
        seconds = time.monotonic() - began
        outcome: str
        if isinstance(answer, ImageRefused):
            outcome = answer.code
        else:
            outcome = "decoded"
            if not isinstance(answer, PreparedImage) or answer.pixels.shape != (128, 128, 3):
                self.decoded.fail(one, f"a decoder answered {answer!r}")
        self.decoded.add(one, outcome, seconds)
        if seconds > 2 * DECODER_SECONDS:
            self.decoded.fail(one, f"the decoder took {seconds:.1f} s")
        pid = self.pool.pids[0]
        self.deaths += pid != before
        self.decoder_peak = max(self.decoder_peak, peak(pid))


def run_reader(cases: Iterable[Case], kept: Path) -> int:
    """Run the cases through the reader; print figures; keep and count the failures."""
    with tempfile.TemporaryDirectory() as folder:
        target = ReaderTarget(Path(folder))
        queue = iter(cases)
        target.run(_first(queue, 500))
        at_start = resident()
        target.run(queue)
        grown = resident() - at_start
    for name, tally in (("reader", target.tally), ("decoder", target.decoded)):
        _report(name, tally, kept)
    _say(
        f"decoder processes replaced: {target.deaths}; their peak "
        f"{target.decoder_peak / 1024**2:.0f} MB; reader grown by {grown / 1024**2:.1f} MB"
    )
    failures = len(target.tally.failures) + len(target.decoded.failures)
    return failures + (grown > FLAT_BYTES)


def _first(cases: Iterator[Case], count: int) -> Iterator[Case]:
    for _, one in zip(range(count), cases, strict=False):
        yield one


# --- listener and STOW-RS -------------------------------------------------------------------------
@contextmanager
def running_targets(home: Path) -> Iterator["NetworkTarget"]:
    """The whole service and a listener beside it, over one database."""
    port = free_port()
    environment = {
        "WBCLAB_DICOM_PORT": str(port),
        "WBCLAB_DICOM_PEERS": "*",
        "WBCLAB_DICOM_SITE": "",
    }
    # A day of fuzzing goes on beside other work: a slow start is no finding.
    service_module.START_SECONDS = 900
    with (
        running_service(home, **environment) as service,
        (home / "listener.log").open("ab") as log,
    ):
        own = {"WBCLAB_HOME": str(home), **environment}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("WBCLAB_")}
        process = subprocess.Popen(
            [sys.executable, "manage.py", "dicom_listener"],
            cwd=ROOT, env=inherited | own, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=die_with_parent(),
        )  # fmt: skip
        try:
            target = NetworkTarget(service, process, port)
            wait_until(target.echoes, 300, "the listener answers")
            yield target
        finally:
            end(process, signal.SIGTERM, seconds=20)


class NetworkTarget:
    """A listener and a web server, and how damaged files get there."""

    def __init__(self, service: Service, listener: "subprocess.Popen[bytes]", port: int) -> None:
        self.service = service
        self.listener = listener
        self.port = port
        self.stored, self.posted = Tally(), Tally()
        self._client = httpx.Client(timeout=ANSWER_SECONDS, trust_env=False)
        self._association: Any = None

    def echoes(self) -> bool:
        """Whether the listener answers a C-ECHO."""
        entity = AE(ae_title="FUZZER")
        entity.add_requested_context(VERIFICATION)
        association = entity.associate("127.0.0.1", self.port, ae_title="WBCLAB")
        if not association.is_established:
            return False
        status = association.send_c_echo()
        association.release()
        return "Status" in status and status.Status == 0

    def store(self, one: Case) -> None:
        """C-STORE: the damaged data set as raw bytes, under the valid file's transfer syntax."""
        sample = _sample_of(one)
        if len(one.data) <= sample.start:
            return  # cut off inside the file meta information: there is no data set to send
        began = time.monotonic()
        status = self._store(sample, one.data[sample.start :])
        seconds = time.monotonic() - began
        self.stored.add(one, "no answer" if status is None else f"0x{status:04X}", seconds)
        if status is None:
            self.stored.fail(one, f"no status after {seconds:.1f} s")
        if seconds > ANSWER_SECONDS:
            self.stored.fail(one, f"the listener took {seconds:.1f} s")

    def _store(self, sample: Sample, data_set: bytes) -> int | None:
        association = self._associated()
        sop_class, syntax, uid = _identity(sample)
        contexts = [
            c for c in association.accepted_contexts
            if c.abstract_syntax == sop_class and c.transfer_syntax[0] == syntax
        ]  # fmt: skip
        request = C_STORE()
        request.MessageID = 1
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, uid
        request.Priority = 2
        request.DataSet = io.BytesIO(data_set)
        # As Association.send_c_store does, which would not send bytes that are no data set.
        association._reactor_checkpoint.clear()
        while not association._is_paused:
            time.sleep(0.001)
        association.dimse.send_msg(request, contexts[0].context_id)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        return None if answer is None else int(answer.Status)

    def _associated(self) -> Any:
        if self._association is None or not self._association.is_established:
            entity = AE(ae_title="FUZZER")
            entity.dimse_timeout = entity.network_timeout = ANSWER_SECONDS
            for sop_class in SOP_CLASSES:
                for syntax in TRANSFER_SYNTAXES:
                    entity.add_requested_context(sop_class, syntax)
            self._association = entity.associate("127.0.0.1", self.port, ae_title="WBCLAB")
        return self._association

    def post(self, one: Case) -> None:
        """STOW-RS: the damaged file as the one part of a request."""
        body = b"--frontier\r\nContent-Type: application/dicom\r\n\r\n" + one.data
        began = time.monotonic()
        answer = self._client.post(
            f"{self.service.url}/dicom-web/studies",
            content=body + b"\r\n--frontier--\r\n",
            headers={
                "Content-Type": 'multipart/related; type="application/dicom"; boundary=frontier',
                "Authorization": f"Bearer {self.service.token}",
                "Accept": "application/dicom+json",
            },
        )
        seconds = time.monotonic() - began
        self.posted.add(one, _reason(answer), seconds)
        if answer.status_code not in (200, 202, 400, 409):
            self.posted.fail(one, f"{answer.status_code}: {answer.text[:500]}")

    def close(self) -> None:
        """Let go of association and connections."""
        if self._association is not None and self._association.is_established:
            self._association.release()
        self._client.close()

    def processes(self) -> dict[str, int]:
        """Process ids of web server and listener."""
        return {"web": self.service.processes()["web"], "listener": self.listener.pid}


def _reason(answer: httpx.Response) -> str:
    """Status and failure reason of a Store Instances Response."""
    text, body = str(answer.status_code), answer.json()
    if "00081198" in body:
        return f"{text} 0x{body['00081198']['Value'][0]['00081197']['Value'][0]:04X}"
    return f"{text} {body.get('code', '')}".strip()


def _sample_of(one: Case) -> Sample:
    return next(sample for sample in samples() if sample.name == one.sample)


def _identity(sample: Sample) -> tuple[str, str, str]:
    from pydicom import dcmread

    meta = dcmread(io.BytesIO(sample.data), stop_before_pixels=True).file_meta
    return (
        str(meta.MediaStorageSOPClassUID),
        str(meta.TransferSyntaxUID),
        str(meta.MediaStorageSOPInstanceUID),
    )


def run_network(cases: Sequence[Case], kept: Path) -> int:
    """Send the cases to a running service both ways; print figures; keep and count failures."""
    with tempfile.TemporaryDirectory() as folder, running_targets(Path(folder)) as target:
        failures = storm(target, cases)
        for name, tally in (("C-STORE", target.stored), ("STOW-RS", target.posted)):
            _report(name, tally, kept)
    return failures


def storm(target: NetworkTarget, cases: Sequence[Case]) -> int:
    """Send the cases, then look whether listener and web are what they were; count what is not."""
    before = target.processes()
    memory: dict[str, int] = {}
    try:
        for number, one in enumerate(cases):
            target.store(one)
            target.post(one)
            if number == min(200, len(cases) // 2):
                memory = {name: resident(pid) for name, pid in before.items()}
    finally:
        target.close()
    problems = len(target.stored.failures) + len(target.posted.failures)
    problems += not target.echoes()
    problems += target.processes() != before
    health = httpx.get(f"{target.service.url}/api/health", timeout=30, trust_env=False)
    problems += health.status_code != 200
    grown = {name: resident(pid) - memory[name] for name, pid in before.items()}
    _say("grown: " + ", ".join(f"{k} {v / 1024**2:.1f} MB" for k, v in grown.items()))
    return problems + sum(amount > FLAT_BYTES for amount in grown.values())


def _report(name: str, tally: Tally, kept: Path) -> None:
    counts = ", ".join(f"{outcome} {count}" for outcome, count in tally.outcomes.most_common())
    _say(
        f"{name}: {tally.outcomes.total()} cases: {counts}; slowest {tally.slowest:.2f} s "
        f"(case {tally.slowest_case}); {len(tally.failures)} failures"
    )
    if tally.failures:
        tally.keep(kept)
        _say(f"kept in {kept}: cases {[one.number for one, _ in tally.failures][:20]}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
