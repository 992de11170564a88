"""Ways out for structured reports: C-STORE and STOW-RS, as channels of the outbox.

What is kept is the Part 10 file itself; each attempt sends the same SOP instance, so that an
archive which has it already keeps one.
"""

from dataclasses import dataclass
from typing import Any, Final

from specimens.dicom.channel_association import probe_association, store_over_association
from specimens.dicom.channel_settings import store_problems, stow_problems
from specimens.dicom.channel_stow import probe_web, store_over_web
from specimens.dicom.structured_report import structured_report
from specimens.interop.channels import Channel, OutgoingReport, Payload, Receipt

CONTENT_TYPE: Final = "application/dicom"


def _rendered(report: OutgoingReport) -> Payload:
    return Payload(structured_report(report), CONTENT_TYPE)


@dataclass(frozen=True, slots=True)
class StoreChannel:
    """C-STORE (PS3.4 annex B) to host:port. Settings: `called_ae`, `calling_ae`, `tls` with
    `ca_file`, `certificate_file`, `key_file`, `server_name`; `timeout_seconds`.
    """

    kind: str = "dicom_store"

    def problems(self, address: str, settings: dict[str, Any]) -> dict[str, str]:
        return store_problems(address, settings)

    def render(self, report: OutgoingReport, address: str, settings: dict[str, Any]) -> Payload:
        return _rendered(report)

    def send(
        self, payload: Payload, message_id: str, address: str, settings: dict[str, Any]
    ) -> Receipt:
        return store_over_association(payload.content, address, settings)

    def probe(self, address: str, settings: dict[str, Any]) -> Receipt:
        """C-ECHO."""
        return probe_association(address, settings)


@dataclass(frozen=True, slots=True)
class StowChannel:
    """STOW-RS (PS3.18 section 10.5) below https://host/path. Settings: `user` with a password, or
    a bearer token without one, in `secret_env` or `secret_file`; `timeout_seconds`.
    """

    kind: str = "dicom_stow"

    def problems(self, address: str, settings: dict[str, Any]) -> dict[str, str]:
        return stow_problems(address, settings)

    def render(self, report: OutgoingReport, address: str, settings: dict[str, Any]) -> Payload:
        return _rendered(report)

    def send(
        self, payload: Payload, message_id: str, address: str, settings: dict[str, Any]
    ) -> Receipt:
        return store_over_web(payload.content, address, settings)

    def probe(self, address: str, settings: dict[str, Any]) -> Receipt:
        """A search for a study that exists nowhere."""
        return probe_web(address, settings)


CHANNELS: Final[tuple[Channel, ...]] = (StoreChannel(), StowChannel())
