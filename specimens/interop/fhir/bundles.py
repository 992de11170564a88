"""Bundles: a report with everything it refers to, and the same as a transaction for a receiver."""

import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from specimens.interop.fhir.case import CaseResult
from specimens.interop.fhir.naming import Systems, identifier
from specimens.interop.fhir.observations import observations
from specimens.interop.fhir.orders import service_request, specimen
from specimens.interop.fhir.people import device, organization, patient, practitioner
from specimens.interop.fhir.reports import diagnostic_report, provenance
from specimens.interop.fhir.wire import Resource, without_empty

NAMESPACE: Final = uuid.UUID("5d0c8a3e-6d0f-4b5c-9a3b-4a3f0e9f5b11")
# The receiver may know these better than we do: made where missing, never overwritten.
CREATED_IF_MISSING: Final = (
    "Patient", "ServiceRequest", "Specimen", "Organization", "Practitioner", "Device",
)  # fmt: skip


def case_resources(
    case: CaseResult,
    *,
    pdf: bytes | None = None,
    pdf_url: str = "",
    order_status: str = "",
    ordered_at: str | None = None,
) -> list[Resource]:
    """Return the report, then what it refers to: complete, each resource once."""
    content, ids, systems = case.content, case.ids, case.systems
    laboratory = content["laboratory"]["name"]
    status = order_status or ("completed" if case.is_signed else "active")
    found = [
        diagnostic_report(case, pdf=pdf, pdf_url=pdf_url),
        *observations(case),
        patient(content["patient"], ident=ids.patient, systems=systems),
        service_request(
            content["specimen"],
            status=status,
            ids=ids,
            systems=systems,
            codes=case.codes,
            specimens={ids.specimen: case.accession_number},
            ordered_at=ordered_at,
        ),
        specimen(content["specimen"], ids=ids, systems=systems),
        organization(
            name=laboratory, code=case.codes.site, ident=ids.organization, systems=systems
        ),
        *(device(model, systems=systems) for model in content["models"]),
    ]
    if case.is_signed:
        name, username = content["signature"]["name"], content["signature"]["username"]
        found.append(practitioner(name=name, username=username, ident=ids.signer, systems=systems))
        found.append(provenance(case))
    return found


def collection(resources: list[Resource], *, base: str, ident: str, timestamp: str) -> Resource:
    """Return a Bundle of type collection; references resolve within it (R4, bundle, 2.36.4)."""
    return without_empty(
        {
            "resourceType": "Bundle",
            "id": ident,
            "type": "collection",
            "timestamp": timestamp,
            "entry": [
                {"fullUrl": f"{base}{one['resourceType']}/{one['id']}", "resource": one}
                for one in resources
            ],
        }
    )


def transaction(
    resources: list[Resource],
    *,
    message_id: str,
    systems: Systems,
    timestamp: str,
    scope: str,
    with_provenance: bool = True,
) -> Resource:
    """Return a transaction that leaves the same state however often it is applied.

    Observations and the report are updated by their identifiers; what the receiver may know better
    is made only where it is missing; Provenance, which has no identifier in R4, is put under an id
    made of `scope` (the report version).
    """
    wanted = [one for one in resources if with_provenance or one["resourceType"] != "Provenance"]
    urls = {
        f"{one['resourceType']}/{one['id']}": _url(scope, one["resourceType"], one["id"])
        for one in wanted
    }
    return without_empty(
        {
            "resourceType": "Bundle",
            "identifier": identifier(systems.message, message_id),
            "type": "transaction",
            "timestamp": timestamp,
            "entry": [_entry(one, urls) for one in wanted],
        }
    )


def _url(scope: str, kind: str, ident: str) -> str:
    return f"urn:uuid:{uuid.uuid5(NAMESPACE, f'{scope}/{kind}/{ident}')}"


def _entry(resource: Resource, urls: Mapping[str, str]) -> dict[str, Any]:
    kind = resource["resourceType"]
    url = urls[f"{kind}/{resource['id']}"]
    sent = _rewritten(resource, urls)
    if kind == "Provenance":
        ident = url.removeprefix("urn:uuid:")
        return {
            "fullUrl": url,
            "resource": sent | {"id": ident},
            "request": {"method": "PUT", "url": f"Provenance/{ident}"},
        }
    sent = {key: value for key, value in sent.items() if key != "id"}
    # The receiver numbers its own versions.
    meta = {key: value for key, value in sent.pop("meta", {}).items() if key == "security"}
    if meta:
        sent = {"resourceType": kind, "meta": meta, **sent}
    number = resource["identifier"][0] if resource.get("identifier") else None
    if number is None:
        return {"fullUrl": url, "resource": sent, "request": {"method": "POST", "url": kind}}
    query = urlencode({"identifier": f"{number.get('system', '')}|{number['value']}"})
    if kind in CREATED_IF_MISSING:
        request = {"method": "POST", "url": kind, "ifNoneExist": query}
    else:
        request = {"method": "PUT", "url": f"{kind}?{query}"}
    return {"fullUrl": url, "resource": sent, "request": request}


def _rewritten(value: Any, urls: Mapping[str, str]) -> Any:
    """Replace references to resources of the bundle by the names they have in it."""
    if isinstance(value, list):
        return [_rewritten(item, urls) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: urls.get(item, item)
        if key == "reference" and isinstance(item, str)
        else _rewritten(item, urls)
        for key, item in value.items()
    }
