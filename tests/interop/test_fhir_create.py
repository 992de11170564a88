"""Patients and orders that clients create: once each, refused with every fault named."""

import json
from typing import Any

import pytest

from specimens.models import AuditEvent, Order, Patient, Role, Specimen
from specimens.services.order_entry import place_order
from tests.factories import Cast, PatientFactory, UserFactory
from tests.interop.fhir_laboratory import FhirClient
from wbclab.request_body import body_limit

pytestmark = [pytest.mark.core, pytest.mark.django_db]

LOINC = "http://loinc.org"
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "identifier": [{"system": "https://hospital.example/mrn", "value": "4711"}],
    "name": [{"family": "Müller", "given": ["Erika", "Anna"]}],
    "gender": "female",
    "birthDate": "1964-08-12",
}


def order(**values: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "identifier": [{"value": "ORD-9", "type": {"coding": [{"code": "PLAC"}]}}],
        "status": "active",
        "intent": "order",
        "priority": "urgent",
        "code": {"coding": [{"system": LOINC, "code": "69738-3"}]},
        "subject": {"identifier": {"system": "https://hospital.example/mrn", "value": "4711"}},
        "authoredOn": "2026-11-22T08:00:00+01:00",
        "requester": {"display": "Ward 3"},
        "reasonCode": [{"text": "Fever"}],
        "note": [{"text": "Please call."}],
    } | values


@pytest.fixture
def client(cast: Cast) -> FhirClient:
    return FhirClient(cast.integration)


def test_a_patient_is_taken_once(cast: Cast, client: FhirClient) -> None:
    answer = client.post("Patient", json.dumps(PATIENT))
    assert answer.status_code == 201
    patient = Patient.objects.get()
    assert answer["Location"] == f"http://testserver/fhir/Patient/{patient.pk}"
    assert (patient.site, patient.issuer) == (cast.site, "https://hospital.example/mrn")
    assert (patient.given_name, str(patient.birth_date)) == ("Erika Anna", "1964-08-12")
    assert answer.resource["identifier"][0]["system"] == "https://hospital.example/mrn"
    again = client.post("Patient", json.dumps(PATIENT))
    assert (again.status_code, again["Location"]) == (200, answer["Location"])
    other = client.post("Patient", json.dumps(PATIENT | {"birthDate": "1970-01-01"}))
    assert other.status_code == 409
    assert "birth date" in other.resource["issue"][0]["diagnostics"]
    assert Patient.objects.count() == 1
    assert AuditEvent.objects.filter(action="patient.registered").count() == 1


def test_if_none_exist_finds_before_it_makes(cast: Cast, client: FhirClient) -> None:
    condition = {"If-None-Exist": "identifier=https://hospital.example/mrn|4711"}
    assert client.post("Patient", json.dumps(PATIENT), **condition).status_code == 201
    # The condition decides: what else the body says is not looked at.
    changed = json.dumps(PATIENT | {"birthDate": "1970-01-01"})
    assert client.post("Patient", changed, **condition).status_code == 200
    PatientFactory.create(site=cast.site, identifier="4711", issuer="other")
    two = client.post("Patient", json.dumps(PATIENT), **{"If-None-Exist": "identifier=4711"})
    assert two.status_code == 412
    for wrong in ("shoe-size=42", "identifier", "_count=1"):
        answer = client.post("Patient", json.dumps(PATIENT), **{"If-None-Exist": wrong})
        assert answer.status_code == 400, wrong
    PatientFactory.create(site=cast.other_site, identifier="0815")
    foreign = {"If-None-Exist": "identifier=0815"}
    new = json.dumps(PATIENT | {"identifier": [{"value": "0815"}]})
    assert client.post("Patient", new, **foreign).status_code == 201


def test_an_order_waits_for_its_tube(cast: Cast, client: FhirClient) -> None:
    client.post("Patient", json.dumps(PATIENT))
    answer = client.post("ServiceRequest", json.dumps(order()))
    assert answer.status_code == 201, answer.content
    placed = Order.objects.get()
    assert (placed.placer_number, placed.priority) == ("ORD-9", "stat")
    assert (placed.requester, placed.clinical_information) == ("Ward 3", "Fever\nPlease call.")
    assert placed.expected_since is not None
    assert placed.ordered_at.isoformat() == "2026-11-22T07:00:00+00:00"
    assert answer.resource["status"] == "active"
    again = client.post("ServiceRequest", json.dumps(order()))
    assert (again.status_code, Order.objects.count()) == (200, 1)
    other = client.post("ServiceRequest", json.dumps(order(priority="routine")))
    assert other.status_code == 409
    assert "priority" in other.resource["issue"][0]["diagnostics"]
    found = client.found("ServiceRequest", identifier="urn:wbclab:main:placer|ORD-9")
    assert found == [f"ServiceRequest/{placed.pk}"]


