"""The builders: every resource in every state is FHIR R4, and says what the report says."""

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classifier.classes import ALL_CLASSES
from specimens.interop.codes import default_codes
from specimens.interop.fhir.bundles import case_resources, collection, transaction
from specimens.interop.fhir.case import CaseResult
from specimens.interop.fhir.naming import Systems
from specimens.interop.fhir.wire import from_json, to_json, without_empty
from specimens.models.reports import content_digest
from tests import reports
from tests.interop.fhir_rules import broken_rules, references_in

SYSTEMS = Systems().at("main")
AT = "2026-11-22T09:15:00+00:00"
UNHURRIED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
PDF = b"%PDF-1.4 report"
PRELIMINARY: dict[str, Any] = {"version": 0, "signature": None, "reviewers": []}


def case(event: str = "final", **values: Any) -> CaseResult:
    """A result of all classes; `before` is the content of the version before."""
    before = values.pop("before", None)
    content = values.pop("content", None)
    if content is None:
        counts = values.pop("counts", reports.MANY)
        wbc_count = values.pop("wbc_count", "7.20")
        given = PRELIMINARY if event == "preliminary" else {}
        number = {"version": 2, "amendment_reason": "x"} if event == "corrected" else {}
        content = reports.content(counts, wbc_count, **given, **number, **values)
    return CaseResult(
        content=content,
        event=event,
        codes=default_codes().overlaid({}, "main"),
        systems=SYSTEMS,
        previous=(before,) if before else (),
        issued=AT,
    )


def built(result: CaseResult) -> list[dict[str, Any]]:
    """The resources after a trip through JSON, each held to FHIR twice."""
    pdf = PDF if result.is_signed else None
    found: list[dict[str, Any]] = from_json(to_json(case_resources(result, pdf=pdf)))
    for resource in found:
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
        assert broken_rules(resource) == [], resource
    return found


