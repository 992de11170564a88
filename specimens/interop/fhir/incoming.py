"""Patient and ServiceRequest as clients send them, checked and turned into plain values.

What is not kept is refused where leaving it out would change the meaning; the rest is left out.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from specimens.interop.fhir.elements import Fault, Reader, Refused, checked_kind
from specimens.interop.fhir.naming import Systems

SEXES: Final = {"female": "F", "male": "M", "other": "O", "unknown": "U"}
PRIORITIES: Final = {"routine": "routine", "urgent": "stat", "asap": "stat", "stat": "stat"}
INTENTS: Final = ("order", "original-order", "placer-order")
_MAX_ISSUER: Final = 64


@dataclass(frozen=True, slots=True)
class SentPatient:
    """A patient: `sex` is F, M, O or U; `organization` an id, "" where none is named."""

    identifier: str
    issuer_system: str
    family_name: str
    given_name: str
    birth_date: date | None
    sex: str
    organization: str


@dataclass(frozen=True, slots=True)
class SentOrder:
    """An order; its patient by id, by number, or contained.

    `accession_number` is that of a contained Specimen, "" where the tube is still to come.
    """

    placer_number: str
    placer_system: str
    priority: str
    requester: str
    clinical_information: str
    ordered_at: datetime | None
    organization: str
    patient_id: str
    patient_number: tuple[str, str] | None
    patient: SentPatient | None
    accession_number: str
    collected_at: datetime | None
    codings: tuple[tuple[str, str], ...]


def read_patient(resource: Any) -> SentPatient:
    """Return a Patient's values. Raises Refused."""
    reader = checked_kind(resource, "Patient")
    patient = _patient(reader)
    if reader.faults:
        raise Refused(reader.faults)
    return patient


def _patient(reader: Reader) -> SentPatient:
    if reader.values.get("active") is False:
        reader.fault("business-rule", "active", "A record that is not in use is not taken.")
    number = _chosen_number(reader)
    system = number.text("system") if number else ""
    name = _chosen_name(reader)
    given = name.values.get("given", []) if name else []
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        reader.fault("structure", "name.given", "This is a list of strings in FHIR.")
        given = []
    return SentPatient(
        identifier=number.text("value", required=True) if number else "",
        issuer_system=system,
        family_name=name.text("family", required=True) if name else "",
        given_name=" ".join(" ".join(given).replace("\0", "").split()),
        birth_date=reader.day("birthDate"),
        sex=SEXES[reader.code("gender", SEXES, "unknown")],
        organization=_id_of(reader.part("managingOrganization"), "Organization"),
    )


def _chosen_number(reader: Reader) -> Reader | None:
    """The patient number: the only one in use, or the one of type MR."""
    numbers = [one for one in reader.parts("identifier") if one.text("use") != "old"]
    if len(numbers) > 1:
        numbers = [one for one in numbers if "MR" in _codes(one.part("type"))]
    if len(numbers) != 1:
        text = "Give one identifier in use, or mark the patient number with type MR."
        reader.fault("required", "identifier", text)
        return None
    return numbers[0]


def _chosen_name(reader: Reader) -> Reader | None:
    names = reader.parts("name")
    official = [one for one in names if one.text("use") == "official"] or names
    if not official:
        reader.fault("required", "name", "This is needed, with the family name.")
        return None
    return official[0]


def _codes(concept: Reader) -> set[str]:
    return {coding.text("code") for coding in concept.parts("coding")}


def _id_of(reference: Reader, kind: str) -> str:
    """The id a reference names, "" where there is none."""
    text = reference.text("reference")
    if not text or text.startswith("#"):
        return ""
    parts = text.split("/")
    if len(parts) < 2 or parts[-2] != kind:
        reference.fault("value", "reference", f"“{text}” is no {kind}. Write {kind}/id.")
        return ""
    return parts[-1]


def read_order(resource: Any) -> SentOrder:
    """Return a ServiceRequest's values. Raises Refused."""
    reader = checked_kind(resource, "ServiceRequest")
    order = _order(reader)
    if reader.faults:
        raise Refused(reader.faults)
    return order


