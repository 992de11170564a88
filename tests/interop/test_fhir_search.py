"""Searching and reading over HTTP, in a laboratory with a second site that must never show."""

import base64
import re
from typing import Any

import pytest
from django.urls import reverse

from specimens.models import AuditEvent, Specimen
from specimens.services.tokens import create_token
from tests.factories import Cast
from tests.interop.fhir_laboratory import (
    FhirClient,
    Laboratory,
    amend,
    make_laboratory,
    names,
    sign,
)
from tests.interop.fhir_rules import broken_rules

pytestmark = [pytest.mark.core, pytest.mark.django_db]

KINDS = (
    "Patient", "ServiceRequest", "Specimen", "DiagnosticReport", "Observation", "Provenance",
    "Device", "Organization", "Practitioner",
)  # fmt: skip


@pytest.fixture
def lab(cast: Cast) -> Laboratory:
    return make_laboratory(cast)


@pytest.fixture
def client(cast: Cast, lab: Laboratory) -> FhirClient:
    return FhirClient(cast.integration)


def ids(kind: str, *cases: Specimen) -> set[str]:
    return {f"{kind}/{case.pk}" for case in cases}


def test_what_each_type_lists_is_of_the_own_site(
    cast: Cast, client: FhirClient, lab: Laboratory
) -> None:
    other = FhirClient(cast.outsider)
    for kind in KINDS:
        here, there = (set(one.found(kind, _count=100)) for one in (client, other))
        assert here, kind
        assert there, kind
        assert kind == "Device" or not here & there, kind
        for name in there - here:
            assert client.get(name).status_code == 404
            assert other.get(name).status_code == 200
    everything = client.get(
        "DiagnosticReport", {"_include": "*", "_revinclude": "Provenance:target"}
    )
    text = everything.content.decode()
    assert f'Specimen/{lab.elsewhere.pk}"' not in text
    assert f'Patient/{lab.elsewhere.order.patient_id}"' not in text


def test_every_resource_keeps_the_rules(client: FhirClient) -> None:
    for kind in KINDS:
        for entry in client.get(kind, {"_count": 100}).resource["entry"]:
            assert broken_rules(entry["resource"]) == []


FOUND = [
    ({"status": "partial"}, ["machine"]),
    ({"status": "final"}, ["signed"]),
    ({"status": "corrected"}, ["amended"]),
    ({"status": "amended"}, []),
    ({"status": "final,partial"}, ["signed", "machine"]),
    ({"accession": "A/1"}, ["signed"]),
    ({"accession": "urn:wbclab:main:accession|A/1"}, ["signed"]),
    ({"accession": "urn:wbclab:other:accession|A/1"}, []),
    ({"identifier": "urn:wbclab:main:filler|A/1"}, ["signed"]),
    ({"identifier": "urn:wbclab:main:report|A/1"}, ["signed"]),
    ({"identifier": "urn:wbclab:main:placer|A/1"}, []),
    ({"identifier": "A/2"}, []),
    ({"specimen__accession": "A/1"}, ["signed"]),
    ({"patient__identifier": "urn:hospital|P1"}, ["signed"]),
    ({"subject__identifier": "P1"}, ["signed"]),
    ({"patient__identifier": "urn:other|P1"}, []),
    ({"date": "2026-11-20"}, ["signed"]),
    ({"date": "2026-11-20T10:00:00Z"}, ["signed"]),
    ({"date": "2026-11-20T11:00:00+01:00"}, ["signed"]),
    ({"date": "lt2026-11-21"}, ["signed"]),
    ({"date": "le2026-11-20", "status": "final"}, ["signed"]),
    ({"date": "gt2026-11-20"}, ["machine", "amended"]),
    ({"date": "sa2026-11-20"}, ["machine", "amended"]),
    ({"date": "ne2026-11-20"}, ["machine", "amended"]),
    ({"date": "eb2026-11-20"}, []),
    ({"date": "ge2026-11-20"}, ["signed", "machine", "amended"]),
    ({"issued": "gt2020"}, ["signed", "amended"]),
    ({"code": "http://loinc.org|69738-3"}, ["signed", "machine", "amended"]),
    ({"code": "http://loinc.org|26511-6"}, []),
    ({"category": "HM"}, ["signed", "machine", "amended"]),
    ({"_id": "0"}, []),
]


