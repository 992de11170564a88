"""The search parameters of each resource type, by the names R4 gives them.

Beyond R4: `accession`, and the numbers of patient and specimen by chaining.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from django.db.models import Q

from specimens.interop.fhir.parameters import references, split_values, tokens
from specimens.selectors import fhir_filters as by
from specimens.selectors.fhir import Records
from specimens.selectors.fhir_filters import NOTHING, Parameter
from specimens.terminology import Quantity

_OBSERVATION: Final = re.compile(r"([0-9]{1,18})-[A-Za-z0-9.-]+")
# Which rows may have a status; an amended version is corrected where a value changed.
_REPORT_STATUS: Final = {
    "partial": Q(signed_version__isnull=True),
    "final": Q(signed_version=1),
    "amended": Q(signed_version__gt=1),
    "corrected": Q(signed_version__gt=1),
}
_OBSERVATION_STATUS: Final = (
    "preliminary", "final", "amended", "corrected", "entered-in-error",
)  # fmt: skip
_ORDER_STATUS: Final = {one: (one,) for one in ("active", "completed", "revoked")}
_PRIORITY: Final = {one: (one,) for one in ("routine", "stat")}
_SPECIMEN_STATUS: Final = ("available", "unsatisfactory")


def row_of_number(ident: str) -> Q | None:
    """The row whose key is the id; None where it is no key."""
    return Q(pk=int(ident)) if re.fullmatch(r"[0-9]{1,18}", ident, re.ASCII) else None


def row_of_observation(ident: str) -> Q | None:
    """The case an Observation belongs to: 17-percent-blast is one of case 17."""
    found = _OBSERVATION.fullmatch(ident)
    return Q(pk=int(found[1])) if found else None


def row_of_device(ident: str) -> Q | None:
    """The model version whose digest begins with the id."""
    return Q(digest__istartswith=ident) if re.fullmatch(r"[0-9a-f]{32}", ident) else None


def _by_ids(row_of: Callable[[str], Q | None]) -> by.Rows:
    def rows(_: Records, name: str, text: str) -> Q:
        found = NOTHING
        for ident in split_values(text):
            found |= row_of(ident) or NOTHING
        return found

    return rows


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
    found = NOTHING
    for code in by.known_codes(name, text, _REPORT_STATUS):
        found |= _REPORT_STATUS[code]
    return found


def _targets(_: Records, name: str, text: str) -> Q:
    idents = references(name, text.partition("/_history/")[0], "DiagnosticReport")
    return Q(specimen__in=[int(one) for one in idents if row_of_number(one) is not None])


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


_ID: Final = Parameter("token", "Logical id.", _by_ids(row_of_number))
_OF_CASE: Final = {
    **_of_patient("order__patient"),
    "accession": _accession("accession_number"),
    "specimen.accession": _accession("accession_number"),
    "specimen": Parameter("reference", "The specimen.", by.by_reference("Specimen", "pk")),
    "based-on": Parameter("reference", "The order.", by.by_reference("ServiceRequest", "order_id")),
    "date": Parameter("date", "Collection, else receipt.", by.by_time("effective_at")),
    "code": Parameter("token", "Code, system|code.", built=by.has_coding("code")),
    "category": Parameter("token", "Category, system|code.", built=by.has_coding("category")),
}

PARAMETERS: Final[Mapping[str, Mapping[str, Parameter]]] = {
    "Patient": {
        "_id": _ID,
        "identifier": Parameter("token", "Patient number, system|value.", by.by_patient_number()),
        "family": Parameter("string", "Family name.", by.by_text("family_name")),
        "birthdate": Parameter("date", "Day of birth.", by.by_time("birth_date", is_day=True)),
    },
    "ServiceRequest": {
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
        "specimen": Parameter("reference", "A specimen.", by.by_reference("Specimen", "specimens")),
        "status": Parameter(
            "token",
            "active, completed or revoked.",
            by.by_choice("fhir_status", _ORDER_STATUS),
        ),
        "authored": Parameter("date", "When it was ordered.", by.by_time("ordered_at")),
        "priority": Parameter("token", "routine or stat.", by.by_choice("priority", _PRIORITY)),
    },
    "Specimen": {
        "_id": _ID,
        "identifier": _accession("accession_number"),
        "accession": _accession("accession_number"),
        **_of_patient("order__patient"),
        "collected": Parameter("date", "Collection.", by.by_time("collected_at")),
        "status": Parameter(
            "token",
            "available, or unsatisfactory (rejected).",
            by.is_one_of(*_SPECIMEN_STATUS),
            by.has_status,
        ),
    },
    "DiagnosticReport": {
        "_id": _ID,
        "identifier": Parameter(
            "token",
            "Number of the report or filler number: both are the accession number.",
            by.by_number("accession_number", lambda s: s.report, lambda s: s.filler),
        ),
        **_OF_CASE,
        "status": Parameter(
            "token", "partial, final, amended or corrected.", _report_status, by.has_status
        ),
        "issued": Parameter("date", "When it was signed.", by.by_time("signed_at")),
    },
    "Observation": {
        "_id": Parameter("token", "Logical id.", _by_ids(row_of_observation), by.has_id),
        "identifier": Parameter(
            "token", "Number of the value.", _observation_numbers, by.has_identifier
        ),
        **_OF_CASE,
        "status": Parameter(
            "token",
            "preliminary, final, amended, corrected or entered-in-error.",
            by.is_one_of(*_OBSERVATION_STATUS),
            by.has_status,
        ),
    },
    "Provenance": {
        "_id": _ID,
        "target": Parameter("reference", "The report that was signed.", _targets),
        "recorded": Parameter("date", "When it was signed.", by.by_time("signed_at")),
    },
    "Device": {
        "_id": Parameter("token", "Logical id.", _by_ids(row_of_device)),
        "identifier": Parameter("token", "Digest of the weights.", built=by.has_identifier),
    },
    "Organization": {
        "_id": _ID,
        "identifier": Parameter("token", "Code of the site.", built=by.has_identifier),
    },
    "Practitioner": {
        "_id": _ID,
        "identifier": Parameter("token", "User name.", built=by.has_identifier),
    },
}
