"""C-STORE and C-ECHO as a service class user (PS3.4 annexes A and B, PS3.7 section 9.1)."""

import io
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association

from specimens.dicom.channel_settings import calling_ae, host_and_port, seconds
from specimens.dicom.rejection import Rejection
from specimens.dicom.structured_report import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from specimens.interop.channels import (
    DeliveryFailure,
    PermanentFailure,
    Receipt,
    TemporaryFailure,
    Unreachable,
)
from specimens.interop.hl7.tls import client_context

VERIFICATION: Final = "1.2.840.10008.1.1"
# The explicit one first: an archive that takes both keeps the file as it was signed.
_SYNTAXES: Final = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]

SUCCESS: Final = 0x0000
DUPLICATE: Final = 0x0111
PROCESSING_FAILURE: Final = 0x0110
# PS3.7 annex C and PS3.4 table B.2-1: stored, though not as it was sent.
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})
_TRANSIENT: Final = 2  # PS3.8 table 9-21, result of a rejection


def store_over_association(content: bytes, address: str, settings: dict[str, Any]) -> Receipt:
    """Send one instance, a Part 10 file of our own making.

    Raises Unreachable, TemporaryFailure or PermanentFailure.
    """
    dataset = dcmread(io.BytesIO(content))
    with _association(address, settings, str(dataset.SOPClassUID)) as association:
        status = association.send_c_store(dataset)
    return judge_status(status, str(settings.get("called_ae")))


def probe_association(address: str, settings: dict[str, Any]) -> Receipt:
    """C-ECHO; raises like `store_over_association`."""
    with _association(address, settings, VERIFICATION) as association:
        status = association.send_c_echo()
    if "Status" not in status:
        raise Unreachable(f"{address} gave no answer to the C-ECHO.")
    if status.Status != SUCCESS:
        raise TemporaryFailure(f"{address} answered the C-ECHO with 0x{status.Status:04X}.")
    return Receipt(f"{settings.get('called_ae')} answered the C-ECHO.")


def judge_status(status: Dataset, receiver: str) -> Receipt:
    """Return the receipt of a stored instance; raise what another status means (PS3.4 B.2.3)."""
    if "Status" not in status:
        raise Unreachable(f"{receiver} broke off before it answered the C-STORE.")
    code = int(status.Status)
    comment = " ".join(str(status.get("ErrorComment", "")).split())
    said = f"{receiver} answered 0x{code:04X}" + (f" ({comment[:120]})" if comment else "")
    if code == SUCCESS:
        return Receipt(f"{said}: stored.")
    if code == DUPLICATE:
        return Receipt(f"{said}: it has the document already.")
    if code in _WARNINGS or code >> 12 == 0xB:
        return Receipt(f"{said}: stored, with a warning.")
    if code >> 8 == 0xA7:
        raise TemporaryFailure(f"{said}: it is out of resources.")
    if code == PROCESSING_FAILURE:
        raise TemporaryFailure(f"{said}: it could not process the document.")
    raise PermanentFailure(f"{said}: it does not take this document. Ask who runs the archive.")


@contextmanager
def _association(address: str, settings: dict[str, Any], sop_class: str) -> Iterator[Association]:
    """An association with one presentation context; released, or aborted behind an error."""
    where = host_and_port(address)
    if where is None:
        raise PermanentFailure(f"“{address}” is no address: write host:port.")
    tls = _tls(settings, where[0])
    _knock(where, address, tls, seconds(settings))
    sockets: list[socket.socket] = []
    rejection = Rejection()
    association = _entity(settings, sop_class).associate(
        *where,
        ae_title=str(settings.get("called_ae", "")),
        tls_args=tls,
        evt_handlers=[
            (evt.EVT_CONN_OPEN, lambda e: sockets.append(e.assoc.dul.socket.socket)),
            rejection.handler,
        ],
    )
    try:
        if not association.is_established:
            raise _refusal(association, rejection.answer, address)
        yield association
    except BaseException:
        if association.is_established:
            association.abort()
        raise
    finally:
        if association.is_established:
            association.release()
        for one in sockets:
            one.close()  # where the other side was first to leave, pynetdicom forgets to


def _entity(settings: dict[str, Any], sop_class: str) -> AE:
    entity = AE(ae_title=calling_ae(settings))
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION
    limit = seconds(settings)
    entity.connection_timeout = min(10.0, limit)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = limit
    entity.add_requested_context(sop_class, _SYNTAXES)
    return entity


def _tls(settings: dict[str, Any], host: str) -> tuple[ssl.SSLContext, str] | None:
    if not settings.get("tls"):
        return None
    try:
        return client_context(settings), str(settings.get("server_name") or host)
    except ValueError as error:
        raise PermanentFailure(str(error)) from error


def _knock(
    where: tuple[str, int], address: str, tls: tuple[ssl.SSLContext, str] | None, limit: float
) -> None:
    """See whether somebody listens there, and with which certificate.

    pynetdicom does not say why it could not connect, and leaves its socket open then. Raises
    Unreachable with the reason.
    """
    try:
        with socket.create_connection(where, min(10.0, limit)) as plain:
            if tls is not None:
                context, name = tls
                context.wrap_socket(plain, server_hostname=name).close()
    except OSError as error:
        reason = getattr(error, "verify_message", "") or error.strerror or str(error)
        text = f"{address} cannot be reached{' by TLS' if tls else ''}: {reason}."
        raise Unreachable(text) from error


def _refusal(association: Association, answer: Any, address: str) -> DeliveryFailure:
    """Why there is no association (PS3.8 section 9.3.4)."""
    if answer is not None:
        text = f"{address} rejected the association: {answer.reason_str}."
        if answer.result == _TRANSIENT:
            return TemporaryFailure(text)
        return PermanentFailure(f"{text} Check the AE titles on both sides.")
    if association.rejected_contexts:
        return PermanentFailure(f"{address} takes no objects of this kind (SOP class or coding).")
    return Unreachable(f"{address} took the connection and then broke it off, or asks for TLS.")
