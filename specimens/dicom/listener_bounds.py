"""Bounds that pynetdicom does not set: on a PDU, a command, a data set, a slow or greedy sender.

A data set goes to disk as its fragments arrive. pynetdicom offers that as well
(STORE_RECV_CHUNKED_DATASET), but without a limit, and leaves the file behind where the association
breaks; its places for such a file (`_data_set_file`) are used here with a file of our own.
"""

import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

logger = logging.getLogger(__name__)

SPOOL_PREFIX: Final = ".c-store-"
# What we tell a sender (PS3.8 D.1); the association request itself may be longer.
MAXIMUM_PDU_BYTES: Final = 128 * 1024
LARGEST_PDU_BYTES: Final = 1024 * 1024
# Commands, and data sets of other messages than C-STORE, have a few hundred bytes.
LARGEST_COMMAND_BYTES: Final = 64 * 1024
# Behind its limit a data set is thrown away up to here, so that the sender gets to our answer.
PATIENCE: Final = 4
# Asynchronous operations are never negotiated: a sender waits for the answer (PS3.7 D.3.3.3).
WAITING_MESSAGES: Final = 2


class ProtocolViolation(Exception):
    """The peer did what the protocol or our bounds forbid; the association is aborted."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one association may take: bytes of an instance, seconds for a PDU and for an instance.

    `folder` is where data sets lie until they are imported.
    """

    folder: Path
    instance_bytes: int
    pdu_seconds: float
    instance_seconds: float


class BoundedSocket(AssociationSocket):
    """Reads a PDU within a size and a time, however slowly it drips."""

    pdu_seconds: float = 30.0

    def recv(self, nr_bytes: int) -> bytearray:
        """Read `nr_bytes`, fewer where the peer hung up.

        Raises:
            OSError: too many, or not there in time; the connection is then closed.
        """
        if nr_bytes > LARGEST_PDU_BYTES:
            raise OSError(f"a PDU of {nr_bytes} bytes was announced")
        received = bytearray()
        deadline = time.monotonic() + self.pdu_seconds
        connection = self.socket
        if connection is None:
            return received
        while len(received) < nr_bytes:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            block = connection.recv(min(65536, nr_bytes - len(received)))
            if not block:
                break
            received += block
        connection.settimeout(self.pdu_seconds)
        _acknowledge(connection)
        return received


def _acknowledge(connection: socket.socket) -> None:
    """Send the TCP acknowledgement now: senders with Nagle's algorithm on wait 40 ms for it."""
    if hasattr(socket, "TCP_QUICKACK"):  # Linux
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class Spool:
    """A data set on its way to disk, as a file of PS3.10: meta information, then what arrives.

    Never raises while it is written: what went wrong is in `failure`, and the rest is thrown away.
    """

    def __init__(self, bounds: Bounds, meta: FileMetaDataset) -> None:
        self._bounds = bounds
        self._deadline = time.monotonic() + bounds.instance_seconds
        self._received = 0
        self._out: IO[bytes] | None = None
        self.failure: OSError | None = None
        self.is_oversized = False
        self.name = ""
        try:
            descriptor, self.name = tempfile.mkstemp(prefix=SPOOL_PREFIX, dir=bounds.folder)
            self._out = os.fdopen(descriptor, "wb")
            self._out.write(bytes(128) + b"DICM")
            write_file_meta_info(cast("Any", self._out), meta)
        except OSError as error:
            self._fail(error)
        except BaseException:  # the command named something that is no UID
            self.discard()
            raise

    @property
    def file(self) -> "Spool":
        """What pynetdicom flushes after each fragment: nothing to do, `finish` does it once."""
        return self

    def flush(self) -> None:
        """Do nothing; see `file`."""

    def write(self, fragment: bytes) -> int:
        """Take a fragment.

        Raises:
            ProtocolViolation: the sender goes on and on, in bytes or in time.
        """
        self._received += len(fragment)
        if self._received > self._bounds.instance_bytes:
            self.is_oversized = True
            self._give_up()
        if self._received > PATIENCE * self._bounds.instance_bytes:
            raise ProtocolViolation("An instance far above the limit was sent on and on.")
        if time.monotonic() > self._deadline:
            raise ProtocolViolation(
                f"One instance took more than {self._bounds.instance_seconds:g} s to arrive."
            )
        try:
            if self._out is not None:
                self._out.write(fragment)
        except OSError as error:
            self._fail(error)
        return len(fragment)

    def finish(self) -> Path:
        """Put the file on disk for good.

        Raises:
            OSError: it could not be written.
        """
        if self.failure is not None or self._out is None:
            raise self.failure or OSError("the data set was not kept")
        self._out.flush()
        os.fsync(self._out.fileno())
        self.close()
        return Path(self.name)

    def close(self) -> None:
        """Close the file, kept or not."""
        out, self._out = self._out, None
        if out is not None:
            try:
                out.close()
            except OSError as error:  # what is still in the buffer finds no room either
                self.failure = self.failure or error

    def discard(self) -> None:
        """Close and delete the file."""
        self.close()
        name, self.name = self.name, ""
        if name:
            Path(name).unlink(missing_ok=True)

    def _fail(self, error: OSError) -> None:
        self.failure = error
        self._give_up()

    def _give_up(self) -> None:
        """Free the disk at once; later fragments go nowhere."""
        self.discard()


