"""What the DICOM network services have in common: presentation contexts, statuses, TLS.

The presentation contexts are those of docs/dicom-conformance.md; nothing else is negotiated.
"""

import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from classifier.imaging.dicom import (
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    SOP_CLASSES,
    TRANSFER_SYNTAXES,
)

if TYPE_CHECKING:
    from pynetdicom.presentation import PresentationContext

# PS3.7 annex C; those of a refused object are in refusals.py.
SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110

# PS3.5 table 6.2-1, VR AE: 16 characters, no backslash, no control characters, not only spaces.
_AE_TITLE: Final = re.compile(r"[ !-\[\]-~]{1,16}")


def is_ae_title(text: str) -> bool:
    """Tell whether `text` may be an application entity title."""
    return bool(_AE_TITLE.fullmatch(text)) and bool(text.strip())


def storage_contexts() -> "list[PresentationContext]":
    """Verification, and every accepted SOP class with every accepted transfer syntax."""
    # Pages look names up here: they should not wait for pynetdicom.
    from pynetdicom.presentation import build_context
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    uncompressed = [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN]
    contexts = [build_context(Verification, uncompressed)]
    contexts += [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in SOP_CLASSES]
    return contexts


def server_tls(certificate: Path, key: Path, authority: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or later for the listener (PS3.15 B.9); with `authority`, clients need a certificate.

    Raises:
        OSError, ssl.SSLError: a file is missing or does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if authority is not None:
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(
    authority: Path | None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """TLS 1.2 or later towards a PACS; without `authority`, the system's certificates decide."""
    context = ssl.create_default_context(cafile=str(authority) if authority else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context
