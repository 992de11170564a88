"""The way out for HL7: one message, one connection, and the wait for its acknowledgement."""

import socket
import ssl
import time
from contextlib import suppress
from typing import Any, Final

from specimens.interop.channels import (
    Channel,
    OutgoingReport,
    Payload,
    PermanentFailure,
    Receipt,
    TemporaryFailure,
    Unreachable,
)
from specimens.interop.hl7.charsets import CODECS, UTF_8
from specimens.interop.hl7.framing import FrameReader, FramingError, frame
from specimens.interop.hl7.message import Message, encode_message, parse_message
from specimens.interop.hl7.refusals import Refused
from specimens.interop.hl7.results import ORU, OUL, Wording, result_rows
from specimens.interop.hl7.tls import client_context, secret_path

ANSWER_LIMIT: Final = 1_000_000
_TEXTS: Final = (
    "sending_application", "sending_facility", "receiving_application", "receiving_facility",
)  # fmt: skip
_SWITCHES: Final = ("details", "pdf", "tls")
_FILES: Final = ("ca_file", "certificate_file", "key_file")
_SETTINGS: Final = frozenset(
    {*_TEXTS, *_SWITCHES, *_FILES, "message", "charset", "processing_id", "timeout_seconds",
     "server_name"}
)  # fmt: skip


class MllpChannel:
    """Sends ORU^R01 or OUL^R22. AA is a receipt; AE is tried again; AR is held for a person."""

    kind = "hl7"

    def problems(self, address: str, settings: dict[str, Any]) -> dict[str, str]:
        found = {name: f"There is no setting “{name}”. There are: {', '.join(sorted(_SETTINGS))}."
                 for name in settings.keys() - _SETTINGS}  # fmt: skip
        if _host_and_port(address) is None:
            found["address"] = "Write host:port, such as his.example.org:2575."
        if settings.get("message", ORU) not in (ORU, OUL):
            found["message"] = f"Must be {ORU} or {OUL}."
        if settings.get("charset", UTF_8) not in CODECS:
            found["charset"] = f"Must be one of {', '.join(CODECS)}."
        if settings.get("processing_id", "P") not in ("P", "T", "D"):
            found["processing_id"] = "Must be P (production), T (training) or D (debugging)."
        timeout = settings.get("timeout_seconds", 30)
        if isinstance(timeout, bool) or not isinstance(timeout, int) or not 1 <= timeout <= 120:
            found["timeout_seconds"] = "Must be a whole number of seconds, 1 to 120."
        for name in (*_TEXTS, *_FILES, "server_name"):
            text = settings.get(name, "")
            if not isinstance(text, str) or len(text) > 180 or not text.isprintable():
                found[name] = "Must be a text of at most 180 printable characters."
        found |= {name: "Must be true or false." for name in _SWITCHES
                  if not isinstance(settings.get(name, False), bool)}  # fmt: skip
        return found | _tls_problems(settings, known=found)

    def render(self, report: OutgoingReport, address: str, settings: dict[str, Any]) -> Payload:
        names = Wording.__dataclass_fields__.keys() & settings.keys()
        rows = result_rows(report, Wording(**{name: settings[name] for name in names}))
        charset = settings.get("charset", UTF_8)
        try:
            content = encode_message(rows, charset=charset)
        except UnicodeEncodeError as error:
            sign = error.object[error.start]
            raise PermanentFailure(
                f"“{sign}” cannot be written in {charset}. Set the character set of the "
                "destination to UNICODE UTF-8, then try again."
            ) from error
        return Payload(content, "x-application/hl7-v2+er7")

    def send(
        self, payload: Payload, message_id: str, address: str, settings: dict[str, Any]
    ) -> Receipt:
        deadline = time.monotonic() + settings.get("timeout_seconds", 30)
        with _connected(address, settings, deadline) as connection:
            try:
                connection.sendall(frame(payload.content))
                answer = _one_message(connection, deadline)
            except TimeoutError:
                raise Unreachable(f"{address} gave no acknowledgement in time.") from None
            except OSError as error:
                text = f"{address} broke the connection off before it answered: {error}"
                raise Unreachable(text) from error
        return judge_acknowledgement(answer, message_id)

    def probe(self, address: str, settings: dict[str, Any]) -> Receipt:
        deadline = time.monotonic() + settings.get("timeout_seconds", 30)
        with _connected(address, settings, deadline) as connection:
            secure = ", TLS" if isinstance(connection, ssl.SSLSocket) else ""
            return Receipt(f"{address} accepts connections{secure}.")