class BoundedDimse(DIMSEServiceProvider):
    """Takes messages apart fragment by fragment, within bounds; C-STORE data sets go to disk."""

    def __init__(
        self, assoc: Association, bounds: Bounds, on_violation: Callable[[str], None]
    ) -> None:
        super().__init__(assoc)
        self._bounds = bounds
        self._on_violation = on_violation
        self._spools: list[Spool] = []
        self._received = 0  # bytes of the present message that are held in memory

    @property
    def is_receiving(self) -> bool:
        """Whether a message is under way or waits to be served."""
        return self.message is not None or not self.msg_queue.empty()

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of one P-DATA one by one; abort where a bound is broken."""
        try:
            for context_id, data in primitive.presentation_data_value_list:
                self._check(context_id, data)
                fragment = P_DATA()
                fragment.presentation_data_value_list = cast("Any", [[context_id, data]])
                super().receive_primitive(fragment)
                self._divert(context_id)
        except ProtocolViolation as violation:
            self._abort(str(violation))
        except Exception:  # pydicom and pynetdicom raise all sorts over a garbled command
            logger.info("a garbled message was received", exc_info=True)
            self._abort("A message could not be read.")

    def discard_spools(self) -> None:
        """Delete what is left of data sets that nobody handled: the association broke."""
        for spool in self._spools:
            spool.discard()
        self._spools.clear()

    def _check(self, context_id: int, data: bytes) -> None:
        if context_id not in self.assoc._accepted_cx:
            raise ProtocolViolation("A message came in a presentation context that was not agreed.")
        if self.message is None:
            self._received = 0
            if self.msg_queue.qsize() >= WAITING_MESSAGES:
                raise ProtocolViolation("Messages were sent without waiting for the answers.")
        if not data:
            raise ProtocolViolation("An empty fragment was sent.")
        is_data_set = not data[0] & 1
        if is_data_set and self.message is None:
            raise ProtocolViolation("A data set came without its command.")
        if is_data_set and getattr(self.message, "_data_set_file", None) is not None:
            return  # the spool has its own limit
        self._received += len(data)
        if self._received > LARGEST_COMMAND_BYTES:
            raise ProtocolViolation("A command was longer than any command is.")

    def _divert(self, context_id: int) -> None:
        """Let the data set that belongs to a C-STORE command, just completed, go to disk."""
        message: Any = self.message
        if not isinstance(message, C_STORE_RQ) or message._data_set_file is not None:
            return
        spool = Spool(self._bounds, self._meta_of(message, context_id))
        self._spools = [*(kept for kept in self._spools if kept.name), spool]
        cast("Any", message)._data_set_file = spool

    def _meta_of(self, message: C_STORE_RQ, context_id: int) -> FileMetaDataset:
        command = message.command_set
        meta = FileMetaDataset()
        meta.FileMetaInformationVersion = b"\0\1"
        meta.MediaStorageSOPClassUID = UID(command.AffectedSOPClassUID)
        meta.MediaStorageSOPInstanceUID = UID(command.AffectedSOPInstanceUID)
        syntax = self.assoc._accepted_cx[context_id].transfer_syntax[0]
        meta.TransferSyntaxUID = syntax
        meta.ImplementationClassUID = PYNETDICOM_IMPLEMENTATION_UID
        return meta

    def _abort(self, text: str) -> None:
        self._on_violation(text)
        self.dul.event_queue.put("Evt19")  # PS3.8 table 9-10: A-ABORT by the provider
