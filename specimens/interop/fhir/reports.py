"""DiagnosticReport and Provenance: the signed document, and who stands for it."""

import base64
from html import escape
from typing import Any, Final

from specimens.interop.fhir.case import CORRECTED, PRELIMINARY, CaseResult
from specimens.interop.fhir.measures import measures
from specimens.interop.fhir.naming import concept, device_id, identifier, reference
from specimens.interop.fhir.observations import is_changed, performers
from specimens.interop.fhir.wire import Resource, without_empty
from specimens.models.reports import content_digest
from specimens.terminology import Quantity

PDF: Final = "application/pdf"
_SECTION: Final = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
            "code": "HM",
            "display": "Hematology",
        }
    ]
}


def report_status(case: CaseResult) -> str:
    """DiagnosticReport.status: partial, final; amended, or corrected where a value changed."""
    if case.event == PRELIMINARY:
        return "partial"
    if case.event == CORRECTED:
        return "corrected" if is_changed(case) else "amended"
    return "final"


def diagnostic_report(case: CaseResult, *, pdf: bytes | None = None, pdf_url: str = "") -> Resource:
    """Return the report; the PDF of a signed one by address (`pdf_url`), or itself (`pdf`)."""
    ids = case.ids
    number = case.accession_number
    results = []
    if given := measures(case.content):
        names = [(str(Quantity.PANEL), ""), *(one.name for one in given)]
        results = [reference("Observation", ids.observation(*name)) for name in names]
    return without_empty(
        {
            "resourceType": "DiagnosticReport",
            "id": ids.report,
            "meta": case.meta(),
            "text": {"status": "generated", "div": _narrative(case)},
            "identifier": [
                identifier(case.systems.report, number),
                identifier(case.systems.filler, number, "FILL"),
            ],
            "basedOn": [reference("ServiceRequest", ids.order)],
            "status": report_status(case),
            "category": [_SECTION],
            "code": concept(case.codes.panel),
            "subject": reference("Patient", ids.patient),
            "effectiveDateTime": case.effective_at,
            "issued": case.issued_at,
            "performer": performers(case)[:1],
            "resultsInterpreter": performers(case)[1:],
            "specimen": [reference("Specimen", ids.specimen)],
            "result": results,
            "conclusion": "\n".join(
                f"{one['text']} ({one['author']})" for one in case.content["comments"]
            ),
            "presentedForm": [_attachment(case, pdf, pdf_url)] if case.is_signed else [],
        }
    )


def _attachment(case: CaseResult, pdf: bytes | None, url: str) -> dict[str, Any]:
    return {
        "contentType": PDF,
        "language": "en",
        "data": base64.b64encode(pdf).decode() if pdf is not None else "",
        "url": url,
        "size": len(pdf) if pdf is not None else None,
        "title": f"{case.accession_number} version {case.version_id}",
        "creation": case.issued_at,
    }


def _narrative(case: CaseResult) -> str:
    """What a person reads who sees nothing else: what it is, what it is not, what was amended."""
    content = case.content
    state = (
        f"Version {case.version_id}, signed by {content['signature']['name']}."
        if case.is_signed
        else "Preliminary: counted by a model, not verified and not signed by a person."
    )
    lines = [f"White-blood-cell differential {case.accession_number}. {state}"]
    if content["amendment_reason"]:
        lines.append(f"Amended: {content['amendment_reason']}")
    lines += [f"Signed although: {one['text']} {one['reason']}" for one in content["bypassed"]]
    if content["specimen"]["is_synthetic"]:
        lines.append("Test data: the cells are drawn.")
    lines.append(content["limitation"])
    text = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{text}</div>'


def provenance(case: CaseResult) -> Resource:
    """Return who signed which version, when and with which meaning; only for a signed one."""
    signature = case.content["signature"]
    signer = reference("Practitioner", case.ids.signer, signature["name"])
    version = f"/_history/{case.version_id}" if case.is_versioned else ""
    target = reference("DiagnosticReport", case.ids.report + version)
    return without_empty(
        {
            "resourceType": "Provenance",
            "id": case.ids.provenance,
            "meta": {"versionId": "1", "lastUpdated": signature["at"]},
            "target": [target],
            "occurredDateTime": signature["at"],
            "recorded": signature["at"],
            "reason": [{"text": case.content["amendment_reason"]}],
            "activity": {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/v3-DocumentCompletion",
                        "code": "AU",
                        "display": "authenticated",
                    }
                ],
                "text": signature["meaning"],
            },
            "agent": [
                _agent("verifier", signer, case.ids.organization),
                *(
                    _agent("assembler", reference("Device", device_id(model["digest"])))
                    for model in case.content["models"]
                ),
            ],
            "entity": [
                {
                    "role": "source",
                    "what": {
                        "identifier": {
                            "system": "urn:wbclab:report-sha256",
                            "value": content_digest(case.content),
                        },
                        "display": f"Version {case.content['version']} as it was signed",
                    },
                }
            ],
            "signature": [
                {
                    "type": [
                        {
                            "system": "urn:iso-astm:E1762-95:2013",
                            "code": "1.2.840.10065.1.12.1.5",
                            "display": "Verification Signature",
                        }
                    ],
                    "when": signature["at"],
                    "who": signer,
                }
            ],
        }
    )


def _agent(kind: str, who: dict[str, Any], organization: str = "") -> dict[str, Any]:
    coding = {
        "system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type",
        "code": kind,
    }
    behalf = reference("Organization", organization) if organization else None
    return {"type": {"coding": [coding]}, "who": who, "onBehalfOf": behalf}
