"""The hospital's systems at work: a scanner that stores instances, a HIS that sends orders.

Both do what such systems do: what was not acknowledged is sent again, the same, until it is.
"""

import socket
import time
import uuid
from collections import deque
from typing import Any, Final

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from specimens.interop.hl7.framing import frame
from specimens.interop.hl7.message import parse_message
from tests.chaos.ledger import Ledger
from tests.chaos.load import Client, Entrance, Pictures
from tests.dicom.files import VL_PHOTOGRAPHIC, instance
from tests.interop.hl7_golden import changed, golden
from tests.interop.hl7_listener import receive

SCANNER: Final = "SCANNER"
SUCCESS: Final = 0x0000
# Out of resources, and the failure of an association that broke off: both are sent again.
AGAIN: Final = frozenset({0xA700, None})
_ORDER: Final = golden("orm_o01")


class Scanner(Client):
    """Sends the cells of its slides by C-STORE, a few in each association."""

    pause = 0.3

    def __init__(
        self, entrance: Entrance, ledger: Ledger, pictures: Pictures, seed: int, port: int
    ) -> None:
        super().__init__(entrance, ledger, pictures, seed)
        self.port = port
        self.unsent: deque[Any] = deque()
        self._accession = ""

    def work(self) -> None:
        if not self._accession or self.random.random() < 0.1:
            self._accession = self._new_slide()
        if not self.unsent:
            self.unsent.extend(self._instance() for _ in range(self.random.randint(3, 8)))
        self._associate()

    def finish(self, seconds: float) -> None:
        """Send what is still to be sent, as a scanner does when the network is back."""
        deadline = time.monotonic() + seconds
        while self.unsent and time.monotonic() < deadline:
            self._associate()
        if self.unsent:
            self.ledger.offence(f"{len(self.unsent)} instances were never taken")

    def _new_slide(self) -> str:
        number = f"D{self.seed}-{uuid.uuid4().hex[:8]}"
        with self.http("technician") as http:
            patient = {"identifier": number, "family_name": "Chaos"}
            order = self.ask(http, "order", "POST", "/api/v1/orders", json={"patient": patient})
            body = {"accession_number": number, "order": order.json()["id"]}
            self.ask(http, "specimen", "POST", "/api/v1/specimens", json=body)
        return number

    def _instance(self) -> Any:
        noise = np.random.default_rng(self.random.getrandbits(32))
        pixels = noise.integers(100, 220, (48, 48, 3), np.uint8)
        return instance(pixels, AccessionNumber=self._accession, PatientID=self._accession)

    def _associate(self) -> None:
        entity = AE(ae_title=SCANNER)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
        entity.connection_timeout = 5
        entity.add_requested_context(VL_PHOTOGRAPHIC, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", self.port, ae_title="WBCLAB")
        if not association.is_established:
            self.ledger.count("association refused")
            time.sleep(0.5)
            return
        try:
            while self.unsent and self._store(association):
                pass
        finally:
            if association.is_established:
                association.release()

    def _store(self, association: Any) -> bool:
        """Send the next one; False where the association is of no more use."""
        asked_at, dataset = time.monotonic(), self.unsent[0]
        try:
            status = getattr(association.send_c_store(dataset), "Status", None)
        except (RuntimeError, ValueError):  # it ended before we asked
            status = None
        self.ledger.count(f"C-STORE {'broke off' if status is None else f'{status:04X}'}")
        if status == SUCCESS:
            self.unsent.popleft()
            self.ledger.promise("instance", [str(dataset.SOPInstanceUID)], asked_at)
            return True
        if status not in AGAIN:
            self.unsent.popleft()
            self.ledger.offence(f"C-STORE was answered with {status:04X}")
        time.sleep(0.3)
        return status is not None


class OrderSender(Client):
    """Sends orders over MLLP; without an acknowledgement the same message goes out again."""

    pause = 0.4

    def __init__(
        self, entrance: Entrance, ledger: Ledger, pictures: Pictures, seed: int, port: int
    ) -> None:
        super().__init__(entrance, ledger, pictures, seed)
        self.port = port
        self.unsent = b""

    def work(self) -> None:
        if not self.unsent:
            number = uuid.uuid4().hex[:12]
            self.unsent = changed(_ORDER, **{"ORM-0001": f"M{number}", "ORD-77": f"O{number}"})
        self._send()

    def finish(self, seconds: float) -> None:
        """Send the last one until it is acknowledged."""
        deadline = time.monotonic() + seconds
        while self.unsent and time.monotonic() < deadline:
            self._send()

    def _send(self) -> None:
        asked_at = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
                connection.sendall(frame(self.unsent))
                answer = receive(connection)
        except OSError as error:
            self.ledger.count(f"HL7 {type(error).__name__}")
            time.sleep(0.5)
            return
        found = parse_message(answer).first("MSA") if answer else None
        code = found.text(1) if found else "broke off"
        self.ledger.count(f"HL7 {code}")
        if code == "AA":
            control_id = parse_message(self.unsent).header.control_id
            self.ledger.promise("message", [control_id], asked_at)
            self.unsent = b""
        elif code == "AR":
            self.ledger.offence(f"HL7: refused: {answer!r}")
            self.unsent = b""
        else:
            time.sleep(0.5)


def stop_all(clients: list[Client], seconds: float) -> None:
    """Let each end its round."""
    for client in clients:
        client.stopping.set()
    deadline = time.monotonic() + seconds
    for client in clients:
        client.join(max(0.1, deadline - time.monotonic()))
    stuck = [client.name for client in clients if client.is_alive()]
    if stuck:
        raise TimeoutError(f"clients do not end: {', '.join(stuck)}")
