"""What there is in FHIR: for each resource type its rows, its parameters, and what it leads to."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import Q, QuerySet

from classifier.models import ModelVersion
from specimens.interop.fhir.observations import observations
from specimens.interop.fhir.parameters import references, split_values, tokens
from specimens.interop.fhir.reports import provenance
from specimens.interop.fhir.wire import Resource
from specimens.models import Patient, Report, Site, Specimen, User
from specimens.permissions import visible_to
from specimens.selectors import fhir_filters as by
from specimens.selectors.fhir import (
    Records,
    orders_with_status,
    reported,
    signers_of,
    specimens_of,
)
from specimens.selectors.fhir_filters import Parameter
from specimens.terminology import Quantity

_OBSERVATION: Final = re.compile(r"([0-9]{1,18})-[A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource type.

    Attributes:
        rows: the rows a user sees; `build` makes the resources of one, several or none.
        key: the row an id belongs to; None where it cannot be one.
        includes: search parameter -> elements that hold the references (_include).
        revincludes: "Type:parameter" of resources that refer to this one (_revinclude).
        creates: whether it may be created.
    """

    name: str
    rows: Callable[[User], "QuerySet[Any]"]
    build: Callable[[Records, Any], Iterable[Resource]]
    parameters: Mapping[str, Parameter]
    key: Callable[[str], Q | None] = field(default=lambda ident: _primary_key(ident))
    includes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    revincludes: tuple[str, ...] = ()
    creates: bool = False
    has_versions: bool = False


def _primary_key(ident: str) -> Q | None:
    keys = by.by_id()(None, "_id", ident)  # type: ignore[arg-type]
    return keys if re.fullmatch(r"[0-9]{1,18}", ident, re.ASCII) else None


def _patients(user: User) -> "QuerySet[Any]":
    return visible_to(user, Patient).select_related("site")


def _signed(user: User) -> "QuerySet[Any]":
    return visible_to(user, Report).select_related("specimen__site", "specimen__order__patient")


def _reports(records: Records, row: Specimen) -> list[Resource]:
    case = records.case(row)
    return [records.diagnostic_report(case)] if case else []


def _observations(records: Records, row: Specimen) -> list[Resource]:
    case = records.case(row)
    return observations(case) if case else []


def _provenances(records: Records, row: Report) -> list[Resource]:
    case = records.case(row.specimen, row.version)
    return [provenance(case)] if case else []


def _of_observation(ident: str) -> Q | None:
    found = _OBSERVATION.fullmatch(ident)
    return Q(pk=int(found[1])) if found else None


def _of_device(ident: str) -> Q | None:
    return Q(digest__istartswith=ident) if re.fullmatch(r"[0-9a-f]{32}", ident) else None


def _device_ids(_: Records, name: str, text: str) -> Q:
    found = Q(pk__in=[])
    for ident in split_values(text):
        found |= _of_device(ident) or Q(pk__in=[])
    return found


def _observation_ids(_: Records, name: str, text: str) -> Q:
    found = Q(pk__in=[])
    for ident in split_values(text):
        found |= _of_observation(ident) or Q(pk__in=[])
    return found


def _observation_numbers(_: Records, name: str, text: str) -> Q:
    """The accession numbers an identifier of an Observation may begin with."""
    numbers = [
        token.value[: place.start()]
        for token in tokens(name, text)
        for quantity in Quantity
        for place in re.finditer(re.escape(f"-{quantity}"), token.value)
    ]
    return Q(accession_number__in=numbers)


def _report_status(_: Records, name: str, text: str) -> Q:
    found = Q(pk__in=[])
    for token in tokens(name, text):
        found |= {
            "partial": Q(signed_version__isnull=True),
            "final": Q(signed_version=1),
            "amended": Q(signed_version__gt=1),
            "corrected": Q(signed_version__gt=1),
        }.get(token.value, Q(pk__in=[]))
    return found


def _targets(_: Records, name: str, text: str) -> Q:
    idents = references(name, text.partition("/_history/")[0], "DiagnosticReport")
    return Q(specimen__in=[int(one) for one in idents if re.fullmatch(r"[0-9]{1,18}", one)])


def _of_patient(path: str) -> dict[str, Parameter]:
    """Parameters that lead to the patient, from rows that have it at `path`."""
    subject = Parameter("reference", "The patient.", by.by_reference("Patient", path))
    number = Parameter(
        "token", "Number of the patient, system|value.", by.by_patient_number(f"{path}__")
    )
    return {
        "patient": subject,
        "subject": subject,
        "patient.identifier": number,
        "subject.identifier": number,
    }


def _accession(path: str) -> Parameter:
    rows = by.by_number(path, lambda s: s.accession)
    return Parameter("token", "Accession number of the specimen.", rows)


