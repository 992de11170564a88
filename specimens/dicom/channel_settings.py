"""What a destination of kind dicom_store or dicom_stow may be configured with."""

from typing import Any, Final

from django.conf import settings as django_settings

from specimens.dicom.network import is_ae_title
from specimens.interop.channels import read_secret
from specimens.interop.hl7.tls import secret_path
from specimens.interop.outgoing_http import url_problem

MOST_SECONDS: Final = 120
_FILES: Final = ("ca_file", "certificate_file", "key_file")
_STORE: Final = frozenset(
    {"called_ae", "calling_ae", "tls", "server_name", "timeout_seconds", *_FILES}
)
_STOW: Final = frozenset({"user", "secret_env", "secret_file", "timeout_seconds"})


def seconds(settings: dict[str, Any]) -> float:
    """Return how long one attempt may take."""
    return float(settings.get("timeout_seconds", 30))


def calling_ae(settings: dict[str, Any]) -> str:
    """Return the AE title we call ourselves by: the destination's own, else the platform's."""
    return str(settings.get("calling_ae") or django_settings.DICOM_AE_TITLE)


def host_and_port(address: str) -> tuple[str, int] | None:
    """Read host:port, an IPv6 address in brackets; None where it is neither."""
    host, colon, port = address.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not host.isprintable() or any(c in host for c in " /@"):
        return None
    if not port.isdecimal() or not port.isascii() or not 0 < int(port) < 65536:
        return None
    return host, int(port)


def store_problems(address: str, settings: dict[str, Any]) -> dict[str, str]:
    """Say what is wrong with a C-STORE destination, by field."""
    found = _common_problems(settings, _STORE)
    if host_and_port(address) is None:
        found["address"] = "Write host:port, such as pacs.example.org:104."
    if not is_ae_title(str(settings.get("called_ae", ""))):
        found["called_ae"] = "The AE title of the archive is needed: 1 to 16 plain characters."
    if "calling_ae" in settings and not is_ae_title(calling_ae(settings)):
        found["calling_ae"] = "An AE title has 1 to 16 plain characters, no backslash."
    if not isinstance(settings.get("tls", False), bool):
        found["tls"] = "Must be true or false."
    return found | _file_problems(settings)


def stow_problems(address: str, settings: dict[str, Any]) -> dict[str, str]:
    """Say what is wrong with a STOW-RS destination, by field; the secret must be there already."""
    found = _common_problems(settings, _STOW)
    if problem := url_problem(address):
        found["address"] = problem
    user = settings.get("user", "")
    if not isinstance(user, str) or ":" in user or not user.isprintable():
        found["user"] = "A user name without a colon."
    try:
        secret = read_secret(settings)
    except ValueError as error:
        found["secret_file" if settings.get("secret_file") else "secret_env"] = str(error)
    else:
        if user and not secret:
            found["user"] = "Its password is needed too: name it by secret_file or secret_env."
    return found


def _common_problems(settings: dict[str, Any], known: frozenset[str]) -> dict[str, str]:
    there_are = ", ".join(sorted(known))
    found = dict.fromkeys(
        settings.keys() - known, f"There is no such setting. There are: {there_are}."
    )
    given = settings.get("timeout_seconds", 30)
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not 1 <= given <= MOST_SECONDS:
        found["timeout_seconds"] = f"A number from 1 to {MOST_SECONDS}."
    return found


def _file_problems(settings: dict[str, Any]) -> dict[str, str]:
    given = [name for name in _FILES if settings.get(name)]
    if not settings.get("tls"):
        return dict.fromkeys(given, "Is used with TLS only: set tls to true.")
    found = {}
    for name in given:
        try:
            secret_path(str(settings[name]))
        except ValueError as error:
            found[name] = str(error)
    if bool(settings.get("certificate_file")) != bool(settings.get("key_file")):
        found["key_file"] = "A client certificate needs both certificate_file and key_file."
    return found
