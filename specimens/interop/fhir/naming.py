"""Names in FHIR: identifier systems, resource ids, and references between resources."""

import re
from dataclasses import dataclass, fields
from typing import Any, Final

from specimens.interop.codes import Code

_IDENTIFIER_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")


@dataclass(frozen=True, slots=True)
class Systems:
    """URIs under which our numbers are unique; `{site}` in one is filled in with the site's code.

    `patient` is for patient numbers without an issuer; an issuer that is no URI itself is appended
    to `issuer`.
    """

    patient: str = "urn:wbclab:{site}:patient"
    issuer: str = "urn:wbclab:issuer:"
    placer: str = "urn:wbclab:{site}:placer"
    filler: str = "urn:wbclab:{site}:filler"
    accession: str = "urn:wbclab:{site}:accession"
    report: str = "urn:wbclab:{site}:report"
    observation: str = "urn:wbclab:{site}:observation"
    organization: str = "urn:wbclab:site"
    practitioner: str = "urn:wbclab:user"
    model: str = "urn:wbclab:model"
    message: str = "urn:wbclab:message"

    def at(self, site: str) -> "Systems":
        """Return the systems of one site."""
        return Systems(
            **{f.name: getattr(self, f.name).replace("{site}", site) for f in fields(self)}
        )

    def of_issuer(self, issuer: str) -> str:
        """URI of whoever gave a patient number: an OID, a URI, or a name below `issuer`."""
        if not issuer:
            return self.patient
        if _OID.fullmatch(issuer):
            return f"urn:oid:{issuer}"
        return issuer if _URI.fullmatch(issuer) else self.issuer + _escaped(issuer)

    def issuer_of(self, system: str) -> str:
        """The issuer a URI stands for: what `of_issuer` did, backwards."""
        if system in ("", self.patient):
            return ""
        if system.startswith("urn:oid:"):
            return system.removeprefix("urn:oid:")
        if system.startswith(self.issuer):
            return _unescaped(system.removeprefix(self.issuer))
        return system


def systems_problem(systems: Any) -> str:
    """Return what is wrong with URIs of identifiers that were configured, "" where nothing is."""
    if not isinstance(systems, dict):
        return "Write an object: the URI of each system by its name."
    names = {field.name for field in fields(Systems)}
    if unknown := systems.keys() - names:
        known = ", ".join(sorted(names))
        return f"There is no system {', '.join(sorted(unknown))}. Known: {known}."
    if not all(isinstance(uri, str) and ":" in uri for uri in systems.values()):
        return "Each system is a URI, such as https://hospital.example/orders."
    return ""


def _escaped(text: str) -> str:
    """Percent-encode what a URI cannot hold, spaces and the like."""
    return re.sub(r"[^A-Za-z0-9._~-]", lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), text)


def _unescaped(text: str) -> str:
    raw = re.sub(
        rb"%([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), text.encode("ascii", "replace")
    )
    return raw.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class CaseIds:
    """Logical ids of the resources of one case (R4, id: letters, digits, - and ., up to 64)."""

    patient: str = "patient"
    order: str = "order"
    specimen: str = "specimen"
    report: str = "report"
    organization: str = "organization"
    signer: str = "signer"
    provenance: str = "provenance"

    def observation(self, quantity: str, key: str = "") -> str:
        """Id of one Observation: it stays the same over the versions of the report."""
        return "-".join(part.replace("_", "-") for part in (self.report, quantity, key) if part)


def device_id(digest: str) -> str:
    """Id of the Device that is a model version: the first half of the digest of its weights."""
    return digest[:32].lower()


def reference(kind: str, ident: str, display: str = "") -> dict[str, Any]:
    return {"reference": f"{kind}/{ident}", "type": kind, "display": display}


def identifier(system: str, value: str, kind: str = "") -> dict[str, Any]:
    """An Identifier; `kind` is a code of HL7 table 0203: MR, PLAC, FILL, ACSN."""
    typed = {"coding": [{"system": _IDENTIFIER_TYPES, "code": kind}]} if kind else {}
    return {"type": typed, "system": system, "value": value}


def concept(code: Code) -> dict[str, Any]:
    """A CodeableConcept of one code."""
    coding = {"system": code.system, "code": code.code, "display": code.display}
    return {"coding": [coding], "text": code.display}