_ID: Final = Parameter("token", "Logical id.", by.by_id())
_EFFECTIVE: Final = Parameter("date", "Collection, else receipt.", by.by_time("effective_at"))
_OF_CASE: Final = {
    **_of_patient("order__patient"),
    "accession": _accession("accession_number"),
    "specimen.accession": _accession("accession_number"),
    "specimen": Parameter("reference", "The specimen.", by.by_reference("Specimen", "pk")),
    "based-on": Parameter("reference", "The order.", by.by_reference("ServiceRequest", "order_id")),
    "date": _EFFECTIVE,
    "code": Parameter("token", "Code, system|code.", built=by.has_coding("code")),
    "category": Parameter("token", "Category, system|code.", built=by.has_coding("category")),
}
_ORDER_STATUS: Final = {one: (one,) for one in ("active", "completed", "revoked")}

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(
            "Patient",
            _patients,
            lambda records, row: [records.patient(row)],
            {
                "_id": _ID,
                "identifier": Parameter(
                    "token", "Patient number, system|value.", by.by_patient_number()
                ),
                "family": Parameter("string", "Family name.", by.by_text("family_name")),
                "birthdate": Parameter(
                    "date", "Day of birth.", by.by_time("birth_date", is_day=True)
                ),
            },
            includes={"organization": ("managingOrganization",)},
            revincludes=tuple(
                f"{name}:{parameter}"
                for name in ("ServiceRequest", "Specimen", "DiagnosticReport", "Observation")
                for parameter in ("patient", "subject")
            ),
            creates=True,
        ),
        Kind(
            "ServiceRequest",
            orders_with_status,
            lambda records, row: [records.service_request(row)],
            {
                "_id": _ID,
                "identifier": Parameter(
                    "token",
                    "Placer number, or filler number (that of the specimen).",
                    by.either(
                        by.by_number("placer_number", lambda s: s.placer),
                        by.by_number("specimens__accession_number", lambda s: s.filler),
                    ),
                ),
                **_of_patient("patient"),
                "accession": _accession("specimens__accession_number"),
                "specimen": Parameter(
                    "reference", "A specimen.", by.by_reference("Specimen", "specimens")
                ),
                "status": Parameter(
                    "token",
                    "active, completed or revoked.",
                    by.by_choice("fhir_status", _ORDER_STATUS),
                ),
                "authored": Parameter("date", "When it was ordered.", by.by_time("ordered_at")),
                "priority": Parameter(
                    "token",
                    "routine or stat.",
                    by.by_choice("priority", {"routine": ("routine",), "stat": ("stat",)}),
                ),
            },
            includes={
                "patient": ("subject",),
                "subject": ("subject",),
                "specimen": ("specimen",),
                "performer": ("performer",),
            },
            revincludes=("DiagnosticReport:based-on", "Observation:based-on"),
            creates=True,
        ),
        Kind(
            "Specimen",
            specimens_of,
            lambda records, row: [records.specimen(row)],
            {
                "_id": _ID,
                "identifier": _accession("accession_number"),
                "accession": _accession("accession_number"),
                **_of_patient("order__patient"),
                "collected": Parameter("date", "Collection.", by.by_time("collected_at")),
                "status": Parameter(
                    "token",
                    "available, or unsatisfactory (rejected).",
                    built=by.has_status("available", "unsatisfactory"),
                ),
            },
            includes={"patient": ("subject",), "subject": ("subject",)},
            revincludes=("DiagnosticReport:specimen", "Observation:specimen"),
        ),
        Kind(
            "DiagnosticReport",
            reported,
            _reports,
            {
                "_id": _ID,
                "identifier": Parameter(
                    "token",
                    "Number of the report or filler number: both are the accession number.",
                    by.by_number("accession_number", lambda s: s.report, lambda s: s.filler),
                ),
                **_OF_CASE,
                "status": Parameter(
                    "token",
                    "partial, final, amended or corrected.",
                    _report_status,
                    by.has_status("partial", "final", "amended", "corrected"),
                ),
                "issued": Parameter("date", "When it was signed.", by.by_time("signed_at")),
            },
            includes={
                "patient": ("subject",),
                "subject": ("subject",),
                "specimen": ("specimen",),
                "based-on": ("basedOn",),
                "result": ("result",),
                "performer": ("performer",),
                "results-interpreter": ("resultsInterpreter",),
            },
            revincludes=("Provenance:target",),
            has_versions=True,
        ),
        Kind(
            "Observation",
            reported,
            _observations,
            {
                "_id": Parameter("token", "Logical id.", _observation_ids, by.has_id),
                "identifier": Parameter(
                    "token", "Number of the value.", _observation_numbers, by.has_identifier
                ),
                **_OF_CASE,
                "status": Parameter(
                    "token",
                    "preliminary, final, amended, corrected or entered-in-error.",
                    built=by.has_status(
                        "preliminary", "final", "amended", "corrected", "entered-in-error"
                    ),
                ),
            },
            key=_of_observation,
            includes={
                "patient": ("subject",),
                "subject": ("subject",),
                "specimen": ("specimen",),
                "based-on": ("basedOn",),
                "device": ("device",),
                "performer": ("performer",),
                "has-member": ("hasMember",),
                "derived-from": ("derivedFrom",),
            },
        ),
        Kind(
            "Provenance",
            _signed,
            _provenances,
            {
                "_id": _ID,
                "target": Parameter("reference", "The report that was signed.", _targets),
                "recorded": Parameter("date", "When it was signed.", by.by_time("signed_at")),
            },
            includes={"target": ("target",), "agent": ("agent.who",)},
        ),
        Kind(
            "Device",
            lambda user: ModelVersion.objects.all(),
            lambda records, row: [records.device(row)],
            {
                "_id": Parameter("token", "Logical id.", _device_ids),
                "identifier": Parameter("token", "Digest of the weights.", built=by.has_identifier),
            },
            key=_of_device,
        ),
        Kind(
            "Organization",
            lambda user: visible_to(user, Site),
            lambda records, row: [records.organization(row)],
            {
                "_id": _ID,
                "identifier": Parameter("token", "Code of the site.", built=by.has_identifier),
            },
        ),
        Kind(
            "Practitioner",
            signers_of,
            lambda records, row: [records.practitioner(row)],
            {
                "_id": _ID,
                "identifier": Parameter("token", "User name.", built=by.has_identifier),
            },
        ),
    )
}
