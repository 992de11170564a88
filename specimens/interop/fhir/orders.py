"""ServiceRequest and Specimen: what was asked for, and the blood it is asked of."""

from collections.abc import Mapping
from typing import Any, Final

from specimens.interop.codes import CodeTable
from specimens.interop.fhir.naming import CaseIds, Systems, concept, identifier, reference
from specimens.interop.fhir.wire import Resource, without_empty

PRIORITIES: Final = {"routine": "routine", "stat": "stat"}


def service_request(
    data: Mapping[str, Any],
    *,
    status: str,
    ids: CaseIds,
    systems: Systems,
    codes: CodeTable,
    specimens: Mapping[str, str],
    ordered_at: str | None = None,
) -> Resource:
    """Return the order; `data` is the part "specimen" of a report's content.

    `status` is active, completed or revoked; `specimens` are accession numbers by the id of their
    Specimen, none while the tube is expected.
    """
    numbers = [identifier(systems.placer, data["placer_number"], "PLAC")]
    numbers += [identifier(systems.filler, number, "FILL") for number in specimens.values()]
    return without_empty(
        {
            "resourceType": "ServiceRequest",
            "id": ids.order,
            "identifier": [number for number in numbers if number["value"]],
            "status": status,
            "intent": "order",
            "category": [{"text": "Laboratory"}],
            "priority": PRIORITIES[data["priority"]],
            "code": concept(codes.panel),
            "subject": reference("Patient", ids.patient),
            "authoredOn": ordered_at,
            "requester": {"display": data["requester"]},
            "performer": [reference("Organization", ids.organization)],
            "reasonCode": [{"text": data["clinical_information"]}],
            "specimen": [reference("Specimen", ident) for ident in specimens],
        }
    )


def specimen(
    data: Mapping[str, Any],
    *,
    ids: CaseIds,
    systems: Systems,
    state: str = "",
    rejection_reason: str = "",
) -> Resource:
    """Return the blood specimen under its accession number."""
    number = data["accession_number"]
    return without_empty(
        {
            "resourceType": "Specimen",
            "id": ids.specimen,
            "identifier": [identifier(systems.accession, number, "ACSN")],
            "accessionIdentifier": identifier(systems.accession, number, "ACSN"),
            "status": "unsatisfactory" if state == "rejected" else "available",
            "type": {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/v2-0487",
                        "code": "BLD",
                        "display": "Whole blood",
                    }
                ]
            },
            "subject": reference("Patient", ids.patient),
            "receivedTime": data["received_at"],
            "request": [reference("ServiceRequest", ids.order)],
            "collection": {"collectedDateTime": data["collected_at"]},
            "note": [{"text": f"Rejected: {rejection_reason}"}] if rejection_reason else [],
        }
    )