def test_reports_are_found(client: FhirClient, lab: Laboratory) -> None:
    for query, expected in FOUND:
        found = client.found("DiagnosticReport", **query)
        wanted = ids("DiagnosticReport", *(getattr(lab, name) for name in expected))
        assert sorted(found) == sorted(wanted), query


def test_references_are_searched_by_id_name_and_address(
    client: FhirClient, lab: Laboratory
) -> None:
    pk = lab.signed.order.patient_id
    for value in (pk, f"Patient/{pk}", f"http://testserver/fhir/Patient/{pk}"):
        assert client.found("DiagnosticReport", patient=value) == [
            f"DiagnosticReport/{lab.signed.pk}"
        ]
    answer = client.get("DiagnosticReport", {"subject:Patient": pk})
    assert names(answer.resource) == [f"DiagnosticReport/{lab.signed.pk}"]
    foreign = lab.elsewhere.order.patient_id
    assert client.found("DiagnosticReport", patient=foreign) == []
    assert client.get("DiagnosticReport", {"patient": "Device/1"}).status_code == 400


def test_orders_by_number_status_and_specimen(client: FhirClient, lab: Laboratory) -> None:
    def order(case: Specimen) -> str:
        return f"ServiceRequest/{case.order_id}"

    assert client.found("ServiceRequest", identifier="urn:wbclab:main:placer|ORD-2") == [
        order(lab.signed)
    ]
    assert client.found("ServiceRequest", identifier="urn:wbclab:main:filler|A/1") == [
        order(lab.signed)
    ]
    assert set(client.found("ServiceRequest", status="completed")) == {
        order(lab.signed), order(lab.amended),
    }  # fmt: skip
    assert client.found("ServiceRequest", status="revoked") == [order(lab.rejected)]
    assert set(client.found("ServiceRequest", status="active")) == {
        order(lab.empty), order(lab.machine), f"ServiceRequest/{lab.expected.pk}",
    }  # fmt: skip
    assert client.found("ServiceRequest", specimen=lab.signed.pk) == [order(lab.signed)]
    assert client.found("Patient", birthdate="1964-08-12", family="muster") == [
        f"Patient/{lab.signed.order.patient_id}"
    ]
    assert client.found("Patient", birthdate="lt1964-08-12") == []
    assert client.found("Specimen", status="unsatisfactory") == [f"Specimen/{lab.rejected.pk}"]
    assert client.found("Specimen", collected="2026-11") == [f"Specimen/{lab.signed.pk}"]


def test_observations_by_code_status_and_identifier(client: FhirClient, lab: Laboratory) -> None:
    signed = f"Observation/{lab.signed.pk}"
    assert client.found("Observation", code="http://loinc.org|26511-6", accession="A/1") == [
        f"{signed}-percent-neutrophil"
    ]
    assert client.found("Observation", code="26511-6", status="preliminary") == [
        f"Observation/{lab.machine.pk}-percent-neutrophil"
    ]
    number = "urn:wbclab:main:observation|A/1-percent-neutrophil"
    assert client.found("Observation", identifier=number) == [f"{signed}-percent-neutrophil"]
    gone = client.found("Observation", status="entered-in-error")
    assert sorted(gone) == [
        f"Observation/{lab.amended.pk}-absolute-blast",
        f"Observation/{lab.amended.pk}-percent-blast",
    ]
    assert client.get(gone[0]).resource["status"] == "entered-in-error"
    assert (
        client.get("Observation", {"_summary": "count", "code": "26511-6"}).resource["total"] == 3
    )