def judge_acknowledgement(raw: bytes, message_id: str) -> Receipt:
    """Return the receipt of a positive acknowledgement; raise what another one means."""
    try:
        message = parse_message(raw)
    except Refused as refusal:
        raise TemporaryFailure(f"The answer is no HL7 message: {refusal.text}") from refusal
    msa = message.first("MSA")
    if msa is None:
        raise TemporaryFailure("The answer has no MSA segment; an acknowledgement was expected.")
    if msa.text(2) != message_id:
        raise TemporaryFailure(
            f"The answer acknowledges message “{msa.text(2)[:40]}”, not {message_id} (MSA-2)."
        )
    answer, why = msa.text(1), _reasons(message)
    if answer in ("AA", "CA"):
        return Receipt(" ".join(text for text in (answer, message.header.control_id, why) if text))
    text = f"The receiver answered {answer or 'nothing in MSA-1'}: {why or 'without a reason'}"
    if answer in ("AR", "CR"):
        raise PermanentFailure(text)
    raise TemporaryFailure(text)


def _reasons(message: Message) -> str:
    """What the receiver says: MSA-3, and of each ERR its texts (2.5) or code (before)."""
    texts = [segment.text(3) for segment in message.all("MSA")]
    for segment in message.all("ERR"):
        texts += [segment.text(8), segment.text(7), segment.text(3, 2), segment.text(1, 4, 2)]
    return "; ".join(dict.fromkeys(text for text in texts if text))[:400]


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not host.isprintable() or any(c in host for c in " /@"):
        return None
    if not port.isdecimal() or not port.isascii() or not 0 < int(port) < 65536:
        return None
    return host, int(port)


def _tls_problems(settings: dict[str, Any], known: dict[str, str]) -> dict[str, str]:
    given = [name for name in _FILES if settings.get(name)]
    if not settings.get("tls"):
        return dict.fromkeys(given, "Is used with TLS only: set tls to true.")
    found = {}
    for name in given:
        if name not in known:
            try:
                secret_path(settings[name])
            except ValueError as error:
                found[name] = str(error)
    if bool(settings.get("certificate_file")) != bool(settings.get("key_file")):
        found["key_file"] = "A client certificate needs both certificate_file and key_file."
    return found


def _connected(address: str, settings: dict[str, Any], deadline: float) -> socket.socket:
    """Return a connection, over TLS where that is set; raises Unreachable or PermanentFailure."""
    where = _host_and_port(address)
    if where is None:
        raise PermanentFailure(f"“{address}” is no address: write host:port.")
    try:
        plain = socket.create_connection(where, timeout=_left(deadline))
    except OSError as error:
        raise Unreachable(f"{address} cannot be reached: {error}") from error
    if not settings.get("tls"):
        return plain
    try:
        context = client_context(settings)
        name = settings.get("server_name") or where[0]
        return context.wrap_socket(plain, server_hostname=name)
    except OSError as error:  # before ValueError: a certificate that is not believed is both
        plain.close()
        reason = getattr(error, "verify_message", "") or str(error)
        raise Unreachable(f"No secure connection to {address}: {reason}") from error
    except ValueError as error:
        plain.close()
        raise PermanentFailure(str(error)) from error


def _one_message(connection: socket.socket, deadline: float) -> bytes:
    """Wait for one frame; raises TimeoutError, TemporaryFailure."""
    reader = FrameReader(ANSWER_LIMIT)
    while True:
        connection.settimeout(_left(deadline))
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError("it was closed")
        try:
            messages = reader.feed(data)
        except FramingError as error:
            raise TemporaryFailure(f"The answer is no MLLP frame: {error}") from error
        if messages:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            return messages[0]


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


CHANNELS: Final[tuple[Channel, ...]] = (MllpChannel(),)
