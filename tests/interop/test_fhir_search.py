"""Searching and reading over HTTP, in a laboratory with a second site that must never show."""

from typing import Any

import pytest

from specimens.models import AuditEvent
from tests.factories import Cast
from tests.interop.fhir_laboratory import FhirClient, Laboratory, make_laboratory, names

pytestmark = [pytest.mark.core, pytest.mark.django_db]


@pytest.fixture
def lab(cast: Cast) -> Laboratory:
    return make_laboratory(cast)


@pytest.fixture
def client(cast: Cast, lab: Laboratory) -> FhirClient:
    return FhirClient(cast.integration)


def test_what_each_type_lists_is_of_the_own_site(client: FhirClient, lab: Laboratory) -> None:
    reports = {lab.machine.pk, lab.signed.pk, lab.amended.pk}
    assert set(client.found("DiagnosticReport")) == {f"DiagnosticReport/{pk}" for pk in reports}
    for kind in ("Patient", "ServiceRequest", "Specimen", "Observation", "Provenance"):
        text = client.get(kind, {"_count": 100}).content.decode()
        assert f"Specimen/{lab.elsewhere.pk}\"" not in text
        assert f"Patient/{lab.elsewhere.order.patient_id}\"" not in text
