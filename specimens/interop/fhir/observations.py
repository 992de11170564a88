"""Observations: one for each value of a report, and the panel that holds them together.

The exact 95% limits of a percentage, and the cells it was counted from, are components: receivers
keep those, while many drop extensions they do not know.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from specimens.interop.codes import Code
from specimens.interop.fhir.case import CORRECTED, PRELIMINARY, CaseResult
from specimens.interop.fhir.measures import Measure, changed_names, measures, retracted
from specimens.interop.fhir.naming import concept, device_id, identifier, reference
from specimens.interop.fhir.wire import Resource, without_empty
from specimens.reference import Flag
from specimens.terminology import LOCAL, Quantity

UCUM: Final = "http://unitsofmeasure.org"
INTERPRETATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
CATEGORY: Final = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "laboratory",
            "display": "Laboratory",
        }
    ]
}
COUNT: Final = Code(LOCAL, "cells-of-class", "Cells of this class")
LOWER: Final = Code(LOCAL, "confidence-95-lower", "Lower exact 95% limit (Clopper-Pearson)")
UPPER: Final = Code(LOCAL, "confidence-95-upper", "Upper exact 95% limit (Clopper-Pearson)")
ENTERED_IN_ERROR: Final = "entered-in-error"
_FLAG_NAMES: Final = {
    "N": "Normal", "L": "Low", "H": "High", "LL": "Critical low", "HH": "Critical high",
}  # fmt: skip


def observations(case: CaseResult) -> list[Resource]:
    """Return the panel, then one Observation for each value, then those an amendment took back."""
    given = measures(case.content)
    if not given:
        return []
    changed = _changed(case)
    values = [_observation(case, one, _status(case, one.name in changed)) for one in given]
    gone = [_observation(case, one, ENTERED_IN_ERROR) for one in retracted_measures(case)]
    return [_panel(case, given, _status(case, bool(changed))), *values, *gone]


def retracted_measures(case: CaseResult) -> list[Measure]:
    """What the current version no longer says; before a signature nothing was said for good."""
    return retracted(case.previous, case.content) if case.is_signed else []


def is_changed(case: CaseResult) -> bool:
    """Whether the amendment changed a value, and not only words."""
    return bool(_changed(case) or retracted_measures(case))


def _changed(case: CaseResult) -> set[tuple[str, str]]:
    return changed_names(case.previous[-1], case.content) if case.previous else set()


def _status(case: CaseResult, changed: bool) -> str:
    """Observation.status: preliminary, final; of an amended version corrected or amended."""
    if case.event == PRELIMINARY:
        return "preliminary"
    if case.event == CORRECTED:
        return "corrected" if changed else "amended"
    return "final"


def _common(case: CaseResult, quantity: str, key: str, status: str) -> Resource:
    ids, content = case.ids, case.content
    value = "-".join(part for part in (case.accession_number, quantity, key) if part)
    method = case.codes.method if case.is_signed else case.codes.method_unverified
    models = content["models"]
    return {
        "resourceType": "Observation",
        "id": ids.observation(quantity, key),
        "meta": case.meta(),
        "identifier": [identifier(case.systems.observation, value)],
        "basedOn": [reference("ServiceRequest", ids.order)],
        "status": status,
        "category": [CATEGORY],
        "code": concept(case.codes.entry(quantity, key).code),
        "subject": reference("Patient", ids.patient),
        "effectiveDateTime": case.effective_at,
        "issued": case.issued_at,
        "performer": performers(case),
        "method": concept(method),
        "specimen": reference("Specimen", ids.specimen),
        "device": (
            reference("Device", device_id(models[-1]["digest"]), _model_name(models[-1]))
            if models
            else None
        ),
    }


def performers(case: CaseResult) -> list[dict[str, Any]]:
    """The laboratory; with a signature also the person who verified."""
    name = case.content["laboratory"]["name"]
    found = [reference("Organization", case.ids.organization, name)]
    if case.is_signed:
        signature = case.content["signature"]
        found.append(reference("Practitioner", case.ids.signer, signature["name"]))
    return found


def _model_name(model: Mapping[str, str]) -> str:
    return f"{model['name']} {model['version']}"


def _panel(case: CaseResult, given: list[Measure], status: str) -> Resource:
    members = [reference("Observation", case.ids.observation(*one.name)) for one in given]
    passed = case.content["bypassed"]
    notes = [{"text": f"Signed although: {one['text']} Reason: {one['reason']}"} for one in passed]
    more = {"note": notes, "hasMember": members}
    return without_empty(_common(case, Quantity.PANEL, "", status) | more)


def _observation(case: CaseResult, measure: Measure, status: str) -> Resource:
    unit = case.codes.unit(*measure.name)
    found = _common(case, measure.quantity, measure.key, status)
    if measure.quantity == Quantity.WBC_COUNT:
        # The analyser's, told to us with the specimen: not counted here, and by no model.
        found |= {"method": None, "device": None}
        found["note"] = [{"text": "As given to the laboratory; not measured by this method."}]
        found["performer"] = found["performer"][:1]
    if measure.quantity == Quantity.ABSOLUTE:
        sources = ((Quantity.WBC_COUNT, ""), (Quantity.PERCENT, measure.key))
        found["derivedFrom"] = [
            reference("Observation", case.ids.observation(*one)) for one in sources
        ]
    if measure.value is None:
        found["dataAbsentReason"] = {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
                    "code": "unknown",
                }
            ]
        }
    else:
        found["valueQuantity"] = quantity(measure.value, unit)
    found["interpretation"] = _interpretation(measure.reference)
    found["referenceRange"] = _reference_range(measure.reference, unit)
    found["component"] = _components(case, measure)
    return without_empty(found)


def quantity(value: str, unit: str) -> dict[str, Any]:
    """A Quantity in UCUM; the digits stay those of the report."""
    return {"value": Decimal(value), "unit": unit, "system": UCUM, "code": unit}


def _interpretation(limits: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not limits:
        return []
    letter = Flag(limits["flag"]).letter
    return [
        {"coding": [{"system": INTERPRETATION, "code": letter, "display": _FLAG_NAMES[letter]}]}
    ]


def _reference_range(limits: Mapping[str, Any], unit: str) -> list[dict[str, Any]]:
    low, high = limits.get("low"), limits.get("high")
    if low is None and high is None:
        return []
    return [
        {
            "low": None if low is None else quantity(low, unit),
            "high": None if high is None else quantity(high, unit),
            "text": limits["source"],
        }
    ]


def _components(case: CaseResult, measure: Measure) -> list[dict[str, Any]]:
    if measure.count is None:
        return []
    cells = case.codes.unit(Quantity.CELLS_COUNTED)
    percent = case.codes.unit(Quantity.PERCENT, measure.key)
    given = [(COUNT, str(measure.count), cells)]
    for code, limit in ((LOWER, measure.lower), (UPPER, measure.upper)):
        if limit is not None:
            given.append((code, f"{limit:.1f}", percent))
    return [
        {"code": concept(code), "valueQuantity": quantity(value, unit)}
        for code, value, unit in given
    ]