def only(resources: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [one for one in resources if one["resourceType"] == kind]
    return found


def observations(resources: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        one["id"].removeprefix("report-"): one
        for one in resources
        if one["resourceType"] == "Observation"
    }


def test_a_signed_result_says_what_the_report_says() -> None:
    result = case(comments=[reports.comment("Toxic granulation.")])
    resources = built(result)
    report = only(resources, "DiagnosticReport")
    assert (report["status"], report["meta"]["versionId"]) == ("final", "1")
    assert report["issued"] == AT
    assert report["conclusion"] == "Toxic granulation. (Paul Pathologist)"
    assert base64.b64decode(report["presentedForm"][0]["data"]) == PDF
    assert report["resultsInterpreter"][0]["display"] == "Paul Pathologist"
    numbers = {(one["system"], one["value"]) for one in report["identifier"]}
    assert ("urn:wbclab:main:filler", "261122-001") in numbers
    given = observations(resources)
    for row in result.content["differential"]:
        one = given[f"percent-{row['key'].replace('_', '-')}"]
        assert one["status"] == "final"
        assert str(one["valueQuantity"]["value"]) == row["percent"]
        assert one["valueQuantity"]["code"] == "%"
        components = {c["code"]["coding"][0]["code"]: c for c in one["component"]}
        limits = [components[f"confidence-95-{side}"]["valueQuantity"]["value"]
                  for side in ("lower", "upper")]  # fmt: skip
        assert limits == [Decimal(str(row["lower"])), Decimal(str(row["upper"]))]
        assert components["cells-of-class"]["valueQuantity"]["value"] == row["count"]
        absolute = given[f"absolute-{row['key'].replace('_', '-')}"]
        assert str(absolute["valueQuantity"]["value"]) == row["absolute"]
    assert given["cells-counted"]["valueQuantity"]["value"] == result.content["counted"]
    assert given["per-100-wbc-erythroblast"]["valueQuantity"]["code"] == "/100{WBCs}"
    assert "per-100-wbc-artefact" not in given
    assert len(report["result"]) == len(given)
    assert len(given["panel"]["hasMember"]) == len(given) - 1


def test_flags_and_limits_are_those_of_the_report() -> None:
    given = observations(built(case()))
    blast = given["percent-blast"]
    assert blast["interpretation"][0]["coding"][0]["code"] == "HH"
    assert blast["referenceRange"] == [
        {"high": {"value": 0, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"},
         "text": "Any blast is reported at once"}
    ]  # fmt: skip
    neutrophil = given["percent-neutrophil"]
    assert neutrophil["interpretation"][0]["coding"][0]["code"] == "N"
    assert str(neutrophil["referenceRange"][0]["low"]["value"]) == "40.00"
    assert "interpretation" not in given["percent-monocyte"]


def test_a_machine_result_is_partial_and_nobodys_signature() -> None:
    result = case("preliminary")
    resources = built(result)
    report = only(resources, "DiagnosticReport")
    assert report["status"] == "partial"
    assert not {"presentedForm", "resultsInterpreter"} & report.keys()
    assert "not verified" in report["text"]["div"]
    given = observations(resources)
    assert {one["status"] for one in given.values()} == {"preliminary"}
    assert {one["method"]["coding"][0]["code"] for key, one in given.items()
            if key != "wbc-count"} == {"image-based-unverified"}  # fmt: skip
    kinds = {one["resourceType"] for one in resources}
    assert not kinds & {"Provenance", "Practitioner"}
    assert only(resources, "ServiceRequest")["status"] == "active"


def test_before_a_white_cell_is_counted_there_are_no_values() -> None:
    resources = built(case("preliminary", counts={"smudge_cell": 3}))
    assert observations(resources) == {}
    assert "result" not in only(resources, "DiagnosticReport")


def test_an_amendment_that_changes_values_is_corrected() -> None:
    before = reports.content(reports.MANY)
    after = reports.MANY | {"blast": 0, "monocyte": 8}
    resources = built(case("corrected", counts=after, before=before))
    report = only(resources, "DiagnosticReport")
    assert (report["status"], report["meta"]["versionId"]) == ("corrected", "2")
    given = observations(resources)
    assert given["percent-monocyte"]["status"] == "corrected"
    assert given["percent-neutrophil"]["status"] == "amended"
    assert given["percent-blast"]["status"] == "entered-in-error"
    assert given["percent-blast"]["valueQuantity"]["value"] > 0  # as it was told
    results = {one["reference"] for one in report["result"]}
    assert "Observation/report-percent-blast" not in results
    assert only(resources, "Provenance")["reason"] == [{"text": "x"}]


def test_an_amendment_of_words_is_amended() -> None:
    before = reports.content(reports.MANY)
    resources = built(case("corrected", before=before, comments=[reports.comment("More.")]))
    assert only(resources, "DiagnosticReport")["status"] == "amended"
    assert {one["status"] for one in observations(resources).values()} == {"amended"}


def test_the_signature_stands_in_the_provenance() -> None:
    result = case()
    found = only(built(result), "Provenance")
    signature = found["signature"][0]
    assert (signature["when"], signature["who"]["display"]) == (AT, "Paul Pathologist")
    assert found["activity"]["text"] == result.content["signature"]["meaning"]
    assert [one["type"]["coding"][0]["code"] for one in found["agent"]] == ["verifier", "assembler"]
    digest = found["entity"][0]["what"]["identifier"]["value"]
    assert digest == content_digest(result.content)


def test_the_model_is_the_device_but_not_of_the_analysers_count() -> None:
    resources = built(case())
    device = only(resources, "Device")
    assert device["version"][0]["value"] == "1.0"
    given = observations(resources)
    assert given["percent-blast"]["device"]["reference"] == f"Device/{device['id']}"
    assert not {"device", "method"} & given["wbc-count"].keys()
    assert given["absolute-blast"]["derivedFrom"][0]["reference"].endswith("wbc-count")


def test_without_the_analysers_count_there_are_no_absolute_values() -> None:
    given = observations(built(case(wbc_count=None)))
    assert not [name for name in given if name.startswith(("absolute", "wbc"))]


def test_what_was_bypassed_goes_along() -> None:
    passed = [{"code": "too_few_cells", "text": "60 of 100.", "reason": "leukopenia"}]
    given = observations(built(case(bypassed=passed)))
    assert "leukopenia" in given["panel"]["note"][0]["text"]


def test_drawn_cells_are_marked_as_test_data() -> None:
    specimen = reports.content()["specimen"] | {"is_synthetic": True}
    resources = built(case(specimen=specimen))
    for kind in ("DiagnosticReport", "Observation"):
        one = next(one for one in resources if one["resourceType"] == kind)
        assert one["meta"]["security"][0]["code"] == "HTEST"


@pytest.mark.parametrize("event", ["preliminary", "final", "corrected"])
def test_bundles_are_whole(event: str) -> None:
    result = case(event, before=reports.content(reports.COUNTS) if event == "corrected" else None)
    resources = case_resources(result, pdf=PDF if result.is_signed else None)
    whole = collection(resources, base="https://lab/fhir/", ident="report-1", timestamp=AT)
    get_fhir_model_class("Bundle").model_validate(from_json(to_json(whole)))
    names = [f"{one['resourceType']}/{one['id']}" for one in resources]
    assert len(names) == len(set(names))
    assert set(references_in(resources)) <= set(names)
    sent = transaction(
        resources, message_id="m", systems=SYSTEMS, timestamp=AT, scope=f"main/1/{event}"
    )
    get_fhir_model_class("Bundle").model_validate(from_json(to_json(sent)))
    urls = [entry["fullUrl"] for entry in sent["entry"]]
    assert len(urls) == len(set(urls)) == len(resources)
    assert set(references_in(sent)) <= set(urls)
    for entry in sent["entry"]:
        how = entry["request"]
        by_identifier = "identifier=" in how["url"] + how.get("ifNoneExist", "")
        assert by_identifier or entry["resource"]["resourceType"] == "Provenance"


counts = st.dictionaries(
    st.sampled_from([c.key for c in ALL_CLASSES]), st.integers(0, 400), max_size=15
)
words = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda text: text.strip() != ""
)


@UNHURRIED
@given(
    st.sampled_from(["preliminary", "final", "corrected"]),
    counts,
    counts,
    st.one_of(st.none(), st.decimals("0.01", "999.99", places=2).map(str)),
    words,
    st.booleans(),
)
def test_any_content_is_fhir(
    event: str,
    now: dict[str, int],
    before: dict[str, int],
    wbc_count: str | None,
    text: str,
    collected: bool,
) -> None:
    base = reports.content()
    specimen = base["specimen"] | {
        "requester": text.strip(), "clinical_information": text.strip(), "wbc_count": wbc_count,
    }  # fmt: skip
    if not collected:
        specimen |= {"collected_at": None}
    patient = base["patient"] | {
        "family_name": text.strip(), "given_name": "", "birth_date": None, "sex": "U",
        "issuer": text.strip(),
    }  # fmt: skip
    signed_counts = now if sum(now.get(c.key, 0) for c in ALL_CLASSES if c.is_wbc) else {"blast": 1}
    result = case(
        event,
        counts=now if event == "preliminary" else signed_counts,
        wbc_count=wbc_count,
        before=reports.content({"neutrophil": 1} | before) if event == "corrected" else None,
        comments=[reports.comment(text)],
        patient=patient,
        specimen=specimen,
    )
    resources = built(result)
    given = observations(resources)
    values = [one["valueQuantity"]["value"] for key, one in given.items()
              if key.startswith("percent-") and one["status"] != "entered-in-error"]  # fmt: skip
    assert not values or sum(values) == 100


@UNHURRIED
@given(st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(),
              st.decimals(allow_nan=False, allow_infinity=False, places=3)),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
))  # fmt: skip
def test_json_keeps_every_digit(value: Any) -> None:
    text = to_json(value)
    assert json.loads(text) == json.loads(to_json(from_json(text)))
    if isinstance(value, Decimal):
        assert str(from_json(text)) == f"{value:f}"


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": 1, "a": 2}', "{", "", '{"a": Infinity}'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


def test_empty_elements_are_dropped_at_every_depth() -> None:
    assert without_empty({"a": {"b": []}, "c": [{}, {"d": ""}], "e": 0, "f": False}) == {
        "e": 0, "f": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("issuer", "system"),
    [("", "urn:wbclab:main:patient"), ("1.2.276.0.76", "urn:oid:1.2.276.0.76"),
     ("https://hospital.example/mrn", "https://hospital.example/mrn"),
     ("St. Mary’s", "urn:wbclab:issuer:St.%20Mary%E2%80%99s")],
)  # fmt: skip
def test_issuers_are_uris_and_come_back(issuer: str, system: str) -> None:
    assert SYSTEMS.of_issuer(issuer) == system
    assert SYSTEMS.issuer_of(system) == issuer


@UNHURRIED
@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=64))
def test_any_issuer_comes_back(issuer: str) -> None:
    system = SYSTEMS.of_issuer(issuer)
    assert SYSTEMS.issuer_of(system) in (issuer, issuer.removeprefix("urn:oid:"))
    assert not any(letter.isspace() for letter in system)
