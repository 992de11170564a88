"""Webhooks: a result as JSON in a signed request (Standard Webhooks 1.0.0, standardwebhooks.com).

Three headers carry what a receiver needs: `webhook-id` (the message id, the same at each attempt),
`webhook-timestamp` (seconds, of this attempt) and `webhook-signature`: "v1," and the Base64 of the
HMAC-SHA256 over "id.timestamp.body". docs/integration.md shows how to check it.
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import Any, Final

from specimens.interop.channels import (
    Channel,
    OutgoingReport,
    Payload,
    PermanentFailure,
    Receipt,
    read_secret,
)
from specimens.interop.outgoing_http import allowed_hosts, request, url_problem

FORMAT: Final = 1
LEAST_SECRET_BYTES: Final = 16
MOST_SECONDS: Final = 60
KNOWN: Final = frozenset({"secret_env", "secret_file", "body", "timeout_seconds"})
BODIES: Final = ("report", "notice")


def secret_key(text: str) -> bytes:
    """Return the key of a secret: after "whsec_" Base64, else the text itself.

    Raises ValueError where it is malformed or shorter than 16 bytes.
    """
    try:
        encoded = text.startswith("whsec_")
        key = base64.b64decode(text[6:], validate=True) if encoded else text.encode()
    except binascii.Error as error:
        raise ValueError("After whsec_ the secret must be Base64.") from error
    if len(key) < LEAST_SECRET_BYTES:
        raise ValueError(f"The secret must have at least {LEAST_SECRET_BYTES} bytes.")
    return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the signature header for one attempt."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


class WebhookChannel:
    """Settings: `secret_env` or `secret_file`; `body` report (default) or notice, which names the
    specimen's number only; `timeout_seconds`.
    """

    kind = "webhook"

    def problems(self, address: str, settings: dict[str, Any]) -> dict[str, str]:
        """Say what is wrong, by field; the secret must be there already."""
        found = dict.fromkeys(settings.keys() - KNOWN, "There is no such setting.")
        if problem := url_problem(address):
            found["address"] = problem
        try:
            secret_key(_required_secret(settings))
        except ValueError as error:
            found["secret_file" if "secret_file" in settings else "secret_env"] = str(error)
        if settings.get("body", "report") not in BODIES:
            found["body"] = f"Choose one of {', '.join(BODIES)}."
        seconds = settings.get("timeout_seconds", 20)
        number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not number or not 1 <= seconds <= MOST_SECONDS:
            found["timeout_seconds"] = f"A number from 1 to {MOST_SECONDS}."
        return found

    def render(self, report: OutgoingReport, address: str, settings: dict[str, Any]) -> Payload:
        """Return the body: type, id and time of the event, and the report's whole content."""
        specimen = report.content["specimen"]
        data: dict[str, Any] = {
            "accession_number": specimen["accession_number"],
            "placer_number": specimen["placer_number"],
            "report": report.report_id,
            "replaces": report.previous_report_id,
            "version": report.content["version"],
        }
        if settings.get("body", "report") == "report":
            data["content"] = report.content
        body = {
            "format": FORMAT,
            "type": f"report.{report.event}",
            "id": report.message_id,
            "timestamp": report.created_at.isoformat(),
            "data": data,
        }
        return Payload(json.dumps(body, ensure_ascii=False).encode(), "application/json")

    def send(
        self, payload: Payload, message_id: str, address: str, settings: dict[str, Any]
    ) -> Receipt:
        """Sign and post; any 2xx is the receipt."""
        try:
            key = secret_key(_required_secret(settings))
        except ValueError as error:
            raise PermanentFailure(f"It cannot be signed. {error}") from error
        now = int(time.time())
        answer = request(
            "POST",
            address,
            content=payload.content,
            headers={
                "Content-Type": payload.content_type,
                "User-Agent": "wbclab",
                "webhook-id": message_id,
                "webhook-timestamp": str(now),
                "webhook-signature": signature(key, message_id, now, payload.content),
            },
            allowed=allowed_hosts(),
            seconds=float(settings.get("timeout_seconds", 20)),
        )
        return Receipt(f"The receiver answered {answer.status}.")

    def probe(self, address: str, settings: dict[str, Any]) -> Receipt:
        """Post a signed message of type "test"; it carries no data."""
        now = int(time.time())
        body = json.dumps({"format": FORMAT, "type": "test", "id": f"test-{now}", "data": {}})
        return self.send(
            Payload(body.encode(), "application/json"), f"test-{now}", address, settings
        )


def _required_secret(settings: dict[str, Any]) -> str:
    if not (secret := read_secret(settings)):
        raise ValueError("Name a secret: secret_env or secret_file.")
    return secret


CHANNELS: Final[tuple[Channel, ...]] = (WebhookChannel(),)
