"""ServiceRequest and Specimen: what was asked for, and the blood it is asked of."""

from collections.abc import Mapping
from typing import Any, Final

from specimens.interop.codes import CodeTable
from specimens.interop.fhir.naming import CaseIds, Systems, concept, identifier, reference
from specimens.interop.fhir.wire import Resource, without_empty

PRIORITIES: Final = {"routine": "routine", "stat": "stat"}
ORDER_STATUS: Final = {"rejected": "revoked", "signed_out": "completed", "amended": "completed"}


def service_request(
    data: Mapping[str, Any],
    *,
    status: str,
    ids: CaseIds,
    systems: Systems,
    codes: CodeTable,
    ordered_at: str | None = None,
) -> Resource:
    """Return the order; `data` is the part "specimen" of a report's content.

    `status` is active, completed or revoked. Without a specimen yet, `accession_number` is empty.
    """
    number = data["accession_number"]
    return without_empty(
        {
            "resourceType": "ServiceRequest",
            "id": ids.order,
            "identifier": [
                one
                for value, one in (
                    (
                        data["placer_number"],
                        identifier(systems.placer, data["placer_number"], "PLAC"),
                    ),
                    (number, identifier(systems.filler, number, "FILL")),
                )
                if value
            ],
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
            "specimen": [reference("Specimen", ids.specimen)] if number else [],
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
