"""Pushing results to a FHIR server: one transaction for each version, the same however often sent.

Settings: `token_env` or `token_file` (bearer token), `timeout_seconds`, `pdf` (false: without the
document), `provenance` (false for servers that let clients choose no ids), `systems` (URIs of
identifiers where they differ from WBCLAB_FHIR_SYSTEMS).
"""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings as django_settings

from specimens.interop.channels import (
    Channel,
    OutgoingReport,
    Payload,
    PermanentFailure,
    Receipt,
    TemporaryFailure,
    read_secret,
)
from specimens.interop.fhir.bundles import case_resources, transaction
from specimens.interop.fhir.case import EVENTS, CaseResult
from specimens.interop.fhir.naming import Systems, systems_problem
from specimens.interop.fhir.wire import MEDIA_TYPE, from_json, to_json
from specimens.interop.outgoing_http import MOST_BYTES, Answer, allowed_hosts, request, url_problem

MOST_SECONDS: Final = 120
DEFAULT_SECONDS: Final = 30
KNOWN: Final = frozenset(
    {"token_env", "token_file", "timeout_seconds", "pdf", "provenance", "systems"}
)
# The receiver says in its OperationOutcome what it means by these; 409 and 5xx may pass.
_REFUSALS: Final = frozenset({400, 401, 403, 404, 405, 406, 410, 412, 413, 415, 422})
_LATER: Final = frozenset({409, 500})


class FhirChannel:
    """Without state; an instance is shared by all destinations."""

    kind = "fhir"

    def problems(self, address: str, settings: dict[str, Any]) -> dict[str, str]:
        """Say what is wrong, by field; the token must be there already."""
        found = dict.fromkeys(settings.keys() - KNOWN, "There is no such setting.")
        if problem := url_problem(address):
            found["address"] = problem
        elif "?" in address:
            found["address"] = "Enter the base address of the server, without a query."
        try:
            read_secret(settings, "token")
        except ValueError as error:
            found["token_file" if "token_file" in settings else "token_env"] = str(error)
        for name in ("pdf", "provenance"):
            if not isinstance(settings.get(name, True), bool):
                found[name] = "true or false."
        seconds = settings.get("timeout_seconds", DEFAULT_SECONDS)
        number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not number or not 1 <= seconds <= MOST_SECONDS:
            found["timeout_seconds"] = f"A number from 1 to {MOST_SECONDS}."
        if problem := systems_problem(settings.get("systems", {})):
            found["systems"] = problem
        return found

    def render(self, report: OutgoingReport, address: str, settings: dict[str, Any]) -> Payload:
        """Return the transaction; its bytes depend on the report alone."""
        if report.event not in EVENTS:
            raise PermanentFailure(f"FHIR has no form for the event {report.event}.")
        systems = Systems(**{**django_settings.FHIR_SYSTEMS, **settings.get("systems", {})})
        case = CaseResult(
            content=report.content,
            event=report.event,
            codes=report.codes,
            systems=systems.at(report.codes.site),
            previous=(report.previous,) if report.previous else (),
            issued=report.created_at.isoformat(),
        )
        with_pdf = case.is_signed and settings.get("pdf", True)
        bundle = transaction(
            case_resources(case, pdf=report.pdf() if with_pdf else None),
            message_id=report.message_id,
            systems=case.systems,
            timestamp=report.created_at.isoformat(),
            scope=f"{report.codes.site}/{case.accession_number}/{case.version_id}",
            with_provenance=settings.get("provenance", True),
        )
        return Payload(to_json(bundle).encode(), MEDIA_TYPE)

    def send(
        self, payload: Payload, message_id: str, address: str, settings: dict[str, Any]
    ) -> Receipt:
        """Post the transaction; the receipt is a transaction-response."""
        headers = {"Content-Type": payload.content_type, "X-Request-Id": message_id}
        answer = self._request("POST", address.rstrip("/"), settings, headers, payload.content)
        _check_response(answer)
        return Receipt(f"The server answered {answer.status} and has taken the transaction.")

    def probe(self, address: str, settings: dict[str, Any]) -> Receipt:
        """Read the server's CapabilityStatement; nothing of a patient is sent."""
        answer = self._request("GET", f"{address.rstrip('/')}/metadata", settings, {}, b"")
        body = _parsed(answer)
        if b"CapabilityStatement" not in answer.content:
            raise PermanentFailure(
                "What answered there is no FHIR server: its /metadata is no CapabilityStatement. "
                "Enter the base address."
            )
        return Receipt(
            f"A FHIR server answered (FHIR {body.get('fhirVersion', 'of some version')})."
        )

    def _request(
        self,
        method: str,
        address: str,
        settings: Mapping[str, Any],
        headers: Mapping[str, str],
        content: bytes,
    ) -> Answer:
        try:
            token = read_secret(dict(settings), "token")
        except ValueError as error:
            raise PermanentFailure(f"The token of the destination is missing. {error}") from error
        answer = request(
            method,
            address,
            content=content,
            headers={
                "Accept": MEDIA_TYPE,
                "User-Agent": "wbclab",
                "Prefer": "return=minimal",
                **({"Authorization": f"Bearer {token}"} if token else {}),
                **headers,
            },
            allowed=allowed_hosts(),
            seconds=float(settings.get("timeout_seconds", DEFAULT_SECONDS)),
            judged_by_caller=_REFUSALS | _LATER,
        )
        _judge(answer)
        return answer


def _judge(answer: Answer) -> None:
    if answer.status not in _REFUSALS | _LATER:
        return
    said = f"The server answered {answer.status}{_outcome_text(answer)}"
    if answer.status in _LATER:
        raise TemporaryFailure(said)
    if answer.status in (401, 403):
        raise PermanentFailure(f"{said}. Look at the token of the destination.")
    raise PermanentFailure(f"{said}. It does not take this result.")


def _outcome_text(answer: Answer) -> str:
    """What an OperationOutcome says, at most 300 letters of it: people read it."""
    issues = _parsed(answer).get("issue")
    texts = []
    for issue in issues if isinstance(issues, list) else []:
        details = issue.get("details") if isinstance(issue, dict) else None
        given = (details or {}).get("text") if isinstance(details, dict) else None
        text = given or (issue.get("diagnostics") if isinstance(issue, dict) else None)
        if isinstance(text, str):
            texts.append(text)
    said = "".join(one for one in " ".join(texts) if one.isprintable())[:300].strip().rstrip(".")
    return f": {said}" if said else ""


def _parsed(answer: Answer) -> dict[str, Any]:
    try:
        body = from_json(answer.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _check_response(answer: Answer) -> None:
    """A page of a proxy is no receipt: without a transaction-response nothing counts as taken."""
    if not answer.content or len(answer.content) >= MOST_BYTES:
        return
    body = _parsed(answer)
    if (body.get("resourceType"), body.get("type")) != ("Bundle", "transaction-response"):
        raise TemporaryFailure(
            f"The server answered {answer.status}, but not with a transaction-response: whether it "
            "has taken the result is not known. Is this the base address of a FHIR server?"
        )


CHANNELS: Final[tuple[Channel, ...]] = (FhirChannel(),)
