"""One resource of each kind, checked by hand against R4 and against the report it is made of.

`python -m tests.interop.test_fhir_golden` writes them anew; then check them by hand again.
"""

from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from specimens.interop.codes import default_codes
from specimens.interop.fhir.bundles import case_resources, transaction
from specimens.interop.fhir.case import CaseResult
from specimens.interop.fhir.naming import Systems
from specimens.interop.fhir.wire import from_json, to_json
from specimens.selectors.report_content import PRELIMINARY
from tests import reports

FOLDER = Path(__file__).parent / "golden" / "fhir"
AT = "2026-11-22T09:15:00+00:00"
COUNTS = {"neutrophil": 60, "lymphocyte": 28, "monocyte": 6, "eosinophil": 2, "basophil": 1,
          "blast": 3, "erythroblast": 4}  # fmt: skip
CORRECTED = COUNTS | {"blast": 0, "monocyte": 9}


def _case(event: str) -> CaseResult:
    signed = reports.content(COUNTS, comments=[reports.comment("Toxic granulation.")])
    contents = {
        "preliminary": reports.content(COUNTS, version=0, signature=None, limitation=PRELIMINARY),
        "final": signed,
        "corrected": reports.content(CORRECTED, version=2, amendment_reason="Second look."),
    }
    return CaseResult(
        content=contents[event],
        event=event,
        codes=default_codes().overlaid({}, "main"),
        systems=Systems().at("main"),
        previous=(signed,) if event == "corrected" else (),
        issued=AT,
    )


def golden() -> dict[str, Any]:
    """Each kind once, by file name; of Observations one of each form, in each state."""
    found = {}
    for event in ("preliminary", "final", "corrected"):
        case = _case(event)
        resources = case_resources(case, pdf=b"%PDF-1.4" if case.is_signed else None)
        for one in resources:
            name = one["resourceType"]
            if name == "Observation":
                name = one["id"].replace("report-", "Observation-")
            if name in ("DiagnosticReport", "Observation-percent-blast", "Provenance"):
                found[f"{name}-{event}"] = one
            elif event == "final" and name in KINDS:
                found[name] = one
    sent = transaction(
        [one for one in case_resources(_case("final"), pdf=b"%PDF-1.4")
         if one["resourceType"] != "Observation" or one["id"].endswith("percent-neutrophil")],
        message_id="0123456789abcdef0123", systems=Systems().at("main"), timestamp=AT,
        scope="main/261122-001/1",
    )  # fmt: skip
    return found | {"Bundle-transaction": sent}


KINDS = (
    "Patient", "ServiceRequest", "Specimen", "Organization", "Practitioner", "Device",
    "Observation-panel", "Observation-cells-counted", "Observation-wbc-count",
    "Observation-percent-neutrophil", "Observation-absolute-neutrophil",
    "Observation-per-100-wbc-erythroblast",
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(golden()))
def test_it_is_what_was_checked(name: str) -> None:
    kept = (FOLDER / f"{name}.json").read_text()
    built = from_json(to_json(golden()[name]))
    assert to_json(built) == to_json(from_json(kept))  # the digits, too
    get_fhir_model_class(built["resourceType"]).model_validate(built)


def test_there_is_no_other() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(golden())


def _pretty(value: Any, indent: str = "") -> str:
    """JSON with a line for each element, decimals as they are."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{inner}{to_json(key)}: {_pretty(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + _pretty(item, inner) for item in value) + f"\n{indent}]"
    return to_json(value)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, resource in golden().items():
        (FOLDER / f"{name}.json").write_text(_pretty(resource) + "\n")
