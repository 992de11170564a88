"""Rules of R4 (4.0.1) that a model library does not check: bound codes, invariants, formats.

Written from the specification's pages, not from the builders.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

# Top-level elements of R4, of the types we make (R4B has the same; anything else is an error).
ELEMENTS = {
    "Patient": "identifier active name telecom gender birthDate deceasedBoolean deceasedDateTime "
    "address maritalStatus multipleBirthBoolean photo contact communication generalPractitioner "
    "managingOrganization link",
    "Organization": "identifier active type name alias telecom address partOf contact endpoint",
    "Practitioner": "identifier active name telecom address gender birthDate photo qualification "
    "communication",
    "Device": "identifier definition udiCarrier status statusReason distinctIdentifier "
    "manufacturer manufactureDate expirationDate lotNumber serialNumber deviceName modelNumber "
    "partNumber type specialization version property patient owner contact location url note "
    "safety parent",
    "ServiceRequest": "identifier instantiatesCanonical instantiatesUri basedOn replaces "
    "requisition status intent category priority doNotPerform code orderDetail subject encounter "
    "occurrenceDateTime authoredOn requester performerType performer locationCode "
    "locationReference reasonCode reasonReference insurance supportingInfo specimen bodySite note "
    "patientInstruction relevantHistory",
    "Specimen": "identifier accessionIdentifier status type subject receivedTime parent request "
    "collection processing container condition note",
    "Observation": "identifier basedOn partOf status category code subject focus encounter "
    "effectiveDateTime issued performer valueQuantity dataAbsentReason interpretation note "
    "bodySite method specimen device referenceRange hasMember derivedFrom component",
    "DiagnosticReport": "identifier basedOn status category code subject encounter "
    "effectiveDateTime issued performer resultsInterpreter specimen result imagingStudy media "
    "conclusion conclusionCode presentedForm",
    "Provenance": "target occurredDateTime recorded policy location reason activity agent entity "
    "signature",
}
COMMON = {"resourceType", "id", "meta", "text", "contained", "extension"}
# Required bindings.
STATUS = {
    "Observation": "registered preliminary final amended corrected cancelled entered-in-error "
    "unknown",
    "DiagnosticReport": "registered partial preliminary final amended corrected appended cancelled "
    "entered-in-error unknown",
    "ServiceRequest": "draft active on-hold revoked completed entered-in-error unknown",
    "Specimen": "available unavailable unsatisfactory entered-in-error",
    "Device": "active inactive entered-in-error unknown",
}
CODES = {
    "gender": "male female other unknown",
    "intent": "proposal plan directive order original-order reflex-order filler-order "
    "instance-order option",
    "priority": "routine urgent asap stat",
}
INTERPRETATIONS = {"N", "L", "H", "LL", "HH"}
_DATE_TIMES = {
    "issued", "recorded", "lastUpdated", "when", "timestamp", "effectiveDateTime", "authoredOn",
    "receivedTime", "collectedDateTime", "occurredDateTime", "creation",
}  # fmt: skip


def broken_rules(resource: dict[str, Any]) -> list[str]:
    """Return what of R4 the resource breaks."""
    return list(_broken(resource))


def _broken(resource: dict[str, Any]) -> Iterator[str]:
    kind = resource["resourceType"]
    allowed = COMMON | set(ELEMENTS[kind].split())
    if unknown := resource.keys() - allowed:
        yield f"{kind} has no {unknown}"
    if "id" in resource and not re.fullmatch(r"[A-Za-z0-9.-]{1,64}", resource["id"]):
        yield f"id {resource['id']}"
    if kind in STATUS and resource["status"] not in STATUS[kind].split():
        yield f"{kind}.status {resource['status']}"
    for name, values in CODES.items():
        if name in resource and resource[name] not in values.split():
            yield f"{kind}.{name} {resource[name]}"
    if kind == "Observation":
        yield from _observation(resource)
    yield from _values(resource)


def _observation(resource: dict[str, Any]) -> Iterator[str]:
    if "dataAbsentReason" in resource and "valueQuantity" in resource:
        yield "obs-6: a reason for absence beside a value"
    if not {"valueQuantity", "dataAbsentReason", "hasMember"} & resource.keys():
        yield "neither a value, nor a reason, nor members"
    codes = [(one["system"], one["code"]) for one in resource["code"]["coding"]]
    for component in resource.get("component", ()):
        for one in component["code"]["coding"]:
            if (one["system"], one["code"]) in codes and "valueQuantity" in resource:
                yield "obs-7: a component with the code of the whole"
    for limits in resource.get("referenceRange", ()):
        if not {"low", "high", "text"} & limits.keys():
            yield "obs-3: an empty range"
    for one in resource.get("interpretation", ()):
        if one["coding"][0]["code"] not in INTERPRETATIONS:
            yield f"interpretation {one}"


def _values(value: Any, name: str = "") -> Iterator[str]:
    """Rules of every depth: nothing empty, full times, systems with codes, whole attachments."""
    if value in (None, "", [], {}):
        yield f"{name} is empty"
    if isinstance(value, list):
        for item in value:
            yield from _values(item, name)
    elif isinstance(value, dict):
        if "code" in value and "value" in value and "system" not in value:
            yield f"qty-3: {name} has a code without a system"
        if name == "presentedForm" and "data" in value and "contentType" not in value:
            yield "att-1"
        if (
            name in ("identifier", "accessionIdentifier")
            and not {"system", "value"} <= value.keys()
        ):
            yield f"{name} without system or value"
        if "reference" in value and not re.fullmatch(
            r"[A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64}(/_history/[A-Za-z0-9.-]{1,64})?|urn:uuid:\S+",
            str(value["reference"]),
        ):
            yield f"reference {value['reference']}"
        for key, item in value.items():
            yield from _values(item, key)
    elif name in _DATE_TIMES and datetime.fromisoformat(str(value)).tzinfo is None:
        yield f"{name} {value} without a zone"
    elif isinstance(value, str) and value != value.strip() and name not in ("div", "text"):
        yield f"{name} begins or ends with space"


def references_in(value: Any) -> Iterator[str]:
    """Every literal reference at any depth."""
    if isinstance(value, list):
        for item in value:
            yield from references_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "reference" and isinstance(item, str):
                yield item
            else:
                yield from references_in(item)