def test_a_number_counts_once_however_many_tubes(
    cast: Cast, client: FhirClient, lab: Laboratory
) -> None:
    more = cast.specimen(order=lab.signed.order, accession_number="A/1b")
    found = client.found("ServiceRequest", identifier="ORD-2")
    assert found == [f"ServiceRequest/{lab.signed.order_id}"]
    request = client.get(found[0]).resource
    assert {one["reference"] for one in request["specimen"]} == ids("Specimen", lab.signed, more)
    assert request["status"] == "active"  # the second tube is not reported yet


def test_includes_bring_what_is_referred_to_once(client: FhirClient, lab: Laboratory) -> None:
    asked = {
        "accession": "A/1", "_revinclude": "Provenance:target",
        "_include": [
            f"DiagnosticReport:{x}" for x in ("subject", "specimen", "based-on", "result")
        ],
    }  # fmt: skip
    bundle = client.get("DiagnosticReport", asked).resource
    assert names(bundle) == [f"DiagnosticReport/{lab.signed.pk}"]
    brought = names(bundle, "include")
    assert len(brought) == len(set(brought))
    assert f"Patient/{lab.signed.order.patient_id}" in brought
    assert f"Provenance/{lab.report(lab.signed).pk}" in brought
    assert sum(name.startswith("Observation/") for name in brought) == len(
        bundle["entry"][0]["resource"]["result"]
    )
    everything = client.get("Observation", {"_include": "*", "accession": "A/1"}).resource
    kinds = {name.split("/")[0] for name in names(everything, "include")}
    assert kinds == {
        "Patient", "Specimen", "ServiceRequest", "Device", "Organization", "Practitioner",
    }  # fmt: skip
    backwards = client.get("Patient", {"identifier": "P1", "_revinclude": "Specimen:patient"})
    assert names(backwards.resource, "include") == [f"Specimen/{lab.signed.pk}"]
    of_version = client.get("Provenance", {"_include": "Provenance:target"}).resource
    amended = f"DiagnosticReport/{lab.amended.pk}"
    assert names(of_version, "include").count(amended) == 2  # both signed versions


def test_pages_lead_through_everything_once(client: FhirClient) -> None:
    for kind in ("Patient", "Observation"):
        whole = client.found(kind, _count=100)
        seen, url = [], f"{kind}?_count=3"
        while url:
            bundle = client.get(url).resource
            assert len(names(bundle)) <= 3
            seen += names(bundle)
            links = {link["relation"]: link["url"] for link in bundle["link"]}
            url = links.get("next", "").partition("/fhir/")[2]
        assert seen == whole
    first = client.get("Patient?_count=1").resource
    assert first["total"] == len(client.found("Patient", _count=100))
    assert client.get("Patient?_count=0").resource["total"] == first["total"]
    assert "entry" not in client.get("Patient?_summary=count").resource


def test_what_is_not_known_is_said_or_refused(client: FhirClient) -> None:
    lenient = client.get("Patient", {"shoe-size": "42", "identifier": "P1"})
    assert names(lenient.resource, "outcome") == ["OperationOutcome/"]
    assert len(names(lenient.resource)) == 1
    assert "shoe-size" not in lenient.resource["link"][0]["url"]
    strict = client.get("Patient", {"shoe-size": "42"}, Prefer="handling=strict")
    assert strict.status_code == 400
    assert "shoe-size" in strict.resource["issue"][0]["diagnostics"]


REFUSED = (
    "date=yesterday", "date=xx2026-01-01", "date=2026-13-01", "date=ap2026", "identifier=|",
    "status=done", "identifier:contains=1", "_count=many", "_include=Patient:nose",
    "_revinclude=Observation:nose", "_summary=text", "_cursor=x", "accession=%00",
    "date=9999-12-31", "date=0000",
)  # fmt: skip