def test_an_order_brings_patient_and_specimen_along(cast: Cast, client: FhirClient) -> None:
    body = order(
        contained=[
            PATIENT | {"id": "p"},
            {"resourceType": "Specimen", "id": "s", "accessionIdentifier": {"value": "S-1"},
             "collection": {"collectedDateTime": "2026-11-22T07:30:00Z"}},
        ],
        subject={"reference": "#p"},
        specimen=[{"reference": "#s"}],
    )  # fmt: skip
    answer = client.post("ServiceRequest", json.dumps(body))
    assert answer.status_code == 201, answer.content
    specimen = Specimen.objects.get(accession_number="S-1")
    assert specimen.order.patient.family_name == "Müller"
    assert specimen.collected_at is not None
    assert answer.resource["specimen"][0]["reference"] == f"Specimen/{specimen.pk}"
    assert client.post("ServiceRequest", json.dumps(body)).status_code == 200
    number = [{"value": "ORD-10", "type": {"coding": [{"code": "PLAC"}]}}]
    taken = client.post("ServiceRequest", json.dumps(body | {"identifier": number}))
    assert taken.status_code == 422
    assert "S-1 is in use" in taken.resource["issue"][0]["diagnostics"]
    assert not Order.objects.filter(placer_number="ORD-10").exists()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"status": "draft"}, "ServiceRequest.status"),
    ({"intent": "plan"}, "ServiceRequest.intent"),
    ({"doNotPerform": True}, "ServiceRequest.doNotPerform"),
    ({"priority": "soon"}, "ServiceRequest.priority"),
    ({"identifier": []}, "ServiceRequest.identifier"),
    ({"identifier": [{"system": "urn:x"}]}, "ServiceRequest.identifier[0].value"),
    ({"identifier": [{"system": "urn:x", "value": "1"}]}, "ServiceRequest.identifier.system"),
    ({"code": {"coding": [{"system": LOINC, "code": "718-7"}]}}, "ServiceRequest.code"),
    ({"code": {"text": "Differential"}}, "ServiceRequest.code"),
    ({"subject": {}}, "ServiceRequest.subject"),
    ({"subject": {"reference": "Patient/0"}}, "ServiceRequest.subject"),
    ({"subject": {"reference": "Group/1"}}, "ServiceRequest.subject.reference"),
    ({"subject": {"reference": "#p"}}, "ServiceRequest.subject.reference"),
    ({"specimen": [{"reference": "Specimen/1"}]}, "ServiceRequest.specimen"),
    ({"authoredOn": "2026-11-22"}, "ServiceRequest.authoredOn"),
    ({"authoredOn": "2026-02-30T10:00:00Z"}, "ServiceRequest.authoredOn"),
    ({"requester": "Ward 3"}, "ServiceRequest.requester"),
    ({"note": {"text": "x"}}, "ServiceRequest.note"),
    ({"modifierExtension": [{"url": "urn:x"}]}, "ServiceRequest.modifierExtension"),
    ({"performer": [{"reference": "Organization/0"}]}, ""),
]


def test_an_order_that_cannot_be_taken_says_where_it_is_wrong(client: FhirClient) -> None:
    client.post("Patient", json.dumps(PATIENT))
    for change, place in WRONG:
        answer = client.post("ServiceRequest", json.dumps(order(**change)))
        assert answer.status_code == 422, (change, answer.content)
        places = [one["expression"][0] for one in answer.resource["issue"]]
        assert not place or place in places, (change, places)
    assert not Order.objects.exists()


WRONG_PATIENTS: list[tuple[dict[str, Any], str]] = [
    ({"identifier": []}, "Patient.identifier"),
    ({"identifier": [{"value": "1"}, {"value": "2"}]}, "Patient.identifier"),
    ({"identifier": [{"value": 1}]}, "Patient.identifier[0].value"),
    ({"identifier": [{"value": "1", "system": "urn:" + "x" * 80}]}, "Patient.identifier.system"),
    ({"name": []}, "Patient.name"),
    ({"name": [{"given": ["Erika"]}]}, "Patient.name[0].family"),
    ({"name": [{"family": "A", "given": "Erika"}]}, "Patient.name.given"),
    ({"birthDate": "1964"}, "Patient.birthDate"),
    ({"birthDate": "1964-02-30"}, "Patient.birthDate"),
    ({"gender": "f"}, "Patient.gender"),
    ({"active": False}, "Patient.active"),
    ({"name": [{"family": "a\0b"}]}, "Patient.name[0].family"),
]


