"""STOW-RS as a user agent (PS3.18 section 10.5): one instance in one request."""

import base64
import hashlib
import json
from typing import Any, Final

from specimens.dicom.channel_association import DUPLICATE, PROCESSING_FAILURE
from specimens.dicom.channel_settings import seconds
from specimens.dicom.stable_uids import stable_uid
from specimens.interop.channels import (
    PermanentFailure,
    Receipt,
    TemporaryFailure,
    read_secret,
)
from specimens.interop.outgoing_http import Answer, allowed_hosts, request

DICOM_JSON: Final = "application/dicom+json"
# PS3.18 table 10.5.3-1: these carry a Store Instances Response, which says more than the status.
_WITH_RESPONSE: Final = frozenset({202, 409})
_NOT_THE_QUERY_ITSELF: Final = frozenset({400, 404, 405, 406, 501})
_REFERENCED, _FAILED, _OTHER_FAILURES = "00081199", "00081198", "0008119A"
_FAILURE_REASON, _WARNING_REASON = "00081197", "00081196"


def store_over_web(content: bytes, address: str, settings: dict[str, Any]) -> Receipt:
    """Post one instance to `address`/studies.

    Raises Unreachable, TemporaryFailure or PermanentFailure.
    """
    # From the content: the same bytes at each attempt, and no boundary that stands in them.
    boundary = f"wbclab-{hashlib.sha256(content).hexdigest()[:40]}"
    body = (
        f"--{boundary}\r\nContent-Type: application/dicom\r\n"
        f"Content-Length: {len(content)}\r\n\r\n".encode()
        + content
        + f"\r\n--{boundary}--\r\n".encode()
    )
    answer = request(
        "POST",
        _below(address, "studies"),
        content=body,
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": DICOM_JSON,
            **_authorization(settings),
        },
        allowed=allowed_hosts(),
        seconds=seconds(settings),
        judged_by_caller=_WITH_RESPONSE,
    )
    return judge_store_response(answer)


def probe_web(address: str, settings: dict[str, Any]) -> Receipt:
    """Search for a study that exists nowhere: whatever is answered to it, somebody answers."""
    answer = request(
        "GET",
        _below(address, f"studies?limit=1&StudyInstanceUID={stable_uid('probe')}"),
        headers={"Accept": DICOM_JSON, **_authorization(settings)},
        allowed=allowed_hosts(),
        seconds=seconds(settings),
        judged_by_caller=_NOT_THE_QUERY_ITSELF,
    )
    return Receipt(f"The archive answered {answer.status}.")


def judge_store_response(answer: Answer) -> Receipt:
    """Return the receipt of a stored instance; raise what the response says otherwise."""
    found = _response(answer)
    said = f"The archive answered {answer.status}"
    failures = _items(found, _FAILED) + _items(found, _OTHER_FAILURES)
    if failures:
        return _judge_failure(_number(failures[0], _FAILURE_REASON), said)
    if answer.status == 409:
        raise PermanentFailure(f"{said}: it stored nothing, and does not say why.")
    warnings = [_number(item, _WARNING_REASON) for item in _items(found, _REFERENCED)]
    if any(warnings):
        return Receipt(f"{said}: stored, with warning 0x{max(warnings):04X}.")
    return Receipt(f"{said}: stored.")


def _judge_failure(reason: int, said: str) -> Receipt:
    """Raise what a Failure Reason (0008,1197) means; one that says “already there” is none."""
    text = f"{said}, failure 0x{reason:04X}"
    if reason == DUPLICATE:
        return Receipt(f"{text}: it has the document already.")
    if reason >> 8 == 0xA7 or reason == PROCESSING_FAILURE:
        raise TemporaryFailure(f"{text}: it cannot store the document now.")
    raise PermanentFailure(f"{text}: it does not take this document.")


def _below(address: str, path: str) -> str:
    return f"{address.rstrip('/')}/{path}"


def _authorization(settings: dict[str, Any]) -> dict[str, str]:
    """Basic with a user name, Bearer without; nothing where no secret is named."""
    try:
        secret = read_secret(settings)
    except ValueError as error:
        raise PermanentFailure(str(error)) from error
    if not secret:
        return {}
    if user := settings.get("user"):
        pair = base64.b64encode(f"{user}:{secret}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {"Authorization": f"Bearer {secret}"}


def _response(answer: Answer) -> dict[str, Any]:
    """The Store Instances Response Module (PS3.18 annex F); {} where a proxy has answered."""
    try:
        found = json.loads(answer.content or b"{}")
    except ValueError:
        return {}
    if isinstance(found, list) and found:
        found = found[0]
    return found if isinstance(found, dict) else {}


def _items(found: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    element = found.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [item for item in values or [] if isinstance(item, dict)]


def _number(item: dict[str, Any], tag: str) -> int:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if values and isinstance(values[0], int) else 0