def test_a_search_that_cannot_be_understood_is_400_and_says_why(client: FhirClient) -> None:
    for query in REFUSED:
        answer = client.get(f"DiagnosticReport?{query}")
        assert answer.status_code == 400, query
        assert answer.resource["issue"][0]["diagnostics"]
    for kind in ("Observation", "Specimen", "ServiceRequest"):
        assert client.get(f"{kind}?status=done").status_code == 400


def test_a_search_in_a_form_is_a_read(cast: Cast, lab: Laboratory) -> None:
    client = FhirClient(cast.integration)
    answer = client.http.post(
        "/fhir/Patient/_search",
        "identifier=urn:hospital|P1",
        content_type="application/x-www-form-urlencoded",
    )
    assert answer.status_code == 200
    assert str(lab.signed.order.patient_id) in answer.content.decode()


ABSENT = (
    "Patient/x", "Patient/999999999999999999999", "Observation/1", "Observation/x-y",
    "Device/x", "DiagnosticReport/1/_history/0", "Bundle/report-x", "Bundle/x", "Binary/x",
    "Nothing", "Nothing/1", "Patient/1/_history", "", "Patient/1/", "Patient/²",
)  # fmt: skip


def test_what_does_not_exist_is_404(client: FhirClient) -> None:
    for path in ABSENT:
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert answer.resource["issue"][0]["code"] == "not-found"


def test_errors_are_outcomes_whatever_they_are(cast: Cast, lab: Laboratory, settings: Any) -> None:
    nobody = FhirClient(None)
    answer = nobody.get("Patient")
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    client = FhirClient(cast.integration)
    assert client.get("Patient", Accept="application/fhir+xml").status_code == 406
    assert client.get("Patient?_format=xml").status_code == 406
    assert client.get("Patient?_format=json").status_code == 200
    plain = client.get("Patient", Accept="application/json")
    assert plain["Content-Type"].startswith("application/json")
    deleted = client.http.delete(f"/fhir/Patient/{lab.signed.order.patient_id}")
    assert deleted.status_code == 405
    assert deleted.json()["issue"][0]["code"] == "not-supported"
    token, _ = create_token(
        actor=None, user=cast.integration, lifetime=settings.REST_KNOX["TOKEN_TTL"],
        scopes=["write"],
    )  # fmt: skip
    client.http.defaults["HTTP_AUTHORIZATION"] = f"Token {token}"
    assert client.get("Patient").status_code == 403


def test_versions_of_a_report(cast: Cast, client: FhirClient, lab: Laboratory) -> None:
    path = f"DiagnosticReport/{lab.amended.pk}"
    current = client.get(path)
    assert (current["ETag"], current.resource["status"]) == ('W/"2"', "corrected")
    assert client.get(path, **{"If-None-Match": 'W/"2"'}).status_code == 304
    assert client.get(path, **{"If-None-Match": 'W/"1"'}).status_code == 200
    history = client.get(f"{path}/_history").resource
    assert [e["resource"]["meta"]["versionId"] for e in history["entry"]] == ["2", "1"]
    assert [e["resource"]["status"] for e in history["entry"]] == ["corrected", "final"]
    first = client.get(f"{path}/_history/1").resource
    assert first == history["entry"][1]["resource"]
    assert client.get(f"{path}/_history/3").status_code == 404
    provenance = client.found("Provenance", target=path)
    targets = {client.get(one).resource["target"][0]["reference"] for one in provenance}
    assert targets == {f"{path}/_history/1", f"{path}/_history/2"}


def test_a_machine_result_has_a_version_for_each_change(
    cast: Cast, client: FhirClient, lab: Laboratory
) -> None:
    path = f"DiagnosticReport/{lab.machine.pk}"
    before = client.get(path)
    assert before.resource["status"] == "partial"
    tag = before["ETag"]
    assert client.get(path, **{"If-None-Match": tag}).status_code == 304
    version = before.resource["meta"]["versionId"]
    assert client.get(f"{path}/_history/{version}").status_code == 200
    sign(lab.machine, cast.pathologist)
    after = client.get(path)
    assert (after["ETag"], after.resource["status"]) == ('W/"1"', "final")
    assert client.get(f"{path}/_history/{version}").status_code == 404
    amend(lab.machine, cast.pathologist)
    assert client.get(path).resource["status"] == "amended"


