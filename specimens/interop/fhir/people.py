"""Patient, Organization, Practitioner, Device: who and what a result is about and comes from."""

from collections.abc import Mapping
from typing import Any, Final

from specimens.interop.fhir.naming import Systems, device_id, identifier, reference
from specimens.interop.fhir.wire import Resource, without_empty

GENDERS: Final = {"F": "female", "M": "male", "O": "other", "U": "unknown"}


def patient(
    data: Mapping[str, Any], *, ident: str, systems: Systems, organization: str = ""
) -> Resource:
    """Return the Patient; `data` is the part "patient" of a report's content."""
    number = identifier(systems.of_issuer(data["issuer"]), data["identifier"], "MR")
    return without_empty(
        {
            "resourceType": "Patient",
            "id": ident,
            "identifier": [number | {"assigner": {"display": data["issuer"]}}],
            "name": [
                {
                    "use": "official",
                    "family": data["family_name"],
                    "given": [data["given_name"]],
                }
            ],
            "gender": GENDERS.get(data["sex"], "unknown"),
            "birthDate": data["birth_date"],
            "managingOrganization": (
                reference("Organization", organization) if organization else None
            ),
        }
    )


def organization(*, name: str, code: str, ident: str, systems: Systems) -> Resource:
    """Return the laboratory."""
    return without_empty(
        {
            "resourceType": "Organization",
            "id": ident,
            "identifier": [identifier(systems.organization, code)] if code else [],
            "active": True,
            "name": name,
        }
    )


def practitioner(*, name: str, username: str, ident: str, systems: Systems) -> Resource:
    """Return the person who signed."""
    return without_empty(
        {
            "resourceType": "Practitioner",
            "id": ident,
            "identifier": [identifier(systems.practitioner, username)],
            "name": [{"text": name}],
        }
    )


def device(model: Mapping[str, str], *, systems: Systems) -> Resource:
    """Return the model as a Device; `model` has name, version and the digest of the weights."""
    return without_empty(
        {
            "resourceType": "Device",
            "id": device_id(model["digest"]),
            "identifier": [identifier(systems.model, model["digest"])],
            "status": "active",
            "deviceName": [{"name": model["name"], "type": "model-name"}],
            "modelNumber": model["name"],
            "version": [{"type": {"text": "model"}, "value": model["version"]}],
            "note": [
                {
                    "text": "Classifies images of single white blood cells. For research and "
                    "assistance: a person verifies each cell."
                }
            ],
        }
    )
