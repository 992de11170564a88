"""TLS for MLLP: what is trusted and what is shown, from files; never an unverified connection."""

import os
import ssl
from pathlib import Path
from typing import Any


def secret_path(name: str) -> Path:
    """Return a file of WBCLAB_DELIVERY_SECRETS_DIR (/run/secrets).

    Raises ValueError, with a text for people, where it is not there: a configuration made on a
    page must not reach any other file.
    """
    folder = Path(os.environ.get("WBCLAB_DELIVERY_SECRETS_DIR", "/run/secrets")).resolve()
    path = (folder / name).resolve()
    if path.parent != folder:
        raise ValueError(f"The file must lie in {folder}; give its name only.")
    if not path.is_file():
        raise ValueError(f"{path} is not there.")
    return path


def client_context(settings: dict[str, Any]) -> ssl.SSLContext:
    """Trust `ca_file` (else the system's authorities), show `certificate_file` where asked.

    Raises ValueError for files that cannot be used.
    """
    authorities = settings.get("ca_file")
    try:
        context = ssl.create_default_context(
            cafile=str(secret_path(authorities)) if authorities else None
        )
        if settings.get("certificate_file"):
            context.load_cert_chain(
                secret_path(settings["certificate_file"]), secret_path(settings["key_file"])
            )
    except OSError as error:
        raise ValueError(f"The certificates cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def server_context(certificate: Path, key: Path, client_authorities: Path | None) -> ssl.SSLContext:
    """Show `certificate`; with `client_authorities` only clients certified by them get in.

    Raises OSError for files that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if client_authorities is not None:
        context.load_verify_locations(client_authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