def test_who_has_a_resource_already_gets_no_body(client: FhirClient, lab: Laboratory) -> None:
    for name in (f"Patient/{lab.signed.order.patient_id}", f"Specimen/{lab.signed.pk}"):
        tag = client.get(name)["ETag"]
        again = client.get(name, **{"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
    Specimen.objects.filter(pk=lab.signed.pk).update(collected_at=None)
    assert client.get(name, **{"If-None-Match": tag}).status_code == 200


def test_an_open_amendment_leaves_the_signed_report_standing(
    cast: Cast, client: FhirClient, lab: Laboratory
) -> None:
    Specimen.objects.filter(pk=lab.signed.pk).update(state=Specimen.State.IN_REVIEW)
    assert client.get(f"DiagnosticReport/{lab.signed.pk}").resource["status"] == "final"
    assert client.found("ServiceRequest", status="completed", accession="A/1")


def test_a_report_as_one_bundle_with_its_pdf(client: FhirClient, lab: Laboratory) -> None:
    bundle = client.get(f"Bundle/report-{lab.signed.pk}").resource
    resources = [entry["resource"] for entry in bundle["entry"]]
    report = resources[0]
    form = report["presentedForm"][0]
    content = base64.b64decode(form["data"])
    assert content.startswith(b"%PDF")
    kinds = {one["resourceType"] for one in resources}
    assert kinds == {
        "DiagnosticReport", "Observation", "Patient", "ServiceRequest", "Specimen",
        "Organization", "Device", "Practitioner", "Provenance",
    }  # fmt: skip
    url = form["url"].partition("/fhir/")[2]
    pdf = client.http.get(f"/fhir/{url}", headers={"accept": "application/pdf"})
    assert pdf["Content-Type"] == "application/pdf"
    assert pdf.content == content
    binary = client.get(url, Accept="application/fhir+json").resource
    assert base64.b64decode(binary["data"]) == content
    alone = client.get(f"DiagnosticReport/{lab.signed.pk}").resource
    assert "data" not in alone["presentedForm"][0]
    unsigned = client.get(f"Bundle/report-{lab.machine.pk}").resource
    assert unsigned["entry"][0]["resource"]["status"] == "partial"


def test_each_look_at_a_patient_is_recorded(
    cast: Cast, client: FhirClient, lab: Laboratory
) -> None:
    def events(**of: Any) -> list[AuditEvent]:
        return list(AuditEvent.objects.filter(action="fhir.read", **of))

    assert not events()
    client.get(f"Patient/{lab.signed.order.patient_id}")
    (look,) = events()
    assert (look.actor, look.site) == (cast.integration, cast.site)
    assert look.details["interaction"] == "read"
    client.found("DiagnosticReport", accession="A/1", _include="DiagnosticReport:subject")
    (found,) = events(specimen=lab.signed)
    assert found.details["resources"] == [f"DiagnosticReport/{lab.signed.pk}"]
    assert len(events(object_type="patient")) == 2
    before = len(events())
    client.found("DiagnosticReport", accession="no-such")
    client.get(f"Patient/{lab.elsewhere.order.patient_id}")
    client.get("Device")
    assert len(events()) == before
    client.get(f"Bundle/report-{lab.signed.pk}")
    client.get(f"DiagnosticReport/{lab.signed.pk}/_history")
    interactions = {event.details["interaction"] for event in events(specimen=lab.signed)}
    assert interactions == {"search", "document", "history"}


def test_the_capability_statement_is_open_and_complete(lab: Laboratory) -> None:
    answer = FhirClient(None).get("metadata")
    assert answer.status_code == 200
    assert answer.resource["fhirVersion"] == "4.0.1"
    assert re.search("webhook", answer.resource["description"])
    assert reverse("fhir_metadata") == "/fhir/metadata"