def _order(reader: Reader) -> SentOrder:
    reader.code("status", ["active"])
    reader.code("intent", INTENTS)
    if reader.values.get("doNotPerform", False) is not False:
        reader.fault("business-rule", "doNotPerform", "A request not to do it is not taken.")
    number = _placer(reader)
    subject = reader.part("subject")
    contained = _contained(reader, subject, "Patient")
    specimen = _specimen(reader)
    performers = [_id_of(one, "Organization") for one in reader.parts("performer")]
    return SentOrder(
        placer_number=number.text("value", required=True) if number else "",
        placer_system=number.text("system") if number else "",
        priority=PRIORITIES[reader.code("priority", PRIORITIES, "routine")],
        requester=reader.part("requester").text("display"),
        clinical_information=_reasons(reader),
        ordered_at=reader.instant("authoredOn"),
        organization=next((one for one in performers if one), ""),
        patient_id=_id_of(subject, "Patient"),
        patient_number=_number_of(reader, subject, contained),
        patient=_patient(contained) if contained else None,
        accession_number=(
            specimen.part("accessionIdentifier").text("value", required=True) if specimen else ""
        ),
        collected_at=(
            specimen.part("collection").instant("collectedDateTime") if specimen else None
        ),
        codings=tuple(
            (coding.text("system"), coding.text("code"))
            for coding in reader.part("code").parts("coding")
        ),
    )


def _placer(reader: Reader) -> Reader | None:
    """The number under which the sender knows the order: the only one, or the one of type PLAC."""
    numbers = reader.parts("identifier")
    if len(numbers) > 1:
        numbers = [one for one in numbers if "PLAC" in _codes(one.part("type"))]
    if len(numbers) != 1:
        text = "Give the number of the order as the only identifier, or mark it with type PLAC."
        reader.fault("required", "identifier", text)
        return None
    return numbers[0]


def _number_of(reader: Reader, subject: Reader, contained: Reader | None) -> tuple[str, str] | None:
    """System and value of a logical reference to the patient."""
    if contained is not None or subject.text("reference"):
        return None
    if "identifier" not in subject.values:
        text = "Name the patient: Patient/id, an identifier, or a contained Patient."
        reader.fault("required", "subject", text)
        return None
    number = subject.part("identifier")
    return number.text("system"), number.text("value", required=True)


def _contained(reader: Reader, reference: Reader, kind: str) -> Reader | None:
    """The contained resource a reference names, None where it names none."""
    text = reference.text("reference")
    if not text.startswith("#"):
        return None
    for one in reader.parts("contained"):
        if one.text("id") == text[1:] and one.values.get("resourceType") == kind:
            one.refuse_modifiers()
            return one
    reference.fault("not-found", "reference", f"There is no contained {kind} “{text}”.")
    return None


def _specimen(reader: Reader) -> Reader | None:
    references = reader.parts("specimen")
    if not references:
        return None
    if len(references) > 1 or not references[0].text("reference").startswith("#"):
        text = "One contained Specimen with its accessionIdentifier, or none: it is expected then."
        reader.fault("not-supported", "specimen", text)
        return None
    return _contained(reader, references[0], "Specimen")


def _reasons(reader: Reader) -> str:
    """Clinical information: reasons and notes, a line each."""
    lines = []
    for concept in reader.parts("reasonCode"):
        shown = [coding.text("display") for coding in concept.parts("coding")]
        lines.append(concept.text("text") or ", ".join(one for one in shown if one))
    lines += [note.text("text") for note in reader.parts("note")]
    return "\n".join(line for line in lines if line)


def issuer_of(system: str, systems: Systems) -> str:
    """The issuer of a patient number as it is stored. Raises Refused where it is too long."""
    issuer = systems.issuer_of(system)
    if len(issuer) > _MAX_ISSUER:
        place = "Patient.identifier.system"
        text = f"{place}: up to {_MAX_ISSUER} characters can be stored."
        raise Refused([Fault("too-long", place, text)])
    return issuer
