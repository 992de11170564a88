"""What there is in FHIR: for each resource type its rows, its parameters, and what it leads to."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import Q, QuerySet

from classifier.models import ModelVersion
from specimens.interop.fhir.observations import observations
from specimens.interop.fhir.reports import provenance
from specimens.interop.fhir.wire import Resource
from specimens.models import Patient, Report, Site, Specimen, User
from specimens.permissions import visible_to
from specimens.selectors.fhir import (
    Records,
    orders_with_status,
    reported,
    signers_of,
    specimens_of,
)
from specimens.selectors.fhir_filters import Parameter
from specimens.selectors.fhir_parameters import (
    PARAMETERS,
    row_of_device,
    row_of_number,
    row_of_observation,
)


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
    key: Callable[[str], Q | None] = row_of_number
    includes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    revincludes: tuple[str, ...] = ()
    creates: bool = False
    has_versions: bool = False

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return PARAMETERS[self.name]


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


_SUBJECT: Final = {"patient": ("subject",), "subject": ("subject",)}
_OF_CASE: Final = {
    **_SUBJECT,
    "specimen": ("specimen",),
    "based-on": ("basedOn",),
    "performer": ("performer",),
}

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(
            "Patient",
            _patients,
            lambda records, row: [records.patient(row)],
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
            includes={**_SUBJECT, "specimen": ("specimen",), "performer": ("performer",)},
            revincludes=("DiagnosticReport:based-on", "Observation:based-on"),
            creates=True,
        ),
        Kind(
            "Specimen",
            specimens_of,
            lambda records, row: [records.specimen(row)],
            includes=_SUBJECT,
            revincludes=("DiagnosticReport:specimen", "Observation:specimen"),
        ),
        Kind(
            "DiagnosticReport",
            reported,
            _reports,
            includes={
                **_OF_CASE,
                "result": ("result",),
                "results-interpreter": ("resultsInterpreter",),
            },
            revincludes=("Provenance:target",),
            has_versions=True,
        ),
        Kind(
            "Observation",
            reported,
            _observations,
            key=row_of_observation,
            includes={
                **_OF_CASE,
                "device": ("device",),
                "has-member": ("hasMember",),
                "derived-from": ("derivedFrom",),
            },
        ),
        Kind(
            "Provenance",
            _signed,
            _provenances,
            includes={"target": ("target",), "agent": ("agent.who",)},
        ),
        Kind(
            "Device",
            lambda user: ModelVersion.objects.all(),
            lambda records, row: [records.device(row)],
            key=row_of_device,
        ),
        Kind(
            "Organization",
            lambda user: visible_to(user, Site),
            lambda records, row: [records.organization(row)],
        ),
        Kind("Practitioner", signers_of, lambda records, row: [records.practitioner(row)]),
    )
}