def test_a_patient_that_cannot_be_taken_says_where_it_is_wrong(client: FhirClient) -> None:
    for change, place in WRONG_PATIENTS:
        answer = client.post("Patient", json.dumps(PATIENT | change))
        assert answer.status_code == 422, (change, answer.content)
        assert place in [one["expression"][0] for one in answer.resource["issue"]], change
    both = client.post("Patient", json.dumps(PATIENT | {"gender": "f", "birthDate": "1964"}))
    assert len(both.resource["issue"]) == 2
    long = client.post("Patient", json.dumps(PATIENT | {"name": [{"family": "x" * 200}]}))
    assert long.status_code == 422
    assert not Patient.objects.exists()


def test_what_is_no_resource_is_400(client: FhirClient) -> None:
    bodies = ("", "{", "[]", "null", '"x"', '{"resourceType": "Group"}', "{}", "[" * 100_000)
    for body in bodies:
        assert client.post("Patient", body).status_code == 400, body[:20]
    form = client.http.post("/fhir/Patient", {"a": "b"})
    assert form.status_code == 415
    assert form.json()["resourceType"] == "OperationOutcome"


@pytest.mark.usefixtures("cast")
def test_a_wrong_host_is_told_in_fhir() -> None:
    answer = FhirClient(None).get("metadata", Host="elsewhere.example")
    assert answer.status_code == 400
    assert "Host" in answer.resource["issue"][0]["diagnostics"]


def test_a_body_no_resource_can_need_is_refused_before_it_is_read() -> None:
    assert body_limit("/fhir/Patient") == 2 * 1024 * 1024


def test_who_may_not_create(cast: Cast) -> None:
    assert FhirClient(cast.administrator).post("Patient", json.dumps(PATIENT)).status_code == 403
    outside = FhirClient(cast.outsider)
    mine = PatientFactory.create(site=cast.site, identifier="1")
    body = order(subject={"reference": f"Patient/{mine.pk}"})
    answer = outside.post("ServiceRequest", json.dumps(body))
    assert answer.status_code == 422
    assert not Order.objects.exists()
    assert outside.post("Device", "{}").status_code == 405


def test_with_several_sites_one_is_named(cast: Cast) -> None:
    both = UserFactory.create(
        username="both", role=Role.INTEGRATION, sites=[cast.site, cast.other_site]
    )
    client = FhirClient(both)
    answer = client.post("Patient", json.dumps(PATIENT))
    assert answer.status_code == 422
    assert "name one as Organization" in answer.resource["issue"][0]["diagnostics"]
    at = {"reference": f"Organization/{cast.other_site.pk}"}
    assert (
        client.post("Patient", json.dumps(PATIENT | {"managingOrganization": at})).status_code
        == 201
    )
    assert Patient.objects.get().site == cast.other_site
    assert client.post("ServiceRequest", json.dumps(order())).status_code == 201
    assert Order.objects.get().site == cast.other_site


def test_prefer_says_what_comes_back(client: FhirClient) -> None:
    minimal = client.post("Patient", json.dumps(PATIENT), Prefer="return=minimal")
    assert (minimal.status_code, minimal.content) == (201, b"")
    told = client.post("Patient", json.dumps(PATIENT), Prefer="return=OperationOutcome")
    assert told.resource["issue"][0]["severity"] == "information"


def test_the_tests_of_the_site_are_taken_as_well(cast: Cast, client: FhirClient) -> None:
    from specimens.models import OrderedTest

    OrderedTest.objects.create(site=cast.site, code="DIFF", system="urn:hospital:tests")
    client.post("Patient", json.dumps(PATIENT))
    code = {"coding": [{"system": "urn:hospital:tests", "code": "DIFF"}]}
    assert client.post("ServiceRequest", json.dumps(order(code=code))).status_code == 201


def test_an_order_placed_otherwise_is_the_same_order(cast: Cast, client: FhirClient) -> None:
    from specimens.services.accessioning import OrderData, PatientData

    client.post("Patient", json.dumps(PATIENT))
    place_order(
        actor=cast.technician,
        site=cast.site,
        patient=PatientData(
            identifier="4711", issuer="https://hospital.example/mrn", family_name="Müller"
        ),
        order=OrderData(
            placer_number="ORD-9", priority="stat", requester="Ward 3",
            clinical_information="Fever\nPlease call.",
        ),
    )  # fmt: skip
    assert client.post("ServiceRequest", json.dumps(order())).status_code == 200
